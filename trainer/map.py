"""`python -m trainer.map PRODUCT --run RUN`: an unlabelled product straight to a map of the classes of a run."""

from trainer.workers.interruption import end_on_signals
from trainer.workers.supervisor import RERUN_ADVICE

if __name__ == "__main__":
    end_on_signals(RERUN_ADVICE)  # during the imports below, which take seconds

import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from etl.pixel_groups import IMAGES, SENTINEL1, UPSAMPLED_GROUP
from etl.plural import counted
from etl.stderr import suppress_stderr
from etl.store.location import Location
from etl.store.reader import StoreReader
from trainer.config import MapRunSettings, PredictRunSettings
from trainer.maps.output import require_output
from trainer.predict import predict
from trainer.workers.child import node_cores, run_child
from trainer.workers.command import run_command
from trainer.workers.devices import configure_worker_devices
from trainer.workers.horovod import Workers

__all__ = ["main"]

log = logging.getLogger("trainer.map")

_CATALOGUE, _STORE = "patches.parquet", "store.h5"
"""Names in the temporary folder."""

_MOST_THREADS = 1024
"""Most that etl.extract takes."""

_MOST_NAMED = 8
"""Products that are named in the log."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(MapRunSettings, "trainer.map", argv, map_products, positional="product")


def map_products(settings: MapRunSettings, workers: Workers) -> int:
    """Collective: extract all patches of the products, predict them, and write a map; returns the exit status.

    Raises:
        JobError: a product, the run or the output cannot be used, on every worker alike.
    """
    configure_worker_devices(settings.threads, workers)  # before the first exchange, which starts TensorFlow
    workers.on_worker_0("checking the output", lambda: require_output(settings.out))
    upsampling = workers.on_every_worker("reading the run", lambda: _upsampling(settings))
    links = [word for path in settings.allow_links for word in ("--allow-links", str(path.absolute()))]
    source = ("--source", str(settings.product.absolute()), *links)
    cores = node_cores(workers)
    threads = ("--decode-threads", str(min(len(cores), _MOST_THREADS)))
    with _temporary_folder(settings.out.absolute().parent, workers) as folder:
        log.info("extracting all patches of %s to %s", settings.product, folder)
        run_child(workers, ("etl.catalogue", *source, "--out", _CATALOGUE), folder, cores)
        extraction = ("etl.extract", "--catalogue", _CATALOGUE, *source, "--out", _STORE, *upsampling, *threads)
        run_child(workers, extraction, folder, cores)
        store = Location.parse(folder / _STORE)
        workers.on_worker_0("reading the store", lambda: log.info("%s", _products_line(store)))
        predicted = PredictRunSettings(
            settings.run,
            store,
            batch=settings.batch,
            threads=settings.threads,
            out=settings.out,
            stride=settings.stride,
        )
        status = predict(predicted, workers)
        workers.allgather(None)  # all have closed the store, which on NFS could not be removed while it is open
    return status


def _upsampling(settings: MapRunSettings) -> tuple[str, ...]:
    """Flags of etl.extract that give the pixel arrays on which the run was trained.

    Raises:
        ValueError: there is no run, or products do not have its pixels.
    """
    with suppress_stderr():
        from trainer.fit.trained_network import best_checkpoint
    path, checkpoint = best_checkpoint(settings.run)
    network = checkpoint.fingerprint["network"]
    arrays = [item["name"] for item in network["inputs"]]
    foreign = [name for name in arrays if name in (IMAGES, SENTINEL1)]
    if foreign:
        raise ValueError(
            f"the network of {path} was trained on {', '.join(foreign)}, which no product of Sentinel-2 has; "
            "predict a store that has it with trainer.predict"
        )
    if f"data_{UPSAMPLED_GROUP.name}" not in arrays:
        return ("--upsample", "none")
    method = network.get("upsample", "unknown")
    if method == "dsen2":
        return ("--upsample", "dsen2", "--weights", str(settings.weights.absolute()))
    if method != "bilinear":
        log.warning("%s does not say how its 20 m and 60 m bands were upsampled; bilinear is used", path)
    return ("--upsample", "bilinear")


@contextmanager
def _temporary_folder(parent: Path, workers: Workers) -> Iterator[Path]:
    """Collective: a folder that worker 0 makes in `parent`, which all hosts can see, and removes in the end."""
    made = workers.on_worker_0(
        "making a temporary folder", lambda: tempfile.TemporaryDirectory(prefix=".trainer-map-", dir=parent)
    )
    try:
        yield Path(workers.allgather(made.name if made else "")[0])
    finally:
        if made is not None:
            made.cleanup()


def _products_line(store: Location) -> str:
    """Products and numbers of patches of a store, for the log."""
    with StoreReader(store) as reader:
        written = reader.written
        products = sorted(set(np.strings.decode(reader.column("product")[written], "utf-8", "replace").tolist()))
        rejected = len(reader.column("state")) - len(written)
    named = ", ".join(products[:_MOST_NAMED]) + (", ..." if len(products) > _MOST_NAMED else "")
    left_out = f", {counted(rejected, 'patch')} without usable pixels left out" if rejected else ""
    return f"{counted(len(written), 'patch')} of {counted(len(products), 'product')} to predict{left_out}: {named}"


if __name__ == "__main__":
    sys.exit(main())
