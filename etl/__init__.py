"""Sentinel-2 tiles, or an archive of patches cut from them, to one analysis-ready store.

catalogue -> plan -> source -> upsample -> store == stream -> model -> fit -> report

This package is what stands left of `==`. Every command is a module: `python -m etl.doctor`, `etl.sample`,
`etl.catalogue`, `etl.extract`, `etl.superres`, `etl.verify`, `etl.preview`, `etl.stats`, `etl.convert`,
`etl.submit`. To look at a store from Python: `etl.open_store`, `etl.to_tile_mosaic`, `etl.to_reflectance`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etl.store.mosaic import to_tile_mosaic
    from etl.store.xarray_backend import open_store, to_reflectance

__all__ = ["open_store", "to_reflectance", "to_tile_mosaic"]


def __getattr__(name: str) -> Any:
    """What is asked for by name, imported only then: a command or a trainer's rank must not load xarray."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "etl.store.mosaic" if name == "to_tile_mosaic" else "etl.store.xarray_backend"
    return getattr(importlib.import_module(module), name)
