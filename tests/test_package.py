"""The package as people install it: what is in the wheel, and what it does in an environment of its own."""

import configparser
import contextlib
import csv
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import PackageNotFoundError, distributions
from importlib.metadata import version as version_of
from pathlib import Path

import h5py
import numpy as np
import pytest
from buckets import BUCKET, serve
from commands import content, ranks, same
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from stores import GOOD, as_zarr, make_store

from benchmarks.setup import default_cache

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "deploy" / "requirements.txt"
NO_NETWORK = ("NewConnectionError", "Failed to establish", "NameResolutionError", "ConnectTimeoutError", "ProxyError")
"""What pip says where there is none."""


def setup_cfg() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read(ROOT / "setup.cfg")
    return found


def needed_by_the_reader() -> list[str]:
    return setup_cfg()["options"]["install_requires"].split()


def pins() -> dict[str, str]:
    """Exact versions of deploy/requirements*.txt by package, names in lower case."""
    found = {}
    for path in sorted((ROOT / "deploy").glob("requirements*.txt")):
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert all("==" in line for line in lines), f"{path} must hold exact versions only"
        found |= {Requirement(line).name.lower(): line.partition("==")[2] for line in lines}
    return found


def locked() -> dict[str, set[str]]:
    """Versions in deploy/*.lock by package; each must have hashes."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "deploy").glob("*.lock")):
        entries = path.read_text().replace("\\\n", " ").splitlines()
        for entry in entries:
            requirement, *hashes = entry.split("--hash=sha256:")
            assert {len(text.strip()) for text in hashes} == {64}, f"{path.name}: {entry}"
            wanted = Requirement(requirement)
            found.setdefault(wanted.name, set()).add(str(wanted.specifier).removeprefix("=="))
    return found


def test_the_lock_files_have_every_pinned_package_at_its_version_and_what_is_installed_has_that_version():
    versions = locked()
    for name, version in pins().items():
        assert version in versions[name.partition("[")[0]], f"{name}: run make lock"
    for name in sorted(versions.keys() - {"gdal"}):  # of which the machine decides the version
        with contextlib.suppress(PackageNotFoundError):
            assert version_of(name) in versions[name], f"{name} of another version than in deploy/*.lock is installed"


def test_every_locked_package_has_a_licence_in_the_list():
    with (ROOT / "deploy" / "licences.csv").open(newline="") as file:
        licences = {row["package"]: row["licence"] for row in csv.DictReader(file)}
    installed = {canonicalize_name(item.metadata["Name"]) for item in distributions()} & locked().keys()
    assert [name for name in sorted(installed) if not licences.get(name)] == []


def test_install_refuses_a_package_whose_hash_is_not_in_its_lock_file(tmp_path):
    """What install.sh passes to pip, for one small package whose hash was changed."""
    functions = (ROOT / "deploy" / "install.sh").read_text().rpartition('main "$@"')[0]
    entry = re.search(r"^zipp==\S+", (ROOT / "deploy/requirements.lock").read_text(), re.MULTILINE)
    (tmp_path / "one.lock").write_text(f"{entry[0]} --hash=sha256:{'0' * 64}\n")
    script = f'{functions}\npip_install() {{ {sys.executable} -m pip --disable-pip-version-check install "$@"; }}'
    script += f"\npip_locked --target {tmp_path / 'out'} -r {tmp_path / 'one.lock'}"
    done = run("bash", "-c", script, cwd=ROOT)
    if any(text in done.stderr for text in NO_NETWORK) and not os.environ.get("REQUIRE_NETWORK"):
        pytest.skip("pip finds no package index")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def environment(**variables: str) -> dict[str, str]:
    """This process's, in which no module is found in the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables


def run(*command: object, **how: object) -> subprocess.CompletedProcess[str]:
    how = {"env": environment(), "timeout": 240, **how}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **how)


