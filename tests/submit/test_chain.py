"""Jobs and their scripts, from pipeline.toml and a site; nothing is submitted."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_chain import SITE, toml

import etl
from etl.submit.attempts import digest_settings
from etl.submit.attempts import main as note_attempt
from etl.submit.chain import DEFAULT_RUN, NEEDS, plan_chain
from etl.submit.render import job_title, render_script
from etl.submit.run import is_done
from etl.submit.settings import JOB_NAMES, SubmitSettings
from etl.submit.site import load_site
from trainer.config import EvaluateRunSettings, RunSettings

DEPLOY = Path(etl.__file__).parents[1] / "deploy"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, whose name has a space, a quote and what Slurm would fill in."""
    path = tmp_path / "it's my %j"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def jobs_of(settings=None, site="generic", **pipeline):
    Path("pipeline.toml").write_text(toml(pipeline))
    return plan_chain(settings or SubmitSettings(), load_site(site, DEPLOY))


def scripts_of(settings=None, site="generic", **pipeline):
    settings = settings or SubmitSettings()
    jobs = jobs_of(settings, site, **pipeline)
    return {job.name: render_script(job, load_site(site, DEPLOY), settings, DEPLOY) for job in jobs}


def test_each_job_comes_after_those_that_it_needs():
    for name, needs in NEEDS.items():
        assert all(JOB_NAMES.index(need) < JOB_NAMES.index(name) for need in needs)
    assert tuple(NEEDS) == JOB_NAMES


def test_the_default_folder_of_a_run_is_the_trainers():
    assert Path(DEFAULT_RUN) == RunSettings().out == EvaluateRunSettings().run


def test_all_paths_of_a_chain_come_from_the_tables_of_extraction_and_training(folder):
    jobs = jobs_of(extract={"out": "/scratch/my store.zarr", "catalogue": "a.parquet"}, run={"out": "runs/x"})
    assert [job.name for job in jobs] == list(JOB_NAMES)
    assert {tuple(sorted(job.paths.items())) for job in jobs} == {
        (("CATALOGUE", "a.parquet"), ("REPORT", "runs/report"), ("RUN", "runs/x"), ("STORE", "/scratch/my store.zarr"),
         ("STORE_FOLDER", "/scratch"))
    }  # fmt: skip
    assert {job.name: job.mark for job in jobs if job.mark} == {
        "extract": "/scratch/my store.zarr.journal",
        "train": "runs/x/checkpoint.npz",
    }


def test_a_store_in_a_bucket_has_no_folder_to_stripe(folder):
    job = jobs_of(extract={"out": "s3://bucket/a/store.zarr"})[1]
    assert job.paths["STORE_FOLDER"] == ""
    assert job.mark == "s3://bucket/a/store.zarr.journal"


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ({"run": {"store": "other.h5"}}, r"\[run\] store must be what the chain uses, data/store.h5 \(\[extract\] out"),
        ({"evaluate": {"store": "other.h5"}}, r"\[evaluate\] store must be"),
        ({"verify": {"store": "other.h5"}}, r"\[verify\] store must be"),
        ({"catalogue": {"out": "b.parquet"}}, r"\[catalogue\] out must be .* data/patches.parquet \(\[extract\] cat"),
        ({"run": {"out": "runs/a"}, "evaluate": {"run": "runs/b"}}, r"\[evaluate\] run must be .* runs/a \(\[run\]"),
        ({"extract": {"upsample": "dsen2"}}, "weights are not in data/weights/l2a; fetch .*python -m etl.superres fet"),
    ],
)
def test_tables_that_contradict_the_chain_are_refused(folder, pipeline, message):
    with pytest.raises(ValueError, match=message):
        jobs_of(**pipeline)


def test_the_same_path_in_other_words_is_no_contradiction(folder):
    assert jobs_of(extract={"out": "data/store.h5"}, run={"store": f"{folder}/data/../data/store.h5"})


