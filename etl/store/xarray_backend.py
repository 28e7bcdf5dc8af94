"""A store, HDF5 or Zarr, as an `xarray.Dataset` of lazy arrays, with codes decoded to names and dates."""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendEntrypoint

from etl.bands import BAND_BY_NAME, NODATA, SATURATED
from etl.files import NO_LOCKS
from etl.pixel_groups import only_array
from etl.schema import COMPLETE, FLAGS, WRITTEN
from etl.store.location import MANIFEST_SUFFIX, Location, format_of
from etl.store.reader import StoreReader

__all__ = ["StoreEngine", "open_store", "to_reflectance"]

log = logging.getLogger(__name__)

_FILL_ATTRIBUTES = ("_FillValue", "missing_value", "fill_value", "nodata", "saturated")
_PACKING = {"scale_factor", "add_offset", "valid_min", "valid_max", "valid_range", "_Unsigned", *_FILL_ATTRIBUTES}
"""Attributes of numbers as stored, which reflectance must not carry.

Source: CF conventions 1.11, "Packed Data", "Missing Data"; rioxarray, `fill_value` and `nodata`.
"""

_READ_BYTES = 16 << 20
"""Approximate bytes of a Dask chunk of the largest array; rounded down to whole chunks of the store."""


def open_store(path: str | os.PathLike[str] | Location, *, all_rows: bool = False) -> xr.Dataset:
    """The store at `path` (`.h5`, `.hdf5`, `.zarr`, or a manifest `.json`) as a dataset of lazy Dask arrays.

    A Zarr store may be in a bucket, `s3://BUCKET/NAME.zarr`, with the same credentials as for etl.extract.

    Pixels stay as in the store: of Sentinel-2 uint16, reflectance x 10,000, which `to_reflectance` converts to float32;
    of image files uint8 or uint16, in `data_images`; of Sentinel-1 float32, in dB, NaN where there is none. `classes`
    and all arrays with one value per patch are read at once. The latter are coordinates: `patch` (the index), `tile`,
    `product`, `baseline`, `acquired` (datetime64), `epsg`, `ulx`, `uly` (metres), `split` and `state` (names),
    `cloud_share`, `snow_share`, `checksum`, and `row`, the row in the store. Bands are selected by name; centre
    wavelengths in nm of Sentinel-2's are coordinates, too. Only written rows (state 1) are in the dataset, unless
    `all_rows` is true.

    Raises:
        FileNotFoundError: there is no such file, folder or object.
        ValueError: it is not a store.
    """
    return _dataset(Location.parse(path), all_rows, chunked=True)


def _dataset(location: Location, all_rows: bool, chunked: bool) -> xr.Dataset:
    """The store at `location`, decoded; pixels as Dask arrays if `chunked`, else for the caller to chunk."""
    raw = _open(location)
    only = only_array(tuple(map(str, raw)))
    pixels = (only,) if only else ("data_10m", "data_20m", "data_60m")
    missing = [name for name in (*pixels, "classes", "patch", "state") if name not in raw]
    if missing:
        raw.close()
        raise ValueError(f"{location} must be a store of etl.extract; it has no {', '.join(missing)}")
    out = _decode(raw, chunked)
    written = np.flatnonzero(raw["state"].values == WRITTEN)
    if out.attrs["complete"] != 1:
        log.warning("%s is incomplete; python -m etl.extract --resume completes it", location)
    elif not len(written):
        log.warning("%s has no written row", location)
    if not all_rows and len(written) < out.sizes["patch"]:
        out = out.isel(patch=written)
    out.set_close(raw.close)
    return out


