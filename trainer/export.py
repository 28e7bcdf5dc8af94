"""`python -m trainer.export`: write a run's network for use without this package, and what its user must know."""

from trainer.workers.interruption import end_on_signals
from trainer.workers.supervisor import RERUN_ADVICE

if __name__ == "__main__":
    end_on_signals(RERUN_ADVICE)  # during the imports below, which take seconds

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl.exit_status import ExitStatus
from etl.files import replace_atomically, require_writable
from etl.pixel_groups import GSD_M, IMAGES, SENTINEL1
from etl.stderr import suppress_stderr
from trainer.config import ExportSettings
from trainer.data.selection import PixelArray
from trainer.fit.checkpoint import Checkpoint
from trainer.fit.metrics import Floats
from trainer.fit.thresholds import read_thresholds
from trainer.workers.command import run_command
from trainer.workers.devices import configure_worker_devices
from trainer.workers.horovod import Workers

if TYPE_CHECKING:
    import keras

__all__ = ["main"]

_UNITS = {IMAGES: "pixel values as in the image files", SENTINEL1: "backscatter in dB"}
_COUNTS = "surface reflectance x 10,000, without the offset of baselines from 04.00 on"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(ExportSettings, "trainer.export", argv, export)


def export(settings: ExportSettings, workers: Workers) -> int:
    """Collective: write the network and its description; worker 0 does it alone.

    Raises:
        JobError: the output or the run cannot be used, on every worker alike.
    """
    configure_worker_devices(0, workers)
    workers.on_worker_0("checking the output", lambda: _check_output(settings.out))
    with suppress_stderr():
        from trainer.fit.trained_network import best_checkpoint
    path, checkpoint = workers.on_every_worker("opening the run", lambda: best_checkpoint(settings.run))
    thresholds = read_thresholds(settings.run, len(checkpoint.fingerprint["network"]["classes"]))
    workers.on_worker_0("exporting the network", lambda: _export(path, checkpoint, thresholds, settings.out))
    return ExitStatus.DONE


def _check_output(out: Path) -> None:
    """Check, before the run is read, that the network and its description can be written, and made.

    Raises:
        ValueError: a folder is in the way, or a package is absent.
    """
    if out.suffix:
        require_writable(out)
    elif out.exists():
        raise ValueError(f"{out}, a folder to be made, is there already; remove it, or name another with --out")
    require_writable(_description_path(out))
    absent = [name for name in ("onnx", "tf2onnx") if out.suffix.lower() == ".onnx" and find_spec(name) is None]
    if absent:
        raise ValueError(f'{out} needs the packages {" and ".join(absent)}: pip install "sentinel-etl[export]"')


def _description_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def _export(path: Path, checkpoint: Checkpoint, thresholds: Floats, out: Path) -> None:
    """Write the network of the checkpoint at `path`, and its description; `thresholds`: float32, shape (class,)."""
    with suppress_stderr():
        from trainer.fit.trained_network import pixel_arrays, restore_network
        from trainer.model.portable import make_portable
        from trainer.report.record import training_software, write_record
    model = restore_network(path, checkpoint)
    network = checkpoint.fingerprint["network"]
    description = {
        "command": "trainer.export",
        "name": model.name,
        "inputs": [_describe_input(item) for item in pixel_arrays(network)],
        "output": {"name": "probabilities", "dtype": "float32", "shape": [None, len(network["classes"])]},
        "classes": _describe_classes(network["classes"], thresholds),
        "single_label": network.get("single_label", False),
        "upsample": network["upsample"],
        "software": training_software(),
        "trained_steps": checkpoint.state.step,
        "trained_with": checkpoint.fingerprint["settings"],
    }
    with suppress_stderr(), replace_atomically(out) as part:
        _write(make_portable(model, description["single_label"]), out, part, description)
    write_record(_description_path(out), description)
    inputs = ", ".join(f"{item['name']} {tuple(item['shape'][1:])}" for item in description["inputs"])
    print(f"{model.name}: {inputs} -> probabilities of {len(network['classes'])} classes: {out}", flush=True)


def _describe_input(item: PixelArray) -> dict[str, Any]:
    """One input for a reader of JSON; of its shape (batch, row, col, band), the first is free."""
    return {
        "name": item.name,
        "dtype": item.dtype,
        "shape": [None, *item.row_shape],
        "bands": list(item.bands),
        "units": _UNITS.get(item.name, _COUNTS),
        "nodata": "NaN" if item.dtype == "float32" else item.nodata,
        "gsd_m": GSD_M.get(item.name),
        # the network subtracts and divides by these itself
        "mean": item.mean.tolist(),
        "deviation": item.std.tolist(),
    }


def _describe_classes(names: Sequence[str], thresholds: Floats) -> list[dict[str, Any]]:
    pairs = zip(names, thresholds.tolist(), strict=True)
    return [{"name": name, "threshold": threshold} for name, threshold in pairs]


def _write(network: "keras.Model", out: Path, part: Path, description: Mapping[str, Any]) -> None:
    """Write the network to `part`, in the format that the name `out` asks for."""
    from trainer.model.portable import write_keras, write_onnx, write_saved_model

    if out.suffix.lower() == ".keras":
        write_keras(network, part)
    elif out.suffix:
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}
        write_onnx(network, part, texts)
    else:
        write_saved_model(network, part)


if __name__ == "__main__":
    sys.exit(main())
