"""Results of a run: its JSON record, and the lines printed at its end."""

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from etl.files import replace_atomically
from etl.processor import describe_processor
from etl.settings import settings_record
from etl.software import software_versions
from trainer.config import RunSettings
from trainer.data.sampler import DistributedSampler
from trainer.fit.checkpoint import TrainingState
from trainer.fit.metrics import scores_line
from trainer.fit.training import TrainingOutcome

__all__ = ["closing_lines", "finished_record", "training_record", "training_software", "write_record"]


def training_record(
    settings: RunSettings,
    sampler: DistributedSampler,
    state: TrainingState,
    network: Mapping[str, Any],
    archive: str,
) -> dict[str, Any]:
    """The content of run.json of an unfinished run, times in seconds; `finished_record` has the rest.

    `network`: see `trained_network.describe_network`; `archive`: see `SelectedRows`.
    """
    steps = range(state.step)
    return {
        "command": "trainer.run",
        "finished": False,
        "workers": sampler.size,
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),  # 0: TensorFlow's choice
        "rows": sampler.rows,
        "steps": len(steps),
        "epochs": len(steps) / sampler.steps_per_epoch,
        "patches": sum(len(sampler.step_rows(step)) for step in steps),
        **network,
        "archive": archive,
        "figures": _figures(sampler, state) if steps else {},
        "resumed_at": state.resumed_at,
        "loss": state.loss,
        "seconds": state.step_s,
        "seconds_waiting": state.wait_s,
        "by_epoch": state.by_epoch,
        "host": platform.node(),
        "processor": describe_processor(),
        "software": training_software(),
        "settings": settings_record(settings),
    }


def finished_record(
    settings: RunSettings, sampler: DistributedSampler, outcome: TrainingOutcome, archive: str
) -> dict[str, Any]:
    """The content of run.json of a finished run, times in seconds; `archive`: see `SelectedRows`."""
    return {
        **training_record(settings, sampler, outcome.state, outcome.network, archive),
        "finished": True,
        "scores": outcome.scores,
        "weights_equal": outcome.weights_equal,
        "weights_checksums": outcome.checksums,
    }


def _figures(sampler: DistributedSampler, state: TrainingState) -> dict[str, float]:
    """Losses, seconds and rates over all parts of the run; rates leave out steps that compiled, if there are others."""
    steady = _steady_steps(sampler, state)
    step_s, wait_s = ([values[k] for k in steady] for values in (state.step_s, state.wait_s))
    return {
        "loss_first": state.loss[0],
        "loss_last": state.loss[-1],
        "seconds_total": state.seconds,
        "seconds_first_step": state.step_s[0],
        "seconds_a_step_median": statistics.median(step_s),
        "waiting_share": sum(wait_s) / sum(step_s),
        "patches_per_second": sum(len(sampler.step_rows(k)) for k in steady) / sum(step_s),
    }


def _steady_steps(sampler: DistributedSampler, state: TrainingState) -> Sequence[int]:
    """Steps that did not compile a graph: in each part of the run its first step does, and its first short one."""
    whole, last_of_epoch, compiling = sampler.batch * sampler.size, sampler.steps_per_epoch - 1, set[int]()
    for start in (0, *state.resumed_at):
        compiling.add(start)
        last = start - start % sampler.steps_per_epoch + last_of_epoch
        if len(sampler.step_rows(last)) < whole:
            compiling.add(last)
    steps = range(state.step)
    return [step for step in steps if step not in compiling] or steps[1:] or steps


_SOFTWARE = ("sentinel-etl", "tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy", "h5py", "scikit-learn")


def training_software() -> dict[str, str | None]:
    """Versions of the packages that influence weights and speed, by name; None if not installed."""
    return software_versions(_SOFTWARE)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, replacing the file atomically."""
    with replace_atomically(path) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def closing_lines(record: Mapping[str, Any], path: Path) -> str:
    """Lines that `trainer.run` prints at its end: losses, checksums, scores, seconds per step, path of the record."""
    figures, workers = record["figures"], record["workers"]
    losses = [f"{value:.4f}" for value in record["loss"]]
    if len(losses) > 10:
        losses = [*losses[:5], "...", *losses[-5:]]
    who = "1 worker" if workers == 1 else f"{workers} workers"
    equal = f"weights of {who} {'are equal' if record['weights_equal'] else 'DIFFER'}"
    scored = (f"{split}: {scores_line(scores['at_half'])}\n" for split, scores in record["scores"].items())
    return (
        f"loss by step: {' '.join(losses)}\n"
        f"{equal if workers > 1 else 'weights'}, checksum {' '.join(sorted(set(record['weights_checksums'])))}\n"
        f"{''.join(scored)}"
        f"{record['steps']} steps by {who} in {figures['seconds_total']:.1f} s "
        f"({figures['seconds_a_step_median']:.2f} s a step, {figures['patches_per_second']:.1f} patches/s, "
        f"{100 * figures['waiting_share']:.1f} % waiting for data), "
        f"loss {figures['loss_first']:.4f} -> {figures['loss_last']:.4f} -> {path}"
    )