@overload
def to_reflectance(pixels: xr.DataArray) -> xr.DataArray: ...
@overload
def to_reflectance(pixels: xr.Dataset) -> xr.Dataset: ...
def to_reflectance(pixels: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    """Surface reflectance, float32, from pixels as stored, uint16; NaN for nodata and saturated pixels.

    `pixels` come from `open_store`, `to_tile_mosaic`, or from a file to which either was saved, opened with
    `mask_and_scale=False`. Of a dataset all pixel arrays are converted, other arrays stay as they are. The result has
    the unit 1 and no attribute of packed values, such as scale_factor: saved and opened again, it is not scaled twice.

    Raises:
        ValueError: the pixels have no attribute `scale_factor`, perhaps because they are reflectance already.
    """
    if isinstance(pixels, xr.Dataset):
        packed = [name for name, array in pixels.data_vars.items() if "scale_factor" in array.attrs]
        if not packed:
            raise ValueError(f"one of {', '.join(map(str, pixels.data_vars))} must {_no_scale(pixels)}")
        return pixels.assign({name: to_reflectance(pixels[name]) for name in packed})
    if "scale_factor" not in pixels.attrs:
        raise ValueError(f"{pixels.name or 'pixels'} must {_no_scale(pixels)}")
    scale, offset = (np.float32(pixels.attrs.get(name, 0)) for name in ("scale_factor", "add_offset"))
    valid = (pixels != NODATA) & (pixels != SATURATED)
    out = (pixels.astype(np.float32) * scale + offset).where(valid)
    # set here, since it depends on xarray's version and options which attributes arithmetic keeps
    out.attrs = {key: value for key, value in pixels.attrs.items() if key not in _PACKING} | {"units": "1"}
    kept = {key: value for key, value in pixels.encoding.items() if key == "grid_mapping"}
    out.encoding = {"_FillValue": np.float32(np.nan), **kept}
    return out


def _no_scale(pixels: xr.DataArray | xr.Dataset) -> str:
    """What pixels without a scale lack, and what to do."""
    dtypes = [array.dtype for array in ([pixels] if isinstance(pixels, xr.DataArray) else pixels.data_vars.values())]
    got = f"have the attribute scale_factor, got {', '.join(sorted(set(map(str, dtypes))))} without it"
    if any(dtype.kind == "f" for dtype in dtypes):
        return f"{got}; if it is reflectance already, use it as it is, or open the file with mask_and_scale=False"
    return f"{got}; take pixels from etl.open_store, or copy the attribute from there"


def _open(location: Location) -> xr.Dataset:
    """The store's arrays as they are stored, nothing decoded."""
    is_manifest = location.suffix == MANIFEST_SUFFIX and not location.is_remote
    kind = "HDF5" if is_manifest else format_of(location)
    if not location.is_remote and not location.path.exists():
        raise FileNotFoundError(f"store must be there, got {location}; python -m etl.extract makes one")
    try:
        if is_manifest:
            from etl.store.manifest import find_hdf5_store

            location = Location.parse(find_hdf5_store(location.path))
        with StoreReader(location) as store:  # refuses what leads out of the store, and what does not fit together
            dims = _missing_dimensions(store)
        if kind == "HDF5":
            return _with_dimensions(_open_hdf5(location), dims)
        from etl.store.zarr.lazy import undecoded_dataset

        return undecoded_dataset(location)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, IndexError, RuntimeError) as error:
        # the last four come from h5netcdf, of files whose members do not fit together
        raise ValueError(f"{location} must be a store, HDF5 or Zarr, but cannot be opened: {error}") from None


def _open_hdf5(location: Location) -> xr.Dataset:
    """The arrays of an HDF5 store, dimensions without a scale under names of their own."""
    import hdf5plugin  # noqa: F401  # registers Blosc and Zstandard with HDF5

    options: dict[str, Any] = {"engine": "h5netcdf", "decode_cf": False, "chunks": None, "phony_dims": "access"}
    try:
        return xr.open_dataset(location.path, **options)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return xr.open_dataset(location.path, driver_kwds={"locking": False}, **options)


def _missing_dimensions(store: StoreReader) -> dict[str, tuple[str, ...]]:
    """Dimensions by array of a store of another program, which need not name them; empty for others."""
    if only_array(store.names) is None or not store.schema.absent:
        return {}
    schema = store.schema
    coordinates = (item for item, _ in schema.coordinates)
    items = (*schema.identity, *schema.results, *schema.pixels, *coordinates, COMPLETE)
    return {item.name: item.dims for item in items if item.name in store}


def _with_dimensions(raw: xr.Dataset, dims: Mapping[str, tuple[str, ...]]) -> xr.Dataset:
    """`raw` with these dimensions of arrays, and without other arrays; as it is if there are none."""
    if not dims:
        return raw
    variables = {}
    for name, own in dims.items():
        variables[name] = raw[name].variable.copy(deep=False)
        variables[name].dims = own
    out = xr.Dataset(variables, attrs=raw.attrs)
    out.set_close(raw.close)
    return out


