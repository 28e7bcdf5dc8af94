"""What a run leaves behind: one JSON record, the closing lines, logs for TensorBoard."""

import json
import platform
import statistics
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from etl.processor import describe_processor
from trainer.config import RunSettings
from trainer.data.sampler import Deal
from trainer.fit.checkpoint import State

__all__ = ["Outcome", "closing_lines", "log_epochs", "record", "software", "write"]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A finished training."""

    deal: Deal
    """Which rows went where."""

    state: State
    """What worker 0 saw."""

    seconds: float
    """Of this process's training, validation included."""

    checksums: list[str]
    """Of each worker's weights, by rank."""

    scores: dict[str, Any]
    """By split, see `score.both`."""

    network: dict[str, Any]
    """Inputs and classes."""

    @property
    def weights_equal(self) -> bool:
        """Whether every worker ended with the same weights."""
        return len(set(self.checksums)) == 1


def record(settings: RunSettings, outcome: Outcome) -> dict[str, Any]:
    """The record of a run. Rates leave the first step out, which traces the graph, where there are others."""
    state, deal = outcome.state, outcome.deal
    steps = range(state.step)
    steady = steps[1:] or steps
    step_s, wait_s = ([values[k] for k in steady] for values in (state.step_s, state.wait_s))
    return {
        "command": "trainer.run",
        "workers": deal.size,
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),  # 0: TensorFlow's choice
        "rows": deal.rows,
        "steps": len(steps),
        "epochs": len(steps) / deal.epoch_steps,
        "patches": sum(len(deal.step_rows(step)) for step in steps),
        **outcome.network,
        "figures": {
            "loss_first": state.loss[0],
            "loss_last": state.loss[-1],
            "seconds_total": outcome.seconds,
            "seconds_first_step": state.step_s[0],
            "seconds_a_step_median": statistics.median(step_s),
            "waiting_share": sum(wait_s) / sum(step_s),
            "patches_per_second": sum(len(deal.step_rows(k)) for k in steady) / sum(step_s),
        },
        "loss": state.loss,
        "seconds": state.step_s,
        "seconds_waiting": state.wait_s,
        "by_epoch": state.by_epoch,
        "scores": outcome.scores,
        "weights_equal": outcome.weights_equal,
        "weights_checksums": outcome.checksums,
        "host": platform.node(),
        "processor": describe_processor(),
        "software": software(),
        "settings": {key: str(value) for key, value in asdict(settings).items()},
    }


_SOFTWARE = ("sentinel-etl", "tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy", "h5py", "scikit-learn")


def software() -> dict[str, str | None]:
    """Versions of what decides weights and speed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _SOFTWARE}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def write(path: Path, found: dict[str, Any]) -> Path:
    """Write a record, whole or not at all; returns its path."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return part.rename(path)


def log_epochs(folder: Path, state: State) -> None:
    """TensorBoard's logs of the whole run, below `folder`/logs."""
    with tf.summary.create_file_writer(str(folder / "logs")).as_default():
        for number, loss in enumerate(state.loss, start=1):
            _scalar("loss", loss, number)
        for epoch in state.by_epoch:
            for name in ("loss", "seconds", "rate"):
                _scalar(f"epoch/{name}", epoch[name], epoch["epoch"])
            if epoch["val"] is not None:
                for name, value in epoch["val"]["micro"].items():
                    _scalar(f"val/micro_{name}", value, epoch["epoch"])


def _scalar(tag: str, value: float, step: int) -> None:
    """`tf.summary.scalar`, which wants TensorBoard installed, without it: only who looks at the logs needs it."""
    kind = tf.compat.v1.SummaryMetadata()
    kind.plugin_data.plugin_name, kind.data_class = "scalars", 1  # DATA_CLASS_SCALAR
    tf.summary.write(tag, tf.constant(value, tf.float32), step=step, metadata=kind)


def closing_lines(found: dict[str, Any], path: Path) -> str:
    """What the command answers."""
    loss, figures, workers = found["loss"], found["figures"], found["workers"]
    shown = [f"{value:.4f}" for value in loss]
    if len(shown) > 10:
        shown = [*shown[:5], "...", *shown[-5:]]
    who = "1 worker" if workers == 1 else f"{workers} workers"
    equal = f"weights of {who} {'are equal' if found['weights_equal'] else 'DIFFER'}"
    return (
        f"loss by step: {' '.join(shown)}\n"
        f"{equal if workers > 1 else 'weights'}, checksum {' '.join(sorted(set(found['weights_checksums'])))}\n"
        f"{_scored(found)}"
        f"{found['steps']} steps by {who} in {figures['seconds_total']:.1f} s "
        f"({figures['seconds_a_step_median']:.2f} s a step, {figures['patches_per_second']:.1f} patches/s, "
        f"{100 * figures['waiting_share']:.1f} % waiting for data), "
        f"loss {figures['loss_first']:.4f} -> {figures['loss_last']:.4f} -> {path}"
    )


def _scored(found: dict[str, Any]) -> str:
    return "".join(f"{split}: {scores_line(scored['at_half'])}\n" for split, scored in found["scores"].items())


def scores_line(scored: dict[str, Any]) -> str:
    """Scores at one half, in one line."""
    micro, macro = scored["micro"], scored["macro"]
    return (
        f"{scored['rows']} rows, micro precision {micro['precision']:.3f} recall {micro['recall']:.3f} "
        f"F1 {micro['f1']:.3f}, macro F1 {macro['f1']:.3f}, mean average precision "
        f"{scored['mean_average_precision']:.3f}"
    )
