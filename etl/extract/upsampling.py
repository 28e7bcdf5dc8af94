"""The way of upsampling that was asked for: weights read once, on rank 0; each rank's device; what is said of it."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etl.extract.settings import ExtractSettings
from etl.mpi import Comm, agree, local_rank, on_root
from etl.processor import describe_processor
from etl.stderr import suppress_stderr
from etl.upsample.method import PROCESSING_LEVEL, UpsampleMethod, Upsampler
from etl.upsample.weights import read_networks

__all__ = ["Opened", "choose", "mixed_devices", "open_method"]

log = logging.getLogger("etl.extract")


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A method that is ready to run on this rank."""

    upsampler: Upsampler | None
    """None where nothing is upsampled."""

    windows: int
    """Patches that networks run on at once; 0 without networks."""

    said: dict[str, Any]
    """What the run's record keeps of it: weights, precision, devices, warnings; on rank 0, empty elsewhere."""

    @property
    def on_gpu(self) -> bool:
        """Whether networks run on a GPU; on rank 0."""
        return any(device.startswith("GPU") for device in self.said.get("devices", ()))


def choose(settings: ExtractSettings, comm: Comm) -> UpsampleMethod:
    """Collective: the method, with its weights on every rank.

    Raises:
        JobError: on every rank, with status 2, where the weights do not fit.
    """
    if settings.upsample != "dsen2":
        return UpsampleMethod(settings.upsample)
    networks = comm.bcast(on_root(comm, lambda: read_networks(settings.weights, PROCESSING_LEVEL)))
    return UpsampleMethod("dsen2", networks, settings.precision)


def open_method(method: UpsampleMethod, settings: ExtractSettings, comm: Comm) -> Opened:
    """Collective: the method ready to run; with DSen2 each rank sets up its CPU threads or its GPU."""
    if not method.networks:
        return Opened(method.open(), 0, {})
    number, upsampler, device, problem = local_rank(comm), None, None, None
    try:
        with suppress_stderr():
            from etl.upsample.dsen2 import configure_tensorflow  # TensorFlow takes 600 MiB and three seconds

            device = configure_tensorflow(settings.network_threads, number)
            upsampler = method.open()
    except (ImportError, RuntimeError) as error:
        problem = f"{error!r}; python -m etl.doctor says what is missing"
    agree(comm, "starting TensorFlow for --upsample dsen2", problem)
    windows = device.windows if device else 0
    gathered = comm.gather((device.name if device else "", describe_processor()))
    if gathered is None:
        return Opened(upsampler, windows, {})
    devices, processors = zip(*gathered, strict=True)
    warnings = method.warnings() + mixed_devices(devices, processors)
    for text in warnings:
        log.warning("%s", text)
    weights = [network.to_record() for network in method.networks]
    said = {"weights": weights, "precision": method.precision, "devices": Counter(devices), "warnings": warnings}
    return Opened(upsampler, windows, said)


def mixed_devices(devices: Sequence[str], processors: Sequence[str]) -> list[str]:
    """A word where ranks compute on unlike devices: networks' sums are rounded differently there."""
    kinds = {device.split(" ")[0].rstrip(",") for device in devices}
    if len(kinds) > 1:
        return ["some ranks have a GPU and some have none: pixels may differ by a count between them"]
    if kinds == {"CPU"} and len(set(processors)) > 1:
        unlike = "; ".join(sorted(set(processors)))
        return [f"ranks run on unlike processors, so pixels may differ by a count between them: {unlike}"]
    return []
