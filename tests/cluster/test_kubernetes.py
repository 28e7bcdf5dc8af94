"""Manifests for Kubernetes: pods, claims and secrets by its own schemas, the MPIJob around them by one written here.

The schema of the MPIJob is written from the documentation of the MPI operator's API, kubeflow.org/v2beta1. Nothing here
runs on a cluster.
"""

import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from etl.submit.kubernetes import is_kubernetes_site, load_kubernetes_site, render_manifests
from etl.submit.run import submit
from etl.submit.settings import SubmitSettings

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "deploy" / "sites" / "kubernetes.toml"
VERSIONS = ["1.30", "1.37"]
"""Kubernetes versions whose schemas are used, an older and the newest."""

REPLICAS = {
    "type": "object",
    "required": ["template"],
    "additionalProperties": False,
    "properties": {
        "replicas": {"type": "integer", "minimum": 1},
        "restartPolicy": {"enum": ["Never", "OnFailure", "Always", "ExitCode"]},
        "template": {"type": "object"},
    },
}
MPI_JOB = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "kubeflow.org/v2beta1"},
        "kind": {"const": "MPIJob"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["mpiReplicaSpecs"],
            "additionalProperties": False,
            "properties": {
                "slotsPerWorker": {"type": "integer", "minimum": 1},
                "sshAuthMountPath": {"type": "string", "pattern": "^/"},
                "mpiImplementation": {"enum": ["OpenMPI", "Intel", "MPICH"]},
                "launcherCreationPolicy": {"enum": ["AtStartup", "WaitForWorkersReady"]},
                "runPolicy": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "cleanPodPolicy": {"enum": ["None", "Running", "All"]},
                        "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
                        "activeDeadlineSeconds": {"type": "integer", "minimum": 0},
                        "backoffLimit": {"type": "integer", "minimum": 0},
                        "suspend": {"type": "boolean"},
                    },
                },
                "mpiReplicaSpecs": {
                    "type": "object",
                    "required": ["Launcher", "Worker"],
                    "additionalProperties": False,
                    "properties": {"Launcher": REPLICAS, "Worker": REPLICAS},
                },
            },
        },
    },
}
"""The operator's MPIJob without its pods, in JSON Schema."""


def rendered(store: str) -> list[dict]:
    """The documents that the example site gives, after a round trip through YAML."""
    paths = ("data/patches.parquet", store, "runs/latest")
    return list(yaml.safe_load_all(render_manifests(SITE, paths, "[extract]\nbands = 'Ä: 1'\n")))


def pods_of(job: dict) -> dict[str, dict]:
    """Launcher and worker of an MPIJob as pods, with the restart policy that the operator gives them."""
    return {
        kind: {"apiVersion": "v1", "kind": "Pod", **replicas["template"]}
        | {"metadata": {"name": kind.lower(), **replicas["template"]["metadata"]}}
        for kind, replicas in job["spec"]["mpiReplicaSpecs"].items()
    }


@pytest.mark.parametrize("store", ["data/store.h5", "s3://bucket/store.zarr"])
@pytest.mark.parametrize("version", VERSIONS)
def test_pods_claims_and_settings_keep_the_schemas_of_kubernetes_and_jobs_that_of_the_operator(store, version):
    for document in rendered(store):
        if document["kind"] != "MPIJob":
            kubernetes_validate.validate(document, version, strict=True)
            continue
        jsonschema.validate(document, MPI_JOB)
        for pod in pods_of(document).values():
            kubernetes_validate.validate(pod, version, strict=True)


def test_the_schemas_find_what_is_wrong():
    job = next(document for document in rendered("data/store.h5") if document["kind"] == "MPIJob")
    pod = pods_of(job)["Worker"]
    pod["spec"]["containers"][0]["volumeMounts"][0]["mountPth"] = "/work"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)
    job["spec"]["slotsPerWorkers"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, MPI_JOB)


