"""Site files: those that are shipped, and what is wrong with others."""

import copy
from pathlib import Path

import pytest
from slurm_chain import SITE, toml

import etl
from etl.submit.site import default_deploy, load_site

DEPLOY = Path(etl.__file__).parents[1] / "deploy"


def site_with(tmp_path, **changes):
    """A site file with changed tables; None takes a key away."""
    tables = copy.deepcopy(SITE) | changes
    path = tmp_path / "site.toml"
    path.write_text(toml({key: value for key, value in tables.items() if value is not None}))
    return str(path)


@pytest.mark.parametrize("name", ["generic", "jsc", "nersc"])
def test_a_site_of_the_checkout_is_valid(name):
    assert default_deploy() == DEPLOY
    site = load_site(name, DEPLOY)
    assert {"extract", "superres", "train"} < site.jobs.keys()
    assert site.nodes_of(site.jobs["train"]).gpus == 4
    assert site.nodes_of(site.jobs["extract"]).gpus == 0
    assert all(shape.ranks_per_node <= site.nodes_of(shape).cores for shape in site.jobs.values())


def test_rates_of_the_hardware_are_left_to_projections(tmp_path):
    assert load_site(site_with(tmp_path, hardware={"gpu_rate": 5}), DEPLOY).launcher == "mpirun"


def test_an_unknown_site_is_refused_with_the_names_of_the_known_ones():
    with pytest.raises(
        ValueError, match=r"--site must be generic, jsc, kubernetes, nersc or the path of a .toml file, .*nrsc.toml"
    ):
        load_site("nrsc", DEPLOY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"launchr": "srun"}, "the file has an unknown key 'launchr'; did you mean launcher?"),
        ({"launcher": "aprun"}, "launcher must be mpirun or srun, got 'aprun'"),
        ({"modules": "gdal"}, "modules must be a list of texts in one line each, got 'gdal'"),
        ({"setup": ["export A=1\nexport B=2"]}, "setup must be a list of texts in one line each"),
        ({"environment": {"A B": "1"}}, "environment must be names of variables, got 'A B'"),
        ({"environment": {"A": 1}}, "environment must be a table of texts"),
        ({"options": ["exclusive"]}, "options must be options of sbatch, such as --exclusive, got 'exclusive'"),
        ({"signal_s": "120"}, "signal_s must be a whole number, got '120'"),
        ({"needs_account": 1}, "needs_account must be true or false, got 1"),
        ({"signal_s": 1200}, "time must exceed signal_s, 1200 s, got 00:20:00"),
        ({"cpu": {"cores": 0}}, r"\[cpu\]: cores must be at least 1, got 0"),
        ({"gpu": None}, r"\[gpu\] must have the key cores"),
        ({"gpu": 4}, r"\[gpu\] must be a table, got 4"),
        ({"jobs": {"extract": {"time": "1h"}}}, r"\[jobs.extract\]: time must be \[days-\]hours:minutes:seconds"),
        ({"jobs": {"extract": {"time": "1:00:00"}}}, r"it must have a table \[jobs.catalogue\]"),
        ({"jobs": {**SITE["jobs"], "trn": {"time": "1:00:00"}}}, r"\[jobs.trn\] is no job .*did you mean train"),
        ({"jobs": {"extract": {"nodes": 0, "time": "1:00:00"}}}, r"nodes must be at least 1, got 0"),
        ({"jobs": {"extract": {"kind": "tpu", "time": "1:00:00"}}}, r"kind must be cpu or gpu, got 'tpu'"),
        ({"jobs": {"extract": {"nodes": 1}}}, r"\[jobs.extract\] must have the key time"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_site_file_is_said_with_its_name(tmp_path, changes, message):
    name = site_with(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_site(name, DEPLOY)
    assert str(caught.value).startswith(f"{name}: ")


def test_a_file_that_is_no_toml_is_refused(tmp_path):
    (tmp_path / "site.toml").write_text("launcher = srun")
    with pytest.raises(ValueError, match=r"site.toml must be valid TOML"):
        load_site(str(tmp_path / "site.toml"), DEPLOY)


@pytest.mark.parametrize(("text", "seconds"), [("0:02:00", 120), ("24:00:00", 86400), ("2-01:00:30", 176430)])
def test_time_limits_are_read_as_slurm_reads_them(tmp_path, text, seconds):
    jobs = {**SITE["jobs"], "train": {"time": text}}
    assert load_site(site_with(tmp_path, jobs=jobs), DEPLOY).jobs["train"].seconds == seconds
