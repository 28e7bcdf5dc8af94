"""Set up the upsampling method: weights read once, on rank 0; a device for each rank; warnings and the record."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etl.extract.settings import ExtractSettings
from etl.mpi import Comm, RootOnly, local_rank, on_every_rank
from etl.processor import describe_processor
from etl.stderr import suppress_stderr
from etl.upsample.method import PROCESSING_LEVEL, UpsampleMethod, Upsampler
from etl.upsample.weights import read_networks

if TYPE_CHECKING:
    from etl.upsample.dsen2 import Device

__all__ = ["ReadyUpsampling", "choose_method", "mixed_devices", "open_upsampling"]

log = logging.getLogger("etl.extract")


@dataclass(frozen=True, slots=True, eq=False)
class ReadyUpsampling:
    """An upsampling method, ready to run on this rank."""

    upsampler: Upsampler | None
    """None if nothing is upsampled."""

    workers: int
    """Threads that run the networks on one patch each while others are decoded; 0: the decoding thread upsamples."""

    on_gpu: bool
    """Whether the networks of any rank run on a GPU."""

    record: dict[str, Any]
    """Its entries in the run's record: weights, precision, devices, warnings; the same on every rank."""


def choose_method(settings: ExtractSettings, comm: Comm) -> UpsampleMethod:
    """Collective: the method, with its weights on every rank.

    Raises:
        JobError: on every rank, with status 2, if the weights do not fit.
    """
    if settings.upsample != "dsen2":
        return UpsampleMethod(settings.upsample)
    networks = RootOnly(comm, lambda: read_networks(settings.weights, PROCESSING_LEVEL)).bcast(tuple)
    return UpsampleMethod("dsen2", networks, settings.precision)


def open_upsampling(method: UpsampleMethod, settings: ExtractSettings, comm: Comm) -> ReadyUpsampling:
    """Collective: the method ready to run; with DSen2 each rank sets up its CPU threads or its GPU.

    Raises:
        JobError: on every rank, if TensorFlow cannot be started on one.
    """
    if not method.networks:
        return ReadyUpsampling(method.open(), 0, False, {})
    number = local_rank(comm)

    def open_networks() -> "tuple[Upsampler | None, Device]":
        """What upsamples, and the device that it runs on."""
        try:
            with suppress_stderr():
                from etl.upsample.dsen2 import configure_tensorflow  # TensorFlow takes 600 MiB and three seconds

                device = configure_tensorflow(settings.network_threads, number)
                return method.open(), device
        except (ImportError, RuntimeError) as error:
            raise OSError(f"{error!r}; python -m etl.doctor says what is missing") from None

    upsampler, device = on_every_rank(comm, "starting TensorFlow for --upsample dsen2", open_networks)
    devices, processors = zip(*comm.allgather((device.name, describe_processor())), strict=True)
    warnings = method.warnings() + mixed_devices(devices, processors)
    for text in warnings if comm.rank == 0 else ():
        log.warning("%s", text)
    record = {
        "weights": [network.to_record() for network in method.networks],
        "precision": method.precision,
        "devices": Counter(devices),
        "warnings": warnings,
    }
    on_gpu = any(name.startswith("GPU") for name in devices)
    return ReadyUpsampling(upsampler, device.windows, on_gpu, record)


def mixed_devices(devices: Sequence[str], processors: Sequence[str]) -> list[str]:
    """A warning if ranks compute on unlike devices, which round the networks' sums differently; else empty.

    `devices`, `processors`: one name a rank.
    """
    kinds = {device.split(" ")[0].rstrip(",") for device in devices}
    if len(kinds) > 1:
        return ["some ranks have a GPU and some have none: pixels may differ by a count between them"]
    if kinds == {"CPU"} and len(set(processors)) > 1:
        unlike = "; ".join(sorted(set(processors)))
        return [f"ranks run on unlike processors, so pixels may differ by a count between them: {unlike}"]
    return []