def test_a_cluster_that_needs_an_account_gets_one(folder):
    with pytest.raises(ValueError, match="--account must name the account"):
        jobs_of(site="jsc")
    script = scripts_of(SubmitSettings(account="deepsea"), site="jsc")["train"]
    assert "#SBATCH --account=deepsea\n" in script


def test_dsen2_is_extracted_on_gpu_nodes(folder):
    (folder / "data/weights/l2a").mkdir(parents=True)
    job = jobs_of(extract={"upsample": "dsen2"})[1]
    assert (job.name, job.script, job.shape.kind) == ("extract", "superres", "gpu")
    assert "--upsample dsen2 --resume" in scripts_of(extract={"upsample": "dsen2"})["extract"]


def test_first_and_last_choose_a_part_of_the_chain_and_its_needs(folder):
    jobs = jobs_of(SubmitSettings(first="statistics", last="evaluate", train_nodes=24))
    assert [(job.name, job.needs) for job in jobs] == [("statistics", ()), ("train", ()), ("evaluate", ("train",))]
    assert [job.shape.nodes for job in jobs] == [1, 24, 1]
    with pytest.raises(ValueError, match="--first must not come after --last, got train and extract"):
        SubmitSettings(first="train", last="extract")


def lines_of(script):
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


def test_a_header_names_nodes_ranks_time_signal_and_log(folder):
    lines = lines_of(scripts_of()["extract"])
    assert {"--requeue", "--nodes=1", "--ntasks-per-node=72", "--cpus-per-task=1", "--time=12:00:00"} < set(lines)
    assert "--signal=B:USR1@120" in lines  # mpirun: the script gets it
    assert "--exclusive" in lines
    assert f'--output="{folder}/chain/extract.log"'.replace("%", "%%") in lines
    assert f'--chdir="{folder}"' in lines


def test_with_srun_the_signal_goes_to_the_ranks(folder):
    settings = SubmitSettings(account="m1234")
    lines = lines_of(scripts_of(settings, "nersc")["train"])
    assert "--signal=USR1@120" in lines
    assert {"--nodes=4", "--ntasks-per-node=4", "--cpus-per-task=16", "--gpus-per-node=4", "--qos=regular"} < set(lines)


