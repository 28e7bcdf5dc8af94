"""Seven real patches are learnt by heart: what must work where anything is to be learnt at all."""

import json

import pytest
from commands import ranks

STEPS = 28
"""The loss falls below 0.01 after about 18; the others let the moving statistics settle."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_few_steps_learn_the_seven_patches_of_version_1_by_heart(shared_data, tmp_path):
    def done(*command):
        found = ranks(1, *command, cwd=tmp_path, timeout=400)
        assert found.returncode == 0, found.stderr

    source = ("--source", str(shared_data / "patches_v1"))
    done("etl.catalogue", *source, "--out", "patches.parquet")
    done("etl.extract", *source, "--catalogue", "patches.parquet", "--out", "store.h5", "--strict")
    place = ("--store", "store.h5", "--batch", "7")
    plain = ("--dropout", "0", "--mixup", "0", "--no-turn", "--l2", "0", "--norm-momentum", "0.5")
    pace = ("--rate", "1", "--warmup", "0", "--decay", "none", "--validate-every", "0")
    done("trainer.run", *place, *plain, *pace, "--steps", str(STEPS), "--out", "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["rows"], record["steps"]) == (7, STEPS)
    assert record["loss"][0] > 0.3
    assert record["loss"][-1] < 0.01

    # without lists no row has a split, and all of them count as training rows
    done("trainer.evaluate", *place, "--run", "run", "--split", "train")
    scores = json.loads((tmp_path / "run" / "evaluate.train.json").read_text())["scores"]["at_half"]
    assert (scores["rows"], scores["micro"]) == (7, {"precision": 1, "recall": 1, "f1": 1})