def test_extraction_and_training_mount_claims_that_are_there_and_run_one_rank_a_slot():
    documents = rendered("data/store.h5")
    assert [document["kind"] for document in documents] == ["PersistentVolumeClaim"] * 2 + ["MPIJob"] * 2
    claims = {document["metadata"]["name"] for document in documents[:2]}
    for job, module, ranks in zip(documents[2:], ("etl.extract", "trainer.run"), (72, 8), strict=True):
        pods, spec = pods_of(job), job["spec"]
        command = pods["Launcher"]["spec"]["containers"][0]["command"]
        assert command[:3] == ["mpirun", "-n", str(ranks)]
        assert ranks == spec["slotsPerWorker"] * spec["mpiReplicaSpecs"]["Worker"]["replicas"]
        assert module in command
        assert "--resume" in command
        for pod in pods.values():
            volumes = pod["spec"]["volumes"]
            named = {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v}
            assert named == claims
            mounted = {mount["name"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
            assert mounted == {volume["name"] for volume in volumes}
    limits = pods_of(documents[3])["Worker"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "4"


def test_a_launcher_is_started_again_and_hears_of_its_end_before_its_pod_goes():
    for job in rendered("data/store.h5")[2:]:
        assert job["spec"]["runPolicy"]["backoffLimit"] == 6
        assert job["spec"]["mpiReplicaSpecs"]["Launcher"]["restartPolicy"] == "OnFailure"
        spec = pods_of(job)["Launcher"]["spec"]
        stop = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
        signal, pause_s = re.fullmatch(r"kill -(\w+) 1; sleep (\d+)", stop).groups()
        assert signal == "USR1"
        assert 0 < int(pause_s) < spec["terminationGracePeriodSeconds"]


def test_a_store_in_a_bucket_needs_no_claim_and_has_its_credentials_from_the_secret_alone():
    settings, job = rendered("s3://bucket/store.zarr")
    assert settings["data"]["pipeline.toml"] == "[extract]\nbands = 'Ä: 1'\n"
    assert "persistentVolumeClaim" not in str(job)
    for pod in pods_of(job).values():
        container = pod["spec"]["containers"][0]
        assert {item["name"]: item["valueFrom"]["secretKeyRef"]["name"] for item in container["env"]} == {
            "AWS_ACCESS_KEY_ID": "sentinel-bucket",
            "AWS_SECRET_ACCESS_KEY": "sentinel-bucket",
        }
    command = pods_of(job)["Launcher"]["spec"]["containers"][0]["command"]
    assert "s3://bucket/store.zarr" in command
    exported = [command[k + 1] for k, word in enumerate(command) if word == "-x"]
    assert exported == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]  # names alone, no value


def test_the_secret_in_the_docs_is_one():
    page = (ROOT / "docs" / "howto" / "kubernetes.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    secret = next(block for block in blocks if block["kind"] == "Secret")
    for version in VERSIONS:
        kubernetes_validate.validate(secret, version, strict=True)
    assert secret["metadata"]["name"] == load_kubernetes_site(SITE).secret
    assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_etl_submit_prints_the_manifests_of_such_a_site_and_submits_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text('[extract]\nout = "store/all.h5"\n[run]\nout = "runs/one"\n')
    assert submit(SubmitSettings(site="kubernetes", dry_run=True)) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    extract, train = (pods_of(document)["Launcher"]["spec"]["containers"][0]["command"] for document in documents[2:])
    assert "store/all.h5" in extract
    assert train[-3:] == ["--out", "runs/one", "--resume"]
    with pytest.raises(ValueError, match=r"--dry-run must be given for .*kubernetes\.toml, whose kind is kubernetes"):
        submit(SubmitSettings(site="kubernetes"))


def test_the_kind_of_a_site_file_is_told_without_an_error(tmp_path):
    (tmp_path / "slurm.toml").write_text('launcher = "srun"\n')
    (tmp_path / "broken.toml").write_text("[")
    assert is_kubernetes_site(SITE)
    assert not any(is_kubernetes_site(tmp_path / name) for name in ("slurm.toml", "broken.toml", "absent.toml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("kind = ", "# kind = "), 'kind must be "kubernetes", got None'),
        (("[jobs.bucket]", "[jobs.buckets]"), r"it must have a table \[jobs.bucket\]"),
        (("gpus = 4", "gpu = 4"), "gpu"),
        (("workers = 4", "workers = 0"), "workers must be a whole number from 1 on, got 0"),
        (("workers = 4", 'workers = "4"'), "workers must be a whole number from 1 on, got '4'"),
        (("retries = 6", "retries = -1"), "retries must be at least 0, got -1"),
        (("image = ", "picture = "), "picture"),
        (("user = 1000", "user = "), "Invalid value"),
    ],
)
def test_a_site_file_that_cannot_be_used_is_refused_with_its_name(tmp_path, change, message):
    (tmp_path / "site.toml").write_text(SITE.read_text().replace(*change))
    with pytest.raises(ValueError, match=f"site.toml: .*{message}"):
        load_kubernetes_site(tmp_path / "site.toml")
