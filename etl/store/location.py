"""Where a store and what lies beside it are: a path on a file system, or `s3://BUCKET/KEY` in a bucket.

A place in a bucket is kept as a `Path` too, which loses one slash; `shown` gives it back.
"""

from pathlib import Path
from typing import Literal

__all__ = ["MANIFEST_SUFFIX", "format_of", "is_remote", "shown"]

_FORMATS: dict[str, Literal["HDF5", "Zarr"]] = {".h5": "HDF5", ".hdf5": "HDF5", ".zarr": "Zarr"}

MANIFEST_SUFFIX = ".json"
"""Of an HDF5 store's description as Zarr, which etl.convert writes."""


def format_of(path: Path, name: str = "store") -> Literal["HDF5", "Zarr"]:
    """Format of the store at `path`, which its suffix names; the same rule for every command.

    `name` is what the message calls it, e.g. a command-line flag.

    Raises:
        ValueError: no store is named so, or it is a manifest, or HDF5 in a bucket.
    """
    found = _FORMATS.get(path.suffix)
    if path.suffix == MANIFEST_SUFFIX:
        raise ValueError(
            f"{name} must be the store itself (.h5, .hdf5 or .zarr), got the manifest {shown(path)}; only "
            "etl.open_store and xarray read manifests: name the HDF5 store it was made from"
        )
    if found is None:
        raise ValueError(f"{name} must end in .h5, .hdf5 or .zarr, got {shown(path)}")
    if is_remote(path) and (found != "Zarr" or len(path.parts) < 3):
        raise ValueError(f"{name} in a bucket must be s3://BUCKET/NAME.zarr, got {shown(path)}")
    return found


def is_remote(path: Path) -> bool:
    """Whether `path` lies in a bucket."""
    return path.parts[:1] == ("s3:",)


def shown(path: Path) -> str:
    """`path` as a person writes it."""
    return "s3://" + "/".join(path.parts[1:]) if is_remote(path) else str(path)
