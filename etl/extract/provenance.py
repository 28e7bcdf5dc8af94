"""Provenance: software versions, settings and networks, for the store's attributes and the run's record."""

import json
import sys
from typing import TYPE_CHECKING, Any

from etl.catalogue.published import archive_of
from etl.extract.settings import ExtractSettings
from etl.schema import Schema
from etl.settings import settings_record
from etl.software import software_versions
from etl.upsample.method import UpsampleMethod

if TYPE_CHECKING:
    from etl.catalogue.table import Catalogue

__all__ = ["extraction_software", "store_attributes"]


def store_attributes(
    settings: ExtractSettings, schema: Schema, method: UpsampleMethod, catalogue: "Catalogue"
) -> dict[str, Any]:
    """Root attributes of a store of `catalogue`; `upsample_weights` is JSON, one entry a network, or none.

    `archive` names the published archive that the patches are of, `labels` is "single" if a patch has one class.
    """
    networks = [network.to_record() for network in method.networks]
    offset = {} if settings.assume_offset is None else {"assume_offset": settings.assume_offset}
    precision = {"upsample_precision": method.precision} if networks else {}
    return {
        "Conventions": "CF-1.11",
        "title": _title(schema),
        "schema_version": schema.version,
        "upsample": method.name,
        "upsample_weights": json.dumps(networks) if networks else "none",
        **precision,
        **offset,
        **({"archive": archive} if (archive := archive_of(catalogue.patch)) else {}),
        **({"labels": "single"} if catalogue.single_label else {}),
        "nomenclature": schema.nomenclature,
        "software": json.dumps(extraction_software()),
        "settings": json.dumps(settings_record(settings)),
    }


def _title(schema: Schema) -> str:
    if schema.images is not None:
        return "Image patches"
    return "Sentinel-2 Level-2A patches" + (" with Sentinel-1" if schema.sentinel1_bytes else "")


def extraction_software() -> dict[str, str | None]:
    """Versions of the packages that decide content and speed, by name; TensorFlow's only if it is in use."""
    names, tensorflow = ["sentinel-etl", "numpy", "h5py", "mpi4py", "gdal"], sys.modules.get("tensorflow")
    versions = software_versions([*names, "keras"] if tensorflow else names, "not installed as a package")
    # its package may be called tensorflow-cpu
    return versions | ({"tensorflow": tensorflow.__version__} if tensorflow else {})
