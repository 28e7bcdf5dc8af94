"""Manifests of a chain for Kubernetes: MPIJobs of the MPI operator, the volume claims that they mount, in YAML.

The operator makes a Job of the launcher, which runs mpirun, and a pod for each worker, which runs sshd. It looks at no
exit status: whatever is not 0, 75 included, starts the launcher again, at most `retries` times. So each command
resumes, and it is told before a pod goes: `preStop` sends SIGUSR1 to mpirun, which hands it to the ranks.

Source: Kubeflow MPI operator, API kubeflow.org/v2beta1; Kubernetes, pods and container lifecycle hooks.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

__all__ = [
    "KubernetesSite",
    "MpiJob",
    "chain_jobs",
    "is_kubernetes_site",
    "load_kubernetes_site",
    "manifests",
    "render_manifests",
    "to_yaml",
]

_SETTINGS = "/settings"
"""Folder of pipeline.toml in pods without a claim for it."""

_SSH = "/home/mpiuser/.ssh"


@dataclass(frozen=True, slots=True)
class Pod:
    """Worker pods of a job: a table such as [jobs.extract] of a site file."""

    workers: int
    """Number of worker pods."""

    ranks_per_worker: int
    """Ranks in each."""

    cores: int
    """CPU cores of each."""

    memory_gib: int
    """Memory of each."""

    gpus: int = 0
    """GPUs of each."""

    def __post_init__(self) -> None:
        for item in fields(self):
            least = 0 if item.name == "gpus" else 1
            if not isinstance(getattr(self, item.name), int) or getattr(self, item.name) < least:
                raise ValueError(
                    f"{item.name} must be a whole number from {least} on, got {getattr(self, item.name)!r}"
                )


@dataclass(frozen=True, slots=True)
class KubernetesSite:
    """A cluster with Kubernetes and the MPI operator, as its site file describes it; the field names are its keys."""

    image: str
    """Container image with this project, its MPI, and sshd."""

    jobs: Mapping[str, Pod]
    """Worker pods of `extract`, `train` and `bucket`."""

    work_claim: str = "sentinel-work"
    """Volume claim of the folder with pipeline.toml, stores and runs; many pods write it at the same time."""

    work_gib: int = 1000
    """Its size."""

    archive_claim: str = "sentinel-archive"
    """Volume claim of the products, which pods only read."""

    archive_gib: int = 200
    """Its size."""

    storage_class: str = ""
    """Storage class of both claims, which must allow ReadWriteMany; empty for the cluster's default."""

    secret: str = "sentinel-bucket"
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for stores in a bucket."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all pods, such as AWS_ENDPOINT_URL."""

    retries: int = 6
    """Most times that a launcher is started again."""

    grace_s: int = 120
    """Seconds that a pod has to end after it was told to."""

    user: int = 1000
    """User number in the pods."""

    def __post_init__(self) -> None:
        missing = [name for name in ("extract", "train", "bucket") if name not in self.jobs]
        if missing:
            raise ValueError(f"it must have a table [jobs.{missing[0]}]")
        for name in ("work_gib", "archive_gib", "grace_s", "user"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.retries < 0:
            raise ValueError(f"retries must be at least 0, got {self.retries}")


@dataclass(frozen=True, slots=True)
class MpiJob:
    """One MPIJob: a command on many ranks."""

    name: str
    """Its name in the cluster."""

    pod: Pod
    command: tuple[str, ...]
    """Module of `etl` or `trainer` and its arguments."""

    claims: bool = True
    """Whether it mounts the volume claims; otherwise its store is in a bucket, whose credentials are the secret's."""


def load_kubernetes_site(path: Path) -> KubernetesSite:
    """The site in a file with `kind = "kubernetes"`.

    Raises:
        ValueError: it is no TOML, of another kind, or a key is unknown, missing or wrong.
        OSError: it cannot be opened.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        kind = tables.pop("kind", None)
        if kind != "kubernetes":
            raise ValueError(f'kind must be "kubernetes", got {kind!r}')
        jobs = {name: Pod(**table) for name, table in tables.pop("jobs", {}).items()}
        return KubernetesSite(jobs=jobs, **tables)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {str(error).partition('() ')[2] or error}") from None


def is_kubernetes_site(path: Path) -> bool:
    """Whether a site file is of the kind kubernetes; a file that is no TOML, or absent, is not."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")).get("kind") == "kubernetes"
    except (OSError, ValueError):
        return False


def render_manifests(path: Path, paths: tuple[str, str, str], settings: str) -> str:
    """The manifests of a chain on the site in the file `path`, as YAML.

    `paths`: catalogue, store and run, as pipeline.toml names them; `settings`: its text.

    Raises:
        ValueError: as `load_kubernetes_site` does.
    """
    site = load_kubernetes_site(path)
    return to_yaml(manifests(site, chain_jobs(site, *paths), settings))


def chain_jobs(site: KubernetesSite, catalogue: str, store: str, run: str) -> list[MpiJob]:
    """The jobs that run on many ranks; of a store in a bucket a verification, which needs object storage alone."""
    if store.startswith("s3://"):
        return [MpiJob("verify", site.jobs["bucket"], ("etl.verify", "--store", store), claims=False)]
    return [
        MpiJob("extract", site.jobs["extract"], ("etl.extract", "--catalogue", catalogue, "--out", store, "--resume")),
        MpiJob("train", site.jobs["train"], ("trainer.run", "--store", store, "--out", run, "--resume")),
    ]


