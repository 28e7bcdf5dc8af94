"""Metadata of a Level-2A product in EOPF's Zarr format, as extraction needs them.

Pixel values become reflectances by the attributes `scale_factor` and `add_offset` of each band's own array. These are
the same numbers as SAFE's quantification value and `BOA_ADD_OFFSET`: 0.0001 and -0.1 are 10,000 and -1000.
"""

from etl.bands import BANDS
from etl.eopf import ArrayDocument, array_name, baseline_of, grid_of, read_array
from etl.input_files import Links, shortened
from etl.metadata_numbers import number_in
from etl.product_files import ProductError, ProductFiles
from etl.source.product import Product, check_offset, checked_quantification, unlisted_offset
from etl.source.warning import SourceWarning

__all__ = ["read_eopf"]

_SCALES = (1e-9, 1.0)
"""Least and most reflectance of one count."""

_REFLECTANCES = (-10.0, 10.0)
"""Least and most offset, in reflectance."""

_ROUNDING = 1e-6
"""Most by which an offset may differ from whole counts: it is stored as a decimal fraction."""


def read_eopf(files: ProductFiles, name: str, assume_offset: int | None, links: Links) -> Product:
    """Read the metadata of the product `name`; arguments otherwise as of `etl.source.open_product.read_product`.

    Raises:
        ProductError: they are missing, malformed, or lack what extraction needs.
    """
    baseline, grid = baseline_of(files), grid_of(files)
    documents = {band.name: read_array(files, array_name(band.name)) for band in BANDS}
    missing = [band for band, document in documents.items() if document is None]
    if missing:
        raise ProductError(
            f"{files.path} must hold all twelve bands; {', '.join(missing)} missing below measurements/reflectance"
            f"{files.hint}"
        )
    known = {band: document for band, document in documents.items() if document is not None}
    scales = {band: _scale(files, document) for band, document in known.items()}
    if len(set(scales.values())) > 1:
        band, other = min(scales, key=scales.__getitem__), max(scales, key=scales.__getitem__)
        raise ProductError(
            f"{files.path} must give one scale_factor for all bands, got {scales[band]:.10g} for {band} and "
            f"{scales[other]:.10g} for {other}"
        )
    scale = scales[BANDS[0].name]
    quantification = checked_quantification(_nearest_whole(1 / scale), f"{files.path}: scale_factor")
    given = {band: _offset(files, document, scale) for band, document in known.items()}
    unlisted = [band for band, offset in given.items() if offset is None]
    warnings = tuple[SourceWarning, ...]()
    offsets = {band: offset for band, offset in given.items() if offset is not None}
    if unlisted:
        if offsets:
            raise ProductError(f"{files.path} gives add_offset for some bands but not for {', '.join(unlisted)}")
        offset, warnings = unlisted_offset(baseline, f"{files.path}: add_offset", assume_offset)
        offsets = dict.fromkeys(given, offset)
    paths = {band: files.gdal_path(document.name) for band, document in known.items()}
    if read_array(files, array_name("SCL")) is not None:
        paths["SCL"] = files.gdal_path(array_name("SCL"))
    return Product(str(files.path), name, baseline, grid, paths, offsets, quantification, warnings, links, is_zarr=True)


def _scale(files: ProductFiles, document: ArrayDocument) -> float:
    """Reflectance of one count."""
    where, value = f"{files.path}: {document.name}", document.attributes.get("scale_factor")
    if value is None:
        raise ProductError(f"{where} must give scale_factor, which is missing")
    return number_in(float, str(value), f"{where}, scale_factor", _SCALES)


def _offset(files: ProductFiles, document: ArrayDocument, scale: float) -> int | None:
    """What is added to the counts of a band; None if its attributes do not say."""
    where, value = f"{files.path}: {document.name}, add_offset", document.attributes.get("add_offset")
    if value is None:
        return None
    counts = number_in(float, str(value), where, _REFLECTANCES) / scale
    if abs(counts - round(counts)) > _ROUNDING * max(1, abs(counts)):
        raise ProductError(
            f"{where} must be whole counts of {scale:.10g}, got {shortened(str(value), 40)}, that is {counts:.10g}"
        )
    check_offset(round(counts), str(files.path), "add_offset", document.name)
    return round(counts)


def _nearest_whole(value: float) -> float:
    """The value, or the whole number from which it differs by rounding alone: 1 / 0.0001 is not quite 10,000."""
    whole = float(round(value))
    return whole if abs(value - whole) <= _ROUNDING * whole else value
