"""The trainer on several Horovod workers: what they tell each other, and that they end with equal weights."""

import json

import numpy as np
import pytest
from stores import TRAIN, training_store

from trainer.parallel import WorkerError, connect
from trainer.run import main


@pytest.mark.mpi(ranks=[2, 3], timeout=280)
def test_workers_average_broadcast_gather_and_agree(mpi_ranks, comm):
    import tensorflow as tf

    workers = connect()
    assert (workers.rank, workers.size) == (comm.rank, mpi_ranks)
    mean = (mpi_ranks - 1) / 2
    first, second = workers.average([tf.fill([3], float(comm.rank)), tf.constant(2.0 * comm.rank)])
    np.testing.assert_allclose(first, [mean] * 3, rtol=1e-6)
    np.testing.assert_allclose(second, 2 * mean, rtol=1e-6)
    variable = tf.Variable([float(comm.rank + 5)])
    workers.broadcast([variable])
    assert variable.numpy().tolist() == [5.0]
    assert workers.gather(f"r{comm.rank}") == [f"r{rank}" for rank in range(mpi_ranks)]

    def fail_on_one() -> int:
        if comm.rank == 1:
            raise ValueError("no such thing")
        return comm.rank

    message = rf"trying failed on 1 of {mpi_ranks} workers \[1\]; worker 1: no such thing"
    with pytest.raises(WorkerError, match=message):
        workers.agree("trying", fail_on_one)
    assert workers.agree("trying again", lambda: comm.rank) == comm.rank


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.mpi(ranks=[2], timeout=580)
def test_two_workers_end_with_equal_weights(mpi_ranks, comm, mpi_tmp_path, capfd):
    store, out = mpi_tmp_path / "store.h5", mpi_tmp_path / "run"
    if comm.rank == 0:
        training_store(store, [TRAIN] * 11)
    comm.Barrier()
    # 11 rows: a step of 2 x 4, and one of 2 + 1 with padding
    flags = ("--store", store, "--out", out, "--bands", "rgb", "--batch", 4, "--steps", 2)
    assert main([str(flag) for flag in flags]) == 0
    printed = capfd.readouterr().out
    comm.Barrier()
    record = json.loads((out / "run.json").read_text())
    assert record["workers"] == len(record["weights_checksums"]) == 2
    assert record["weights_equal"]
    assert len(set(record["weights_checksums"])) == 1
    assert record["patches"] == 11
    assert np.isfinite(record["loss"]).all()
    assert printed.startswith("loss by step:") if comm.rank == 0 else not printed


@pytest.mark.mpi(ranks=[2], timeout=200)
def test_bad_input_is_told_once_by_worker_0(mpi_ranks, comm, mpi_tmp_path, caplog):
    assert main(["--store", str(mpi_tmp_path / "none.h5")]) == 2
    assert caplog.text.count("is not there") == (comm.rank == 0)
