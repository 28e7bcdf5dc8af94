"""What a run leaves behind: one JSON record, and the closing lines."""

import json
import platform
import statistics
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainer.config import RunSettings
from trainer.deal import Deal
from trainer.fit import History

__all__ = ["Outcome", "closing_lines", "record", "write"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished training."""

    deal: Deal
    """Which rows went where."""

    history: History
    """What worker 0 saw."""

    seconds: float
    """From the first step to the last."""

    checksums: list[str]
    """Of each worker's weights, by rank."""

    @property
    def weights_equal(self) -> bool:
        """Whether every worker ended with the same weights."""
        return len(set(self.checksums)) == 1


def record(settings: RunSettings, outcome: Outcome) -> dict[str, Any]:
    """The record of a run. Rates leave the first step out, which traces the graph, where there are others."""
    history, deal = outcome.history, outcome.deal
    steps = range(len(history.loss))
    steady = steps[1:] or steps
    step_s, wait_s = ([values[k] for k in steady] for values in (history.step_s, history.wait_s))
    return {
        "command": "trainer.run",
        "workers": deal.size,
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),  # 0: TensorFlow's choice
        "rows": deal.rows,
        "steps": len(steps),
        "epochs": len(steps) / deal.epoch_steps,
        "patches": sum(len(deal.step_rows(step)) for step in steps),
        "figures": {
            "loss_first": history.loss[0],
            "loss_last": history.loss[-1],
            "seconds_total": outcome.seconds,
            "seconds_first_step": history.step_s[0],
            "seconds_a_step_median": statistics.median(step_s),
            "waiting_share": sum(wait_s) / sum(step_s),
            "patches_per_second": sum(len(deal.step_rows(k)) for k in steady) / sum(step_s),
        },
        "loss": history.loss,
        "seconds": history.step_s,
        "seconds_waiting": history.wait_s,
        "weights_equal": outcome.weights_equal,
        "weights_checksums": outcome.checksums,
        "host": platform.node(),
        "software": {"python": platform.python_version()} | {name: _version(name) for name in _SOFTWARE},
        "settings": {key: str(value) for key, value in asdict(settings).items()},
    }


_SOFTWARE = ("sentinel-etl", "tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy", "h5py")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def write(folder: Path, found: dict[str, Any]) -> Path:
    """Write the record into the run's folder, whole or not at all; returns its path."""
    path, part = folder / "run.json", folder / "run.json.part"
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return part.rename(path)


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
        f"{found['steps']} steps by {who} in {figures['seconds_total']:.1f} s "
        f"({figures['seconds_a_step_median']:.2f} s a step, {figures['patches_per_second']:.1f} patches/s, "
        f"{100 * figures['waiting_share']:.1f} % waiting for data), "
        f"loss {figures['loss_first']:.4f} -> {figures['loss_last']:.4f} -> {path}"
    )
