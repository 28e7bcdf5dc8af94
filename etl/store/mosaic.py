"""Mosaic of a tile: the patches of one acquisition as one georeferenced image."""

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed

try:
    import rioxarray  # noqa: F401  # gives data arrays their `.rio`
except ModuleNotFoundError as error:
    error.add_note('etl.to_tile_mosaic needs rioxarray: pip install "sentinel-etl[gis]"')
    raise

from etl.bands import NODATA, PATCH_M

__all__ = ["to_tile_mosaic"]


def to_tile_mosaic(ds: xr.Dataset, tile: str, data: str = "data_10m", acquisition: str = "") -> xr.DataArray:
    """The patches of a tile as one image, shape (band, y, x), from a pixel array of `etl.open_store`.

    Pixels are uint16 and keep their scale, so `etl.to_reflectance` converts the image as it does patches. Patches that
    are reflectance already give an image of reflectance, float32. The image is the smallest rectangle that holds all
    patches; pixels without a patch are 0 (nodata), or NaN in an image of reflectance. Coordinates are pixel centres in
    metres, in the tile's projection `.rio.crs`. Pixels are read when they are used, one row of patches at a time.
    `.rio.to_raster("tile.tif")` writes a GeoTIFF. If the tile has several acquisitions, `acquisition` names one: by the
    beginning of its date and time ("2017-06-13"), or by its product.

    Raises:
        ValueError: no patch belongs to the tile or acquisition, or patches of several acquisitions do.
    """
    if data not in ds:
        raise ValueError(f"data must be one of {', '.join(map(str, ds.data_vars))}, got {data}")
    rows = _rows(ds, tile, acquisition)
    pixels, band = ds[data].isel(patch=rows), data.replace("data", "band")
    if band not in pixels.dims:  # a single band was selected
        pixels = pixels.expand_dims(band, -1)
    side = pixels.sizes[pixels.dims[1]]
    ulx, uly = pixels["ulx"].values, pixels["uly"].values
    cells = np.stack([uly.max() - uly, ulx - ulx.min()], 1) / PATCH_M
    if (cells % 1).any():
        raise ValueError(f"patches of {tile} must lie on one grid of {PATCH_M} m, got corners between its lines")
    packed = pixels.dtype.kind == "u" or "scale_factor" in pixels.attrs
    empty = NODATA if packed else np.nan
    picture = _stripes(pixels, cells.astype(np.intp), side, empty)
    pixel_m = PATCH_M / side
    out = xr.DataArray(
        picture,
        dims=("band", "y", "x"),
        coords={
            "band": pixels[band].values,
            **_wavelengths(pixels, data.replace("data", "wavelength")),
            "y": uly.max() - pixel_m * (np.arange(picture.shape[1]) + 0.5),
            "x": ulx.min() + pixel_m * (np.arange(picture.shape[2]) + 0.5),
        },
        name=data,
        attrs=_attributes(pixels, tile),
    )
    epsg = int(pixels["epsg"].values[0])
    georeferenced: xr.DataArray = out.rio.write_crs(epsg).rio.write_transform()
    georeferenced = georeferenced.rio.write_nodata(empty, encoded=not packed)
    return georeferenced.assign_attrs(long_name=tuple(map(str, out["band"].values)))


def _wavelengths(pixels: xr.DataArray, name: str) -> dict[str, Any]:
    """The coordinate of wavelengths in nm; none for bands of Sentinel-1."""
    if name not in pixels.coords:
        return {}
    return {"wavelength": ("band", np.atleast_1d(pixels[name].values), {"units": "nm"})}


def _attributes(pixels: xr.DataArray, tile: str) -> dict[str, Any]:
    acquired = str(pixels["acquired"].values[0].astype("datetime64[s]"))
    return {**pixels.attrs, "tile": tile, "product": str(pixels["product"].values[0]), "acquired": acquired}


def _rows(ds: xr.Dataset, tile: str, acquisition: str) -> npt.NDArray[np.intp]:
    """Rows of one acquisition of a tile."""
    rows = np.flatnonzero(ds["tile"].values == tile)
    if not len(rows):
        known = ", ".join(sorted(set(ds["tile"].values))[:8])
        raise ValueError(f"tile must be one of the store's ({known}), got {tile}")
    product = ds["product"].values[rows]
    acquired = np.datetime_as_string(ds["acquired"].values[rows], unit="s")
    chosen = np.char.startswith(acquired, acquisition) | (product == acquisition)
    matching = sorted({f"{when} {name}" for when, name in zip(acquired[chosen], product[chosen], strict=True)})
    if len(matching) != 1:
        choices = matching or sorted({f"{when} {name}" for when, name in zip(acquired, product, strict=True)})
        listed = "; ".join(choices[:8])
        raise ValueError(
            f"acquisition must name one of tile {tile} by the beginning of its time or by its product, got "
            f"{acquisition!r}; there are: {listed}"
        )
    return np.asarray(rows[chosen])


def _stripes(pixels: xr.DataArray, cells: npt.NDArray[np.intp], side: int, empty: float) -> Any:
    """A lazy array, shape (band, y, x): one task for each row of cells, which reads the patches in it.

    It has the dtype of `pixels`, and `empty` where there is no patch.
    """
    height, width = (cells.max(0) + 1).tolist()
    shape, stripes = (pixels.shape[-1], side, width * side), []
    for cell_row in range(height):
        patches = np.flatnonzero(cells[:, 0] == cell_row)
        if len(patches):
            stripe = delayed(_assemble)(pixels.isel(patch=patches).data, cells[patches, 1], width, empty)
            stripes.append(da.from_delayed(stripe, shape, pixels.dtype))
        else:
            # no task: an empty row of cells costs nothing
            stripes.append(da.full(shape, empty, pixels.dtype, chunks=shape))
    return da.concatenate(stripes, axis=1)


def _assemble(pixels: npt.NDArray[Any], columns: npt.NDArray[np.intp], width: int, empty: float) -> npt.NDArray[Any]:
    """One row of `width` cells, shape (band, y, x), from patches of shape (patch, row, col, band) in these columns."""
    side, bands = pixels.shape[1], pixels.shape[-1]
    out = np.full((bands, side, width, side), empty, pixels.dtype)
    out[:, :, columns] = pixels.transpose(3, 1, 0, 2)
    return out.reshape(bands, side, width * side)