def pip(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made from the source archive, as `make package` makes it."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "source").mkdir()
    for path in ROOT.iterdir():  # a copy: building writes beside its source
        if path.name in ("etl", "trainer", "benchmarks", "tests", "deploy", "docs"):
            shutil.copytree(path, folder / "source" / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, folder / "source")
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "source")
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(sys.executable, "-m", "twine", "check", "--strict", *(folder / "dist").iterdir())
    assert done.returncode == 0, done.stdout + done.stderr
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def reader_wheels() -> Path:
    """Folder of what the reader needs, at the pinned versions: fetched once, kept beside install.sh's own wheels."""
    needed = needed_by_the_reader()
    key = hashlib.sha256((" ".join(needed) + PINS.read_text()).encode()).hexdigest()[:16]
    folder = default_cache().parent / "wheels" / f"reader-{sys.implementation.cache_tag}-{key}"
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        options = ("--retries", 1, "--only-binary", ":all:", "--no-cache-dir", "-c", PINS, "--dest", part)
        done = pip("download", *options, *needed)
        if any(word in done.stderr for word in NO_NETWORK) and "REQUIRE_NETWORK" not in os.environ:
            pytest.skip("the reader's packages are not kept here yet, and there is no network to fetch them")
        assert done.returncode == 0, done.stderr
        part.rename(folder)
    return folder


