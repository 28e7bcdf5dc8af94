"""`python -m trainer.run` on one worker: two steps of training and what they leave, and what it says on bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest
from stores import TRAIN, VAL, set_scalar, training_store

from etl.processor import describe_processor
from trainer.config import EvaluateRunSettings
from trainer.run import main
from trainer.workers.command import run_command
from trainer.workers.devices import threads_per_worker

BATCH = ("--batch", "4")


def run(*flags: object, without: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, where the package `without` cannot be imported."""
    code = f"import sys; sys.modules[{without!r}] = None; from trainer.run import main; sys.exit(main(sys.argv[1:]))"
    call = [sys.executable, *(("-c", code) if without else ("-m", "trainer.run")), *map(str, flags)]
    return subprocess.run(call, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.slow
def test_one_worker_trains_without_mpirun_and_without_horovod(tmp_path):
    training_store(tmp_path / "store.h5", [TRAIN] * 6 + [VAL] * 3)
    flags = ("--store", tmp_path / "store.h5", "--out", tmp_path / "run", "--bands", "rgb", "--steps", 2)
    done = run(*flags, *BATCH, without="horovod")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["steps"] == len(record["loss"]) == len(record["seconds"]) == 2
    assert record["processor"] == describe_processor()
    assert record["patches"] == 6  # a whole batch, and the two rows that are left
    assert np.isfinite(record["loss"]).all()
    assert done.stdout.splitlines()[-1].startswith("2 steps by 1 worker in ")
    assert "Traceback" not in done.stderr
    assert record["by_epoch"][0]["val"]["rows"] == record["scores"]["val"]["at_half"]["rows"] == 3
    assert (tmp_path / "run" / "checkpoint.npz").exists()
    assert len(list((tmp_path / "run" / "logs").iterdir())) == 1


def test_a_folder_that_holds_a_run_is_refused_without_resume(tmp_path, caplog):
    training_store(tmp_path / "store.h5", [TRAIN] * 2)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.npz").write_bytes(b"")
    assert main(["--store", str(tmp_path / "store.h5"), "--out", str(tmp_path / "run")]) == 2
    assert "continue with --resume" in caplog.text


def test_an_interrupted_command_names_resume_only_where_it_exists(caplog):
    def interrupt(*_):
        raise KeyboardInterrupt

    assert run_command(EvaluateRunSettings, "trainer.evaluate", [], interrupt) == 75
    assert "stopped by a signal; run it again" in caplog.text


def test_a_missing_store_ends_with_status_2_and_one_line(tmp_path):
    done = run("--store", tmp_path / "none.h5")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "none.h5 is not there" in done.stderr


def test_an_incomplete_store_ends_with_status_2_and_the_way_to_complete_it(tmp_path, caplog):
    training_store(tmp_path / "store.h5", [TRAIN] * 2)
    set_scalar(tmp_path / "store.h5", "complete", 0)
    assert main(["--store", str(tmp_path / "store.h5")]) == 2
    assert "etl.extract --resume" in caplog.text


def test_a_dry_run_writes_nothing(tmp_path, caplog):
    training_store(tmp_path / "store.h5", [TRAIN] * 6)
    out = tmp_path / "run"
    with caplog.at_level("INFO"):
        assert (
            main(["--store", str(tmp_path / "store.h5"), "--out", str(out), "--dry-run", "--epochs", "3", *BATCH]) == 0
        )
    assert "6 training rows" in caplog.text
    assert "2 steps per epoch, 6 steps in all" in caplog.text
    assert not out.exists()


@pytest.mark.parametrize("flags", [("--batch", "0"), ("--classes", "20"), ("--momentum", "1")])
def test_a_bad_setting_ends_with_status_2(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        main(list(flags))
    assert stop.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_importing_the_command_does_not_import_tensorflow():
    code = "import sys, trainer.run; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=100, check=False).returncode == 0


@pytest.mark.parametrize(
    ("asked", "cores", "workers", "threads"),
    [(0, 2, 1, 0), (0, 2, 2, 1), (0, 2, 4, 1), (0, 16, 4, 4), (3, 2, 2, 3)],
)
def test_workers_of_a_node_share_its_cores(asked, cores, workers, threads):
    assert threads_per_worker(asked, cores, workers) == threads