def test_what_a_script_sets_is_read_by_bash_as_it_was_meant(folder):
    setup = 'it\'s; $(touch ran) `touch ran` "q" \\ *'
    site = folder / "site.toml"
    site.write_text(toml({**SITE, "environment": {"ODD": setup.replace("'", "")}, "launcher_options": ["a b", "$x"]}))
    pipeline = {"extract": {"out": "a $(touch ran) b/store.h5"}, "run": {"out": "-r"}}
    script = scripts_of(SubmitSettings(), str(site), **pipeline)["extract"]
    head = script.partition("prepare_site()")[0]
    shown = subprocess.run(
        ["bash", "-c", f'{head}\nprintf "%s\\n" "$STORE" "$RUN" "$ODD" "${{OPTIONS[@]}}" "$CHAIN"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.splitlines() == [
        "a $(touch ran) b/store.h5", "-r", setup.replace("'", ""), "a b", "$x", f"{folder}/chain",
    ]  # fmt: skip
    assert not (folder / "ran").exists()


def test_modules_are_loaded_in_order_before_the_setup(folder):
    site = folder / "site.toml"
    site.write_text(toml({**SITE, "modules": ["Stages/2025", "a b"], "setup": ["source it"]}))
    body = scripts_of(SubmitSettings(), str(site))["train"].partition("prepare_site() {")[2].partition("}")[0]
    assert [line.strip() for line in body.strip().splitlines()] == [
        "module load Stages/2025 || return", "module load 'a b' || return", "source it", "true",
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted((DEPLOY / "slurm").glob("*.sh")), ids=lambda path: path.name)
def test_bash_can_read_every_script(path):
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_in_slurm_have_no_spaces(folder):
    (job, *_) = jobs_of()
    assert job_title(job, Path("my chain, no. 2")) == "catalogue.my_chain__no._2"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--chain", "a\nb"], "--chain must have no line break"),
        (["--chain", "pipeline.toml"], "--chain must be a folder, pipeline.toml is a file"),
        (["--last", "trn"], "invalid choice: 'trn'"),
        (["--train-nodes", "-1"], "--train-nodes must be at least 0, got -1"),
        (["--site", "nowhere"], "--site must be generic, jsc, kubernetes, nersc or the path"),
        (["--deploy", "."], "--deploy must be the folder deploy/ of the checkout"),
        (["--sit", "jsc"], "unknown argument '--sit'; did you mean --site?"),
        (["--status"], "--chain must be the folder of a submitted chain, chain holds none"),
    ],
)
def test_bad_arguments_end_with_status_2(folder, flags, message):
    (folder / "pipeline.toml").write_text("")
    done = submit(*flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (folder / "chain").exists()


def submit(*flags):
    """`python -m etl.submit` in the current folder, in which no module of Slurm or MPI is to be had."""
    return subprocess.run(
        [sys.executable, "-m", "etl.submit", *flags],
        env={"PATH": "/nowhere", "PYTHONPATH": str(DEPLOY.parent)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_dry_run_shows_every_script_and_writes_nothing(folder):
    done = submit("--dry-run")
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("---- ")] == [
        f"---- chain/{name}.sh" for name in JOB_NAMES
    ]
    assert list(folder.iterdir()) == []


def test_without_slurm_a_submit_says_so(folder):
    done = submit()
    assert done.returncode == 1
    assert "sbatch is not there: run this on a login node" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[extract]\nupsampel = 'none'", "table [extract] has no setting 'upsampel'; did you mean upsample?"),
        ("[catalogue]\nsorce = 'a'", "table [catalogue] has no setting 'sorce'; did you mean source?"),
        ("[verify]\nsample = -1", "--sample must be at least 0, got -1"),
        ("[stats]\nout = 'a.gif'", "--out must end in .png or .html, got a.gif"),
        ("[run]\nepoch = 3", "table [run] has no setting 'epoch'; did you mean epochs?"),
        ("[run]\nrate = 0.0", "--rate must be above 0, got 0.0"),
        ("[evaluate]\nsplit = 'tests'", "[evaluate] split must be one of train, val, test, none, all, got 'tests'"),
        ("[submit]\nsites = 'jsc'", "table [submit] has no setting 'sites'; did you mean site?"),
        ("[run", "pipeline.toml must be valid TOML"),
    ],
)
def test_a_bad_table_of_any_command_is_found_before_a_job_waits_in_a_queue(folder, text, message):
    (folder / "pipeline.toml").write_text(text)
    done = submit()
    assert done.returncode == 2
    assert message in done.stderr


def test_neither_mpi_nor_tensorflow_is_loaded(folder):
    code = "import sys, runpy\ntry:\n runpy.run_module('etl.submit', run_name='__main__', alter_sys=True)\n"
    code += "except SystemExit: print(sorted({'mpi4py', 'tensorflow', 'h5py', 'osgeo', 'horovod'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code, "--dry-run"], capture_output=True, text=True, check=False,
        env={"PATH": "/nowhere", "PYTHONPATH": str(DEPLOY.parent)},
    )  # fmt: skip
    assert ast.literal_eval(done.stdout.splitlines()[-1]) == [], done.stderr


def test_a_job_is_done_if_it_ended_well_with_these_settings_and_its_result_is_there(folder, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    job = jobs_of()[0]
    chain = folder / "chain"
    chain.mkdir()
    assert not is_done(chain, job)
    for event in (("begin",), ("end", "0")):
        note_attempt([event[0], str(chain), "catalogue", "", digest_settings(), *event[1:]])
    assert not is_done(chain, job)
    Path(job.result).parent.mkdir()
    Path(job.result).touch()
    assert is_done(chain, job)
    Path("pipeline.toml").write_text("[catalogue]\nstrict = true\n")
    assert not is_done(chain, job)
