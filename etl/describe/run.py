"""One description, from settings to a folder that appears when it is complete."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from etl.describe.croissant import write_croissant
from etl.describe.geoparquet import write_footprints
from etl.describe.settings import DescribeSettings
from etl.describe.stac import write_collection
from etl.describe.summary import Summary, summary_of
from etl.files import remove_path, replace_atomically
from etl.plural import counted
from etl.schema import Schema
from etl.store.reader import StoreReader
from etl.templates import render_page

__all__ = ["describe"]


def describe(settings: DescribeSettings) -> None:
    """Describe a store, and print where.

    Raises:
        ValueError: the store cannot be described.
        OSError: the folder cannot be written.
    """
    with StoreReader(settings.store) as store:
        summary, schema = summary_of(store), store.schema
    address = settings.address or _address(settings)
    title = settings.title or settings.store.key.stem
    about = settings.about or (
        f"{len(summary.rows):,} Sentinel-2 patches of 1200 m x 1200 m from {counted(len(summary.tiles), 'tile')}, "
        f"Level-2A surface reflectance, {len(schema.class_names)} land cover classes"
    )
    settings = replace(settings, title=title, about=about)
    with replace_atomically(settings.out, sync=False, concurrent=True) as folder:
        folder.mkdir(parents=True)
        write_footprints(folder / "patches.parquet", summary)
        write_collection(folder, summary, schema, settings, address)
        write_croissant(folder / "croissant.json", folder / "patches.parquet", summary, settings, address)
        (folder / "README.md").write_text(_card(summary, schema, settings, address), encoding="utf-8")
        if settings.out.exists():
            _require_description(settings.out)
            remove_path(settings.out)
    print(
        f"{settings.store}: {counted(len(summary.rows), 'patch')} of {counted(len(summary.tiles), 'tile')} described "
        f"-> {settings.out}/README.md, collection.json, patches.parquet, croissant.json"
    )


def _require_description(out: Path) -> None:
    """Raise a ValueError if a folder holds something else than a description, which must not be removed."""
    if not ((out.is_dir() and (out / "collection.json").is_file()) or not any(out.iterdir())):
        raise ValueError(f"--out {out} must be a description that is to be replaced, or a new folder")


def _address(settings: DescribeSettings) -> str:
    """The store as files in --out name it."""
    if settings.store.is_remote:
        return str(settings.store)
    return os.path.relpath(settings.store.path, settings.out)


def _card(summary: Summary, schema: Schema, settings: DescribeSettings, address: str) -> str:
    west, south, east, north = summary.bounds
    first, last = summary.period
    run = summary.settings
    lacking = sum(share > 0 for share in summary.columns.get("nodata_share", ()))
    return render_page(
        "etl.describe",
        "card.md.j2",
        settings=settings,
        settings_of_run=run,
        summary=summary,
        address=address,
        rows=len(summary.rows),
        tiles=_listed([tile.name for tile in summary.tiles]),
        first=f"{first:%Y-%m-%d}",
        last=f"{last:%Y-%m-%d}",
        bounds=f"{west:.3f}, {south:.3f}, {east:.3f}, {north:.3f}",
        splits=", ".join(f"{name} {count:,}" for name, count in summary.split_counts.items()),
        bytes=f"{schema.row_bytes * schema.rows / 2**30:,.2f} GiB uncompressed",
        baselines=", ".join(f"{name or 'unknown'} {count:,}" for name, count in summary.baselines.items()),
        arrays=list(zip(schema.pixels, [group.bands for group in schema.groups], strict=True)),
        limits=[text.format(_KEPT.get(run[name], run[name])) for name, text in _LIMITS.items() if name in run],
        missing=f"{lacking:,}",
    )


_LIMITS = {
    "keep_snow": "Patches that are listed as covered by seasonal snow are {}",
    "keep_cloud": "Patches that are listed as covered by cloud or cloud shadow are {}",
    "max_cloud_share": "Largest share of cloud and cloud shadow in a patch: {}",
    "max_snow_share": "Largest share of snow in a patch: {}",
    "max_nodata_share": "Largest share of pixels without data in a patch: {}",
}
"""Settings of the extraction that decide which patches are kept, in words."""

_KEPT = {"True": "kept", "False": "left out"}

_MOST_LISTED = 20


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence, not more than some."""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
