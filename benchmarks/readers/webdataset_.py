"""WebDataset: one tar file with a member of raw bytes per patch, written in the order in which they are read."""

import io
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import webdataset as wds

__all__ = ["batches", "write"]


def write(path: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """Write the patches of one pass, in order."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for number, row in enumerate(order[: len(rows) // order.shape[1]].ravel().tolist()):
            member = tarfile.TarInfo(f"{number:08d}.bin")
            member.size = rows[row].nbytes
            file.addfile(member, io.BytesIO(rows[row].tobytes()))
    np.save(path.with_suffix(".shape.npy"), rows.shape[1:])


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the order of the file, in one process: worker processes would send each batch through a pipe."""
    shape = np.load(path.with_suffix(".shape.npy")).tolist()
    samples = iter(wds.WebDataset(str(path), shardshuffle=False, empty_check=False).repeat())
    for _ in order:
        yield np.stack(
            [np.frombuffer(sample["bin"], np.uint16).reshape(shape) for sample in islice(samples, order.shape[1])]
        )
