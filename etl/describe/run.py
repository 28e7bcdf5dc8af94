"""One description, from settings to a folder that appears when it is complete."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from etl.describe.croissant import write_croissant
from etl.describe.geoparquet import write_footprints
from etl.describe.settings import DescribeSettings
from etl.describe.stac import write_collection
from etl.describe.summary import Summary, summary_of
from etl.files import remove_path, replace_atomically, temporary_path
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
    out = Path(os.path.realpath(settings.out))
    _require_replaceable(out, settings)
    with StoreReader(settings.store) as store:
        summary, schema = summary_of(store), store.schema
    address = settings.address or _address(settings, out)
    about = settings.about or _about(summary, schema)
    settings = replace(settings, title=settings.title or settings.store.key.stem, about=about)
    old = temporary_path(out, concurrent=True).with_suffix(".old")  # no folder of the user's has this name
    with replace_atomically(out, sync=False, concurrent=True) as folder:
        folder.mkdir(parents=True)
        write_footprints(folder / "patches.parquet", summary)
        if summary.rings is not None:
            write_collection(folder, summary, schema, settings, address)
        write_croissant(folder / "croissant.json", folder / "patches.parquet", summary, settings, address)
        (folder / "README.md").write_text(_card(summary, schema, settings, address), encoding="utf-8")
        if out.exists():
            remove_path(old)
            out.replace(old)
    remove_path(old)
    files = ["README.md", *(["collection.json"] if summary.rings is not None else []), "patches.parquet"]
    tiles = f" of {counted(len(summary.tiles), 'tile')}" if summary.rings is not None else ""
    print(
        f"{settings.store}: {counted(len(summary.rows), 'patch')}{tiles} described "
        f"-> {settings.out}/{', '.join([*files, 'croissant.json'])}"
    )


def _about(summary: Summary, schema: Schema) -> str:
    """One line on what the store holds."""
    number = len(summary.class_counts)
    if schema.images is not None:
        rows, columns = schema.images.size_px
        classes = f", {counted(number, 'class')}" if number else ""
        return f"{counted(len(summary.rows), 'patch')} of {rows} x {columns} px{classes}"
    classes = f", {number} land cover classes" if number else ""
    return (
        f"{len(summary.rows):,} Sentinel-2 patches of 1200 m x 1200 m from {counted(len(summary.tiles), 'tile')}, "
        f"Level-2A surface reflectance{classes}"
    )


_OWN = re.compile(
    r"README\.md|collection\.json|patches\.parquet|croissant\.json|T\d{2}[A-Z]{3}(/T\d{2}[A-Z]{3}\.json)?"
)
"""What a description consists of."""


def _require_replaceable(out: Path, settings: DescribeSettings) -> None:
    """Raise a ValueError if a folder to be replaced holds something else than a description, as the store itself."""
    if not settings.store.is_remote and Path(os.path.realpath(settings.store.path)).is_relative_to(out):
        raise ValueError(f"--out must be a folder of its own, got {settings.out}, which holds the store")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder, got the file {settings.out}")
    others = [path for path in out.rglob("*") if not _OWN.fullmatch(str(path.relative_to(out)))]
    if others:
        raise ValueError(f"--out must be a new folder, or a description to replace, but {others[0]} is no part of one")


def _address(settings: DescribeSettings, out: Path) -> str:
    """The store as files in `out` name it."""
    if settings.store.is_remote:
        return str(settings.store)
    return os.path.relpath(os.path.realpath(settings.store.path), out)


def _card(summary: Summary, schema: Schema, settings: DescribeSettings, address: str) -> str:
    bounds, period, run = summary.bounds, summary.period, summary.settings
    shares = summary.columns.get("nodata_share")
    years = sorted({time.year for time in period or ()})
    return render_page(
        "etl.describe",
        "card.md.j2",
        settings=settings,
        settings_of_run=run,
        summary=summary,
        address=address,
        rows=len(summary.rows),
        tiles=_listed([tile.name for tile in summary.tiles]),
        period=period and [f"{time:%Y-%m-%d}" for time in period],
        bounds=bounds and ", ".join(f"{side:.3f}" for side in bounds),
        images=schema.images,
        dtype=np.dtype(schema.pixels[0].dtype).name,
        single_label=summary.attributes.get("labels") == "single",
        splits=", ".join(f"{name} {count:,}" for name, count in summary.split_counts.items()),
        bytes=f"{schema.row_bytes * schema.rows / 2**30:,.2f} GiB uncompressed",
        baselines=", ".join(f"{name or 'unknown'} {count:,}" for name, count in summary.baselines.items()),
        arrays=list(zip(schema.pixels, [group.bands for group in schema.groups], strict=True)),
        limits=[text.format(_KEPT.get(run[name], run[name])) for name, text in _LIMITS.items() if _limits(run, name)],
        missing=None if shares is None else sum(share > 0 for share in shares),
        opened=settings.store.name if settings.address and not settings.store.is_remote else address,
        years="-".join(map(str, years)),
    )


_LIMITS = {
    "keep_snow": "Patches that are listed as covered by seasonal snow are {}",
    "keep_cloud": "Patches that are listed as covered by cloud or cloud shadow are {}",
    "max_cloud_share": "Patches with a larger share of cloud and cloud shadow than {} are rejected",
    "max_snow_share": "Patches with a larger share of snow than {} are rejected",
    "max_nodata_share": "Patches with a larger share of pixels without data than {} are rejected",
}
"""Settings of the extraction that decide which patches are kept, in words."""

_KEPT = {"True": "kept", "False": "left out"}


def _limits(run: Mapping[str, str], name: str) -> bool:
    """Whether a setting of a run can have left patches out."""
    return name in run and run[name] != "1.0"


_MOST_LISTED = 20


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence, not more than some."""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