@pytest.fixture(scope="module")
def reader(wheel: Path, reader_wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a virtual environment that holds the wheel and what it asks for, no extra."""
    venv = tmp_path_factory.mktemp("reader")
    done = run(sys.executable, "-m", "venv", "--without-pip", venv)
    assert done.returncode == 0, done.stderr
    source = ("--no-index", "--find-links", reader_wheels, "-c", PINS)
    done = pip("--python", venv / "bin" / "python", "install", "--no-compile", *source, wheel)
    assert done.returncode == 0, done.stderr
    return venv / "bin"


def test_every_dependency_has_one_exact_version_within_its_bounds():
    found, extras = pins(), setup_cfg()["options.extras_require"]
    for line in [*needed_by_the_reader(), *(line for extra in extras.values() for line in extra.split())]:
        asked = Requirement(line)
        # The binding has the version of GDAL itself; TensorFlow is pinned by the name of its build for CPUs.
        name = {"tensorflow": "tensorflow-cpu"}.get(asked.name, asked.name).lower()
        if name not in ("sentinel-etl", "gdal"):
            assert asked.specifier.contains(found[name]), f"{line}, but deploy/requirements*.txt has {found[name]}"


def test_every_script_is_named_after_a_command():
    scripts = setup_cfg()["options.entry_points"]["console_scripts"].strip().splitlines()
    for name, _, called in (line.partition(" = ") for line in scripts):
        assert called == "etl.console:main"
        assert importlib.util.find_spec(name.replace("-", ".", 1)), name


def test_a_script_forks_the_trainers_supervisor_before_h5py_is_imported():
    line = (
        "import os, sys; sys.argv = ['trainer-run']\n"
        "os.fork = lambda: os._exit(7 if 'h5py' not in sys.modules else 8)\n"
        "from etl.console import main; main()"
    )
    launched = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    assert run(sys.executable, "-c", line, env={**os.environ, **launched}).returncode == 7


@pytest.mark.slow
def test_the_wheel_holds_both_packages_whole_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = [path for name in ("etl", "trainer") for path in (ROOT / name).rglob("*") if path.is_file()]
    assert packed == {str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"}
    assert {"etl/py.typed", "trainer/py.typed"} <= packed


READ = """
import sys
import etl, numpy as np, xarray as xr
assert not etl.__file__.startswith(sys.argv[1]), etl.__file__
expected = np.load(sys.argv[2])
for path in sys.argv[3:]:
    mine, engine = etl.open_store(path), xr.open_dataset(path, engine="sentinel-etl")
    assert mine.identical(engine), path
    assert engine.data_10m.chunks is None and mine.data_10m.chunks, path
    assert xr.open_dataset(path, engine="sentinel-etl", chunks={}).data_10m.chunks, path
    for name in ("data_10m", "data_super"):
        assert np.array_equal(engine[name], expected[name]), (path, name)
        assert np.array_equal(mine[name][2], expected[name][2]), (path, name)
    every = xr.open_dataset(path, engine="sentinel-etl", all_rows=True, drop_variables="data_super")
    assert "data_super" not in every and every.sizes["patch"] >= len(expected["data_10m"]), path
    engine.close()
    if path.endswith(".json"):  # no other engine takes it
        assert mine.identical(xr.open_dataset(path)), path
print("read", len(sys.argv[3:]))
"""


@pytest.mark.slow
def test_a_fresh_environment_reads_every_kind_of_store(reader, tmp_path):
    store, written = make_store(tmp_path, GOOD), [row for row, state in enumerate(GOOD) if state == 1]
    with h5py.File(store) as file:
        np.savez(tmp_path / "expected.npz", **{n: file[n][...][written] for n in ("data_10m", "data_super")})
    stores = [store, as_zarr(store, tmp_path / "store.zarr")]
    for name, compress in (("zstd.h5", "zstd"), ("blosc.hdf5", "blosc"), ("store.json", None)):
        flags = ("--compress", compress) if compress else ()
        done = ranks(1, "etl.convert", str(store), "--out", str(tmp_path / name), *flags)
        assert done.returncode == 0, done.stderr
        stores.append(tmp_path / name)
    with serve() as server:
        for path in (tmp_path / "store.zarr").rglob("*"):
            if path.is_file():
                server.client.put_object(Bucket=BUCKET, Key=str(path.relative_to(tmp_path)), Body=path.read_bytes())
        paths = [*stores, f"s3://{BUCKET}/store.zarr"]
        env = environment(**server.environment)
        done = run(reader / "python", "-c", READ, ROOT, tmp_path / "expected.npz", *paths, env=env, cwd=tmp_path)
    assert done.stdout == f"read {len(paths)}\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "extra"),
    [("etl-verify", "extract"), ("etl-extract", "extract"), ("trainer-run", "train"), ("trainer-report", "train")],
)
def test_a_script_names_the_extra_that_it_lacks_in_one_line(reader, script, extra):
    done = run(reader / script, "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"{script} needs ")
    assert f'pip install "sentinel-etl[{extra}]"' in done.stderr


@pytest.mark.slow
def test_the_doctor_repairs_an_installed_package_by_pip(reader):
    done = run(reader / "etl-doctor")
    assert done.returncode == 1
    assert (
        'repair: sudo apt-get install openmpi-bin libopenmpi-dev && pip install "sentinel-etl[extract]"' in done.stdout
    )
    assert '"gdal==$(gdal-config --version)" && pip install "sentinel-etl[extract]"' in done.stdout
    assert 'pip install "sentinel-etl[train]"' in done.stdout


@pytest.mark.slow
def test_with_a_serial_h5py_extraction_runs_or_says_what_to_do_before_it_begins(reader, tmp_path):
    for command in (
        ("etl.sample", "--out", str(tmp_path), "--tile-px", "360", "--tiles", "1", "--no-archives"),
        ("etl.catalogue", "--source", str(tmp_path / "labels"), "--out", str(tmp_path / "patches.parquet")),
        ("etl.extract", *where(tmp_path, "reference.h5")),
    ):
        done = ranks(1, *command)
        assert done.returncode == 0, done.stderr
    # What the environment lacks comes from this one, mpi4py and GDAL, but neither h5py nor the project.
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.path.append({sysconfig.get_path('platlib')!r})\n")
    env = environment(PYTHONPATH=str(tmp_path))
    for size, flags in ((1, ()), (3, ("--write", "independent"))):
        out = f"{size}.h5"
        done = run("mpirun", "-n", size, reader / "etl-extract", *where(tmp_path, out), *flags, env=env)
        assert done.returncode == 0, done.stderr
        assert same(content(tmp_path / out), content(tmp_path / "reference.h5"))
    done = run("mpirun", "-n", 3, reader / "etl-extract", *where(tmp_path, "refused.h5"), env=env)
    assert done.returncode == 2
    assert "--write collective on 3 ranks needs an h5py built with MPI" in done.stderr
    assert "--write independent" in done.stderr
    assert not list(tmp_path.glob("refused.h5*"))


def where(folder: Path, out: str) -> list[str]:
    paths = {"--catalogue": "patches.parquet", "--source": "tiles", "--out": out}
    return [word for flag, name in paths.items() for word in (flag, str(folder / name))]
