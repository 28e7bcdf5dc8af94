"""What a run writes while it trains: its record and its scalars, each step and epoch once, over all of its parts."""

import json
import logging
import signal
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from stores import small_rows
from training_setups import ALONE, make_setup, small_network

from trainer.config import RunSettings
from trainer.data.sampler import DistributedSampler
from trainer.fit.checkpoint import TrainingState
from trainer.fit.loop import fit
from trainer.fit.observer import Observers, observer_class
from trainer.report import progress_line
from trainer.report.__main__ import main as report
from trainer.report.event_log import EventLog
from trainer.report.record import training_record
from trainer.report.recorder import RunRecorder
from trainer.workers.interruption import StopRequested


def state_of(steps, epochs=(), **others):
    """A state after so many steps, which took one second each, with records of these epochs."""
    records = [{"epoch": k, "loss": 0.5, "seconds": 2.0, "rate": 0.1, "val": {"micro": {"f1": 0.25}}} for k in epochs]
    losses = [1 / (k + 1) for k in range(steps)]
    return TrainingState(steps, losses, [1.0] * steps, [0.25] * steps, records, **others)


def scalars(folder):
    """(tag, step) -> value of all event files that TensorBoard would show, and how often each was written."""
    values, times, counts = {}, {}, Counter()
    for path in sorted((folder / "logs").iterdir()):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                values[value.tag, event.step] = tf.make_ndarray(value.tensor).item()
                times[value.tag, event.step] = event.wall_time
                counts[value.tag, event.step] += 1
    return values, times, counts


def test_scalars_are_on_the_disk_while_the_run_goes_on(tmp_path):
    state = state_of(0)
    log = EventLog(tmp_path / "logs", state)
    state.step, state.loss = 1, [0.75]
    log.add_step()
    assert scalars(tmp_path)[0] == {("loss", 1): 0.75}
    state.by_epoch += state_of(1, [0]).by_epoch
    log.add_epochs()
    assert scalars(tmp_path)[0].keys() == {
        ("loss", 1), ("epoch/loss", 0), ("epoch/seconds", 0), ("epoch/rate", 0), ("epoch/waiting_share", 0),
        ("val/micro_f1", 0),
    }  # fmt: skip


def test_all_scores_of_an_epoch_are_scalars(tmp_path):
    state = state_of(1, [0])
    classes = [{"name": "Water", "f1": 0.5, "average_precision": None}]
    state.by_epoch[0]["val"] = {"rows": 9, "loss": 0.125, "micro": {"f1": 0.25, "recall": 0.75}, "classes": classes}
    EventLog(tmp_path / "logs", state)
    assert {tag: value for (tag, _), value in scalars(tmp_path)[0].items() if tag.startswith("val")} == {
        "val/loss": 0.125, "val/micro_f1": 0.25, "val/micro_recall": 0.75, "val_f1/Water": 0.5,
    }  # fmt: skip