def _chunk_rows(raw: xr.Dataset) -> int:
    """Rows of a Dask chunk of about `_READ_BYTES`: a whole number of the store's chunks."""
    largest = max((raw[name] for name in raw if str(name).startswith("data_")), key=lambda array: array.nbytes)
    row_bytes = max(largest.nbytes // max(len(largest), 1), 1)
    stored = largest.encoding.get("chunksizes") or largest.encoding.get("chunks") or (1,)
    step = min(int(stored[0]), max(len(largest), 1))
    return max(1, _READ_BYTES // row_bytes // step) * step


def _decode(raw: xr.Dataset, chunked: bool) -> xr.Dataset:
    columns = [str(name) for name in raw.variables if raw[name].dims == ("patch",)]
    coords: dict[str, Any] = {name: _decode_column(name, raw[name]) for name in columns}
    coords["row"] = ("patch", np.arange(raw.sizes["patch"]), {"long_name": "row in the store"})
    for dim in [str(name) for name in raw.dims if name != "patch" and name in raw]:
        coords[dim] = (dim, _decode_text(raw[dim].values), _cf_attributes(raw[dim].attrs))
    arrays = {str(name): raw[name].assign_attrs(_cf_attributes(raw[name].attrs)) for name in raw if raw[name].ndim > 1}
    chunks = {"patch": _chunk_rows(raw)}
    for name, array in arrays.items():
        array.encoding = {}  # chunks and compression of the store are not those of a file that these are saved to
        if array.ndim == 4:
            array.encoding["preferred_chunks"] = chunks
            arrays[name] = array.chunk(chunks) if chunked else array
        if "nodata" in array.attrs:
            arrays[name].attrs["_FillValue"] = array.attrs["nodata"]  # as other programs name it
    out = xr.Dataset({name: array.drop_vars(array.coords) for name, array in arrays.items()}, coords)
    out.attrs = {**_cf_attributes(raw.attrs), "complete": int(raw["complete"].values) if "complete" in raw else 0}
    return _add_band_metadata(out)


def _add_band_metadata(out: xr.Dataset) -> xr.Dataset:
    """Add centre wavelengths in nm, ground sample distances in m, and the projection if all patches share one."""
    # those of image files can be of any sensor and size, those of Sentinel-1 have no wavelength in nm
    for name in [str(name) for name in out.dims if str(name).startswith("band_")]:
        if not set(map(str, out[name].values)) <= BAND_BY_NAME.keys():
            continue
        bands = [BAND_BY_NAME[str(band)] for band in out[name].values]
        centres = np.array([band.centre_nm for band in bands], np.float32)
        attributes = {"units": "nm", "standard_name": "radiation_wavelength"}
        out = out.assign_coords({name.replace("band", "wavelength"): (name, centres, attributes)})
        for array in [array for array in out.data_vars if name in out[array].dims]:
            out[array].attrs["gsd_m"] = 10 if name == "band_super" else bands[0].gsd_m
    codes = np.unique(out["epsg"].values) if "epsg" in out else np.empty(0, np.int32)
    if len(codes) == 1 and codes[0]:
        out.attrs["proj:code"] = f"EPSG:{codes[0]}"
    return out


def _decode_column(name: str, array: xr.DataArray) -> tuple[str, npt.NDArray[Any], dict[str, Any]]:
    values, attributes = _decode_text(array.values), _cf_attributes(array.attrs)
    if name in FLAGS:
        meanings = np.array(FLAGS[name], object)
        values = meanings[np.minimum(values, len(meanings) - 1)]
        attributes = {key: value for key, value in attributes.items() if not key.startswith("flag_")}
    if name == "acquired":
        values = values.astype("datetime64[s]").astype("datetime64[ns]")
        attributes = {key: value for key, value in attributes.items() if key not in ("units", "calendar")}
    return "patch", values, attributes


def _decode_text(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Text, however it is stored, as Python strings, equal ones as one object; numbers unchanged."""
    if values.dtype.kind not in "SUOT":
        return values
    distinct, index = np.unique(values.astype("S") if values.dtype.kind == "S" else values, return_inverse=True)
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in distinct.tolist()]
    return np.array(words, object)[index]


def _cf_attributes(attributes: dict[Any, Any]) -> dict[str, Any]:
    """Attributes without those that describe how the bytes are stored."""
    return {str(key): value for key, value in attributes.items() if key not in ("_Encoding", "_FillValue")}


class StoreEngine(BackendEntrypoint):
    """`xarray.open_dataset(path, engine="sentinel-etl")`: as `open_store`, but Dask arrays only with `chunks=`.

    Source: xarray, "How to add a new backend".
    """

    description = "Open stores of Sentinel-2 patches that sentinel-etl wrote (.h5, .hdf5, .zarr, .json, s3://)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "all_rows")

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, all_rows: bool = False
    ) -> xr.Dataset:
        """The store as `open_store` opens it, pixels uint16, with the same errors; all rows only with `all_rows`."""
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or ()
        return _dataset(Location.parse(filename_or_obj), all_rows, chunked=False).drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether the suffix is that of a store or manifest; xarray asks its own engines first."""
        try:
            location = Location.parse(filename_or_obj)
            return location.suffix == MANIFEST_SUFFIX or bool(format_of(location))
        except (TypeError, ValueError):  # an open file, another suffix
            return False