def manifests(site: KubernetesSite, jobs: Sequence[MpiJob], settings: str) -> list[dict[str, Any]]:
    """Manifests of `jobs`, and before them those of the claims or of the ConfigMap with pipeline.toml that they mount.

    `settings`: text of pipeline.toml, for jobs without claims.
    """
    made: list[dict[str, Any]] = []
    if any(job.claims for job in jobs):
        made += [
            _claim(site, site.work_claim, site.work_gib, "ReadWriteMany"),
            _claim(site, site.archive_claim, site.archive_gib, "ReadOnlyMany"),
        ]
    if not all(job.claims for job in jobs):
        metadata = {"name": "sentinel-settings"}
        made.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"pipeline.toml": settings}}
        )
    return [*made, *(_mpi_job(site, job) for job in jobs)]


def to_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """The documents as one YAML text, which `kubectl apply -f -` takes."""
    import yaml  # here, as no other site needs it

    text: str = yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120)
    return text


def _claim(site: KubernetesSite, name: str, size_gib: int, mode: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"accessModes": [mode], "resources": {"requests": {"storage": f"{size_gib}Gi"}}}
    if site.storage_class:
        spec["storageClassName"] = site.storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def _mpi_job(site: KubernetesSite, job: MpiJob) -> dict[str, Any]:
    ranks = job.pod.workers * job.pod.ranks_per_worker
    mpirun = ["mpirun", "-n", str(ranks), "--bind-to", "none", *_exported(site, job), "python", "-m", *job.command]
    launcher = _container(site, job, "launcher", mpirun, {"cpu": "1", "memory": "2Gi"})
    # mpirun is process 1; it goes on until the ranks have stopped, and the pod is kept until then
    stop = f"kill -USR1 1; sleep {site.grace_s - 10}"
    launcher["lifecycle"] = {"preStop": {"exec": {"command": ["/bin/sh", "-c", stop]}}}
    resources = {"cpu": str(job.pod.cores), "memory": f"{job.pod.memory_gib}Gi"}
    if job.pod.gpus:
        resources["nvidia.com/gpu"] = str(job.pod.gpus)
    sshd = ["/usr/sbin/sshd", "-De", "-f", "/home/mpiuser/.sshd_config"]
    worker = _container(site, job, "worker", sshd, resources)
    return {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": {"name": f"sentinel-{job.name}"},
        "spec": {
            "slotsPerWorker": job.pod.ranks_per_worker,
            "mpiImplementation": "OpenMPI",
            "sshAuthMountPath": _SSH,
            "launcherCreationPolicy": "WaitForWorkersReady",
            "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": site.retries},
            "mpiReplicaSpecs": {
                "Launcher": _replicas(site, job, launcher, 1, "OnFailure"),
                "Worker": _replicas(site, job, worker, job.pod.workers, "Never"),
            },
        },
    }


def _replicas(
    site: KubernetesSite, job: MpiJob, container: Mapping[str, Any], count: int, restart: str
) -> dict[str, Any]:
    spec = {
        "containers": [container],
        "volumes": list(_volumes(site, job)),
        "terminationGracePeriodSeconds": site.grace_s,
        "securityContext": {"runAsUser": site.user, "runAsGroup": site.user, "fsGroup": site.user},
    }
    # a sidecar that a service mesh adds would keep the launcher's pod from ending
    metadata = {"annotations": {"sidecar.istio.io/inject": "false"}}
    return {"replicas": count, "restartPolicy": restart, "template": {"metadata": metadata, "spec": spec}}


def _container(
    site: KubernetesSite, job: MpiJob, name: str, command: Sequence[str], resources: Mapping[str, str]
) -> dict[str, Any]:
    mounts = [{"name": "settings", "mountPath": _SETTINGS, "readOnly": True}]
    if job.claims:
        mounts = [
            {"name": "work", "mountPath": "/work"},
            {"name": "archive", "mountPath": "/archive", "readOnly": True},
        ]
    # shared memory of MPI and NCCL; a pod has 64 MiB otherwise
    mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    return {
        "name": name,
        "image": site.image,
        "command": list(command),
        "workingDir": "/work" if job.claims else _SETTINGS,
        "env": list(_environment(site, job)),
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _environment(site: KubernetesSite, job: MpiJob) -> Iterator[dict[str, Any]]:
    for name, value in site.environment.items():
        yield {"name": name, "value": value}
    for name in () if job.claims else ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        yield {"name": name, "valueFrom": {"secretKeyRef": {"name": site.secret, "key": name}}}


def _exported(site: KubernetesSite, job: MpiJob) -> Iterator[str]:
    """Options by which mpirun hands the environment on: processes that sshd starts have none of the pod's."""
    for variable in _environment(site, job):
        yield from ("-x", variable["name"])


def _volumes(site: KubernetesSite, job: MpiJob) -> Iterator[dict[str, Any]]:
    if job.claims:
        yield {"name": "work", "persistentVolumeClaim": {"claimName": site.work_claim}}
        yield {"name": "archive", "persistentVolumeClaim": {"claimName": site.archive_claim, "readOnly": True}}
    else:
        yield {"name": "settings", "configMap": {"name": "sentinel-settings"}}
    yield {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}