def test_pictures_are_in_the_form_that_tensorboard_reads(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 5, 3), np.uint8)
    EventLog(tmp_path / "logs", state_of(1)).add_images("training patches", pictures)
    (path,) = (tmp_path / "logs").iterdir()
    *_, last = [tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    (value,) = last.summary.value
    assert (value.tag, value.metadata.plugin_data.plugin_name) == ("training patches", "images")
    width, height, *encoded = tf.make_ndarray(value.tensor).tolist()
    assert (width, height) == (b"5", b"8")
    for picture, data in zip(pictures, encoded, strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(data), picture)


def test_a_line_tells_rate_waiting_and_time_left(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    clock = [100.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: clock[0])
    state = state_of(0)
    line = progress_line.ProgressLine(RunSettings(epochs=2, batch=4), DistributedSampler(32, 4, 1))
    line.begin(state, {})
    for step in range(1, 17):
        clock[0] += 6.0
        state.step, state.loss = step, [*state.loss, 0.5]
        state.step_s, state.wait_s = [*state.step_s, 2.0], [*state.wait_s, 0.5]
        line.after_step()
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "step 1 of 16 (epoch 1 of 2): loss 0.5000, 2 patches/s, 25 % waiting for data"
    assert said[1].startswith("step 3 of 16 (epoch 1 of 2)")
    assert said[1].endswith(", 0:01:18 left")  # 13 steps of 6 s
    assert said[-1].startswith("step 16 of 16 (epoch 2 of 2)")
    assert "left" not in said[-1]
    assert len(said) == 1 + 7 + 1


def test_steps_are_recorded_for_the_profiler(tmp_path):
    state = state_of(0)
    profiler = progress_line.StepProfiler(RunSettings(out=tmp_path, profile=1))
    profiler.begin(state, {})
    for _ in range(4):
        (tf.ones((64, 64)) @ tf.ones((64, 64))).numpy()
        profiler.after_step()
    profiler.end()
    assert list((tmp_path / "logs").rglob("*.xplane.pb"))


def test_a_class_of_the_user_follows_a_run(tmp_path, monkeypatch):
    state = state_of(3, [0])
    settings = RunSettings(out=tmp_path, callback="trainer.fit.observer:JsonLines")
    observer = observer_class(settings)(settings)
    together = Observers(observer.settings, [observer])
    state.by_epoch[0]["steps"] = 3
    together.begin(state, {})
    together.after_step()
    state.by_epoch += [{**record, "steps": 3} for record in state_of(1, [1, 2]).by_epoch]
    together.after_checkpoint()
    together.after_checkpoint()
    together.end()
    lines = (tmp_path / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]  # epoch 0 is of an earlier part of the run


@pytest.mark.parametrize(
    ("callback", "problem"),
    [
        ("no_such_module:Notes", "can be imported"),
        ("trainer.fit.observer:Notes", "can be imported"),
        ("trainer.fit.observer:observer_class", "must name a subclass"),
    ],
)
def test_a_callback_that_is_no_observer_is_refused(callback, problem):
    with pytest.raises(ValueError, match=problem):
        observer_class(RunSettings(callback=callback))


def test_what_follows_the_restored_checkpoint_is_superseded_in_the_scalars(tmp_path):
    killed = EventLog(tmp_path / "logs", state_of(7, [0, 1, 2]))
    killed.add_epochs()
    (path,) = (tmp_path / "logs").iterdir()
    path.write_bytes(path.read_bytes()[:-5])  # killed while it wrote
    (tmp_path / "logs" / "notes.txt").write_text("mine")
    state = state_of(5, [0, 1])
    log = EventLog(tmp_path / "logs", state)
    state.step, state.loss = 6, [*state.loss, 8.0]
    log.add_step()
    log.add_epochs()
    (tmp_path / "logs" / "notes.txt").unlink()
    values, times, counts = scalars(tmp_path)
    assert set(counts.values()) == {1}
    assert [values["loss", k] for k in range(1, 7)] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 8])
    assert [step for tag, step in values if tag == "epoch/loss"] == [0, 1]
    assert times["loss", 5] - times["loss", 1] == pytest.approx(4, abs=1e-3)


def test_tensorboard_is_told_to_drop_what_it_has_read_of_earlier_parts(tmp_path):
    def starts():
        (path,) = (tmp_path / "logs").iterdir()
        events = [tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
        assert events[0].file_version == "brain.Event:2"
        return [event.step for event in events if event.session_log.status == tf.compat.v1.SessionLog.START]

    EventLog(tmp_path / "logs", state_of(3)).add_epochs()
    assert starts() == []
    EventLog(tmp_path / "logs", state_of(2)).add_epochs()
    assert starts() == [0]


def test_figures_count_all_parts_and_leave_out_steps_that_compiled_a_graph():
    # 2 steps of 4 rows and one of 1 an epoch; resumed after 4 steps, amid the second epoch
    state = state_of(8, seconds=30.5, resumed_at=[4])
    for step in (0, 2, 4, 5):
        state.step_s[step] = 100.0
    record = training_record(RunSettings(), DistributedSampler(9, 4, 1), state, {}, "")
    assert record["steps"] == 8
    assert record["figures"]["seconds_total"] == 30.5
    assert record["figures"]["seconds_a_step_median"] == 1.0
    assert record["figures"]["waiting_share"] == 0.25
    assert record["figures"]["patches_per_second"] == 4.0
    assert record["resumed_at"] == [4]
    assert record["finished"] is False


class Recorded:
    """A small training of 2 epochs of 2 steps, with its files in a folder, that can be resumed."""

    def __init__(self, folder):
        folder.mkdir()
        rows = small_rows(folder / "pixels", 16)
        settings = RunSettings(out=folder, steps=4)
        self.setup, self.state, self.folder = make_setup(rows, small_network(rows), 4), TrainingState(), folder
        # a store without the bands of a picture
        self.recorder = RunRecorder(settings, self.setup.sampler, replace(rows, reader=SimpleNamespace(names=())))

    def train(self, validate=lambda epoch: None, lost=lambda names: None):
        self.recorder.begin(self.state, {})

        def save(names):
            lost(names)
            self.recorder.after_checkpoint()

        return fit(self.setup, self.state, ALONE, validate, save, self.recorder.after_step)

    @property
    def record(self):
        return json.loads((self.folder / "run.json").read_text())


def test_the_record_of_a_running_and_of_a_killed_run_is_live_and_can_be_reported(tmp_path):
    run, out = Recorded(tmp_path / "run"), str(tmp_path / "report")
    seen = []

    def validate(epoch):
        seen.append((run.record["steps"], len(run.record["by_epoch"]), run.record["finished"]))
        assert report([str(run.folder), "--out", out]) == 0
        if epoch == 1:
            raise KeyError("killed")

    with pytest.raises(KeyError):
        run.train(validate)
    assert seen == [(0, 0, False), (2, 1, False)]
    assert report([str(run.folder), "--out", out]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<td>run (unfinished)</td>" in page


def test_a_validation_that_is_broken_off_is_made_up_for_when_the_run_is_resumed(tmp_path):
    run, scored, saved = Recorded(tmp_path / "run"), [], []

    def stop(epoch):
        raise StopRequested

    def validate(epoch):
        scored.append(epoch)
        return {"micro": {"f1": 0.5 + epoch}}

    assert run.train(stop, saved.append)
    assert (run.state.step, run.state.by_epoch, len(saved)) == (2, [], 1)
    assert run.train(stop, saved.append)
    assert (run.state.step, run.state.by_epoch, len(saved)) == (2, [], 2)
    assert not run.train(validate, saved.append)
    assert scored == [0, 1]
    assert [(record["epoch"], record["steps"]) for record in run.record["by_epoch"]] == [(0, 2), (1, 2)]
    assert set(scalars(run.folder)[2].values()) == {1}


def test_an_epoch_that_was_cut_off_is_recorded_once_when_the_run_is_made_longer(tmp_path):
    run = Recorded(tmp_path / "run")
    for steps in (3, 4):
        run.setup = make_setup(small_rows(tmp_path / "pixels", 16), run.setup.model, steps)
        assert not run.train()
        assert [(record["epoch"], record["steps"]) for record in run.state.by_epoch] == [(0, 2), (1, steps - 2)]
    assert set(scalars(run.folder)[2].values()) == {1}


@pytest.mark.parametrize("when", ["in a step", "in a validation", "at the end"])
def test_a_signal_saves_a_checkpoint_and_ends_the_loop(tmp_path, when):
    from trainer.workers.horovod import Workers
    from trainer.workers.interruption import StopSignals

    rows, saved = small_rows(tmp_path / "pixels", 16), []
    setup, state = make_setup(rows, small_network(rows), 4), TrainingState()

    def after_step():
        if when == "in a step" and state.step == 1:
            signal.raise_signal(signal.SIGTERM)

    def validate(epoch):
        if when == "in a validation":
            signal.raise_signal(signal.SIGTERM)
            raise StopRequested  # as `predict_rows` does after its batch
        if when == "at the end" and epoch == 1:
            signal.raise_signal(signal.SIGTERM)

    with StopSignals() as signals:
        assert fit(setup, state, Workers(None, signals), validate, saved.append, after_step)
    assert (state.step, len(state.by_epoch)) == {"in a step": (1, 0), "in a validation": (2, 0), "at the end": (4, 2)}[
        when
    ]
    assert saved[-1] == ["checkpoint.npz"]
    assert np.isfinite(state.loss).all()
