"""What the command does on rank 0: look at the source, read it, join the lists, write the catalogue, sum it up."""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from etl.catalogue.cells import list_cells
from etl.catalogue.lists import find_lists, join, list_patches, read_lists
from etl.catalogue.origin import KINDS, Origin, find_origin, find_v2_tables
from etl.catalogue.place import Rejections
from etl.catalogue.problems import find_problems, multi_hot
from etl.catalogue.table import in_store_order, load, nomenclature_of, write
from etl.catalogue.v2 import describe, list_v2, read_metadata, read_v2
from etl.files import replace_atomically
from etl.schema import SPLITS
from etl.settings import setting

__all__ = ["CatalogueSettings", "finish", "look", "read_alone"]

_log = logging.getLogger(__name__)

_LISTS = Path("data/lists")
"""Where lists are looked for when the settings name no folder."""


@dataclass(frozen=True, slots=True)
class CatalogueSettings:
    """Make one table of patches, patches.parquet, out of patch lists in any of their published forms.

    The source can be a folder of BigEarthNet v1 patches (all MPI ranks read their JSON), metadata.parquet of
    BigEarthNet v2 or the folder with it, a folder with patch_to_l1c_product.csv, a catalogue, or Sentinel-2 products
    (.SAFE folders or .zip files) without a list: of those every 1200 m cell is listed, unlabelled. What cannot be
    listed stands with the reason in a .rejected.csv beside the output.
    """

    source: Path = setting(Path("data/labels"), "what to list: a folder, a Parquet file or a product")
    lists: Path | None = setting(
        None,
        "folder of lists to join: patches_with_seasonal_snow.csv, patches_with_cloud_and_shadow.csv, train.csv, "
        "val.csv, test.csv, patch_to_l1c_product.csv; if no folder is given, those in the source or, without such, "
        f"in {_LISTS}",
    )
    out: Path = setting(Path("data/patches.parquet"), "catalogue to write")
    strict: bool = setting(False, "end with status 4 if anything was rejected")
    dry_run: bool = setting(False, "count, but write nothing")

    def __post_init__(self) -> None:
        if self.out.is_dir():
            raise ValueError(f"out must be a file, such as patches.parquet, got the folder {self.out}")


def look(settings: CatalogueSettings) -> Origin:
    """What the source is; says so.

    Raises:
        ValueError: it is none of what a source can be.
    """
    origin = find_origin(settings.source)
    _log.info("%s is %s", origin.path, KINDS[origin.kind])
    for other in origin.others:
        _log.warning("%s also holds %s; that is not used", origin.path, other)
    return origin


def read_alone(origin: Origin) -> tuple[pa.Table, Rejections]:
    """Rows of a source that one rank reads, that is any but patches of version 1; and what could not be listed.

    Raises:
        ValueError: a table or list is not what it should be.
    """
    match origin.kind:
        case "lists":
            return list_patches(read_lists(origin.path))
        case "v2":
            return read_v2(origin.files)
        case "catalogue":
            return load(origin.files[0]), []
        case "products":
            return list_cells(origin.files)
    return list_v2(pa.chunked_array([list(origin.patches)], pa.string()))


def finish(settings: CatalogueSettings, origin: Origin, parts: Sequence[tuple[pa.Table, Rejections]]) -> int:
    """Join the lists to the parts that the ranks read, write all, print the last line; the number of rejections.

    Raises:
        ValueError: nothing is left to write, or a list is not what it should be.
        OSError: the output cannot be written.
    """
    rows = pa.concat_tables([table for table, _ in parts])
    rejected = [each for _, part in parts for each in part]
    nomenclature = {"v2": 19, "v2 folder": 19, "catalogue": 0}.get(origin.kind, 43) or nomenclature_of(rows)
    rows, more = _joined(settings, origin, rows)
    rejected += more
    if not settings.dry_run:
        _write_rejected(settings.out, rejected)
    if not len(rows):
        why = f"; of {len(rejected)} rejected the first is {': '.join(rejected[0])}" if rejected else ""
        raise ValueError(f"{origin.path} holds no patch{why}")
    _warn(rows, rejected, nomenclature)
    if not settings.dry_run:
        write(settings.out, rows, nomenclature)
    print(f"{summary(rows, len(rejected))} -> {'nothing (dry run)' if settings.dry_run else settings.out}", flush=True)
    return len(rejected)


def summary(rows: pa.Table, rejected: int) -> str:
    """Counts in one line; those of the splits are of kept patches, which have neither snow nor cloud."""
    kept = rows.filter(pc.invert(pc.or_(rows["snow"], rows["cloud"])))
    counts = {name: pc.sum(rows[name]).as_py() or 0 for name in ("snow", "cloud")}
    splits = [f"{name} {pc.sum(pc.equal(kept['split'], name)).as_py() or 0}" for name in SPLITS[1:]]
    products = pc.count_distinct(rows["product"]).as_py()
    return (
        f"{len(rows)} patches of {products} products: {len(kept)} kept, {counts['snow']} snow, "
        f"{counts['cloud']} cloud, {' '.join(splits)}, {rejected} rejected"
    )


def _joined(settings: CatalogueSettings, origin: Origin, rows: pa.Table) -> tuple[pa.Table, Rejections]:
    """Rows with what the lists say of them; lists that somebody asked for must name a patch of the source.

    Patches of version 2 whose folder lacks their metadata find it among the lists or beside their folder.
    """
    folder = settings.lists or (origin.path if origin.kind == "lists" else _LISTS)
    tables = find_v2_tables(settings.lists or origin.path.absolute().parent) if origin.kind == "v2 folder" else ()
    if settings.lists is None and not tables and not (folder.is_dir() and find_lists(folder)):
        _log.info("no lists are joined: none are given with --lists, and %s holds none", folder)
        return rows, []
    if tables:
        (joined, named), rejected = describe(rows, read_metadata(tables)), Rejections()
        found = ", ".join(map(str, tables))
    else:
        lists = read_lists(folder)
        (joined, rejected, named), found = join(rows, lists), lists.found
    _log.info("%s; they name %d of %d patches", found, named, len(rows))
    if settings.lists is not None and len(rows) and not named:
        raise ValueError(f"lists must be of the source's patches, but none of {folder} names any of {len(rows)}")
    return joined, rejected


def _warn(rows: pa.Table, rejected: Rejections, nomenclature: int) -> None:
    """Say what was rejected and what extraction is going to reject, each with its first case."""
    if rejected:
        _log.warning("%d rejected; the first: %s: %s", len(rejected), *rejected[0])
    ordered = in_store_order(rows)
    problem = find_problems(ordered, multi_hot(ordered["labels"], nomenclature)[1])
    bad = [row for row, why in enumerate(problem) if why]
    if bad:
        first = f"{ordered['patch'][bad[0]]}: {problem[bad[0]]}"
        _log.warning("%d of %d patches cannot be extracted as listed; the first: %s", len(bad), len(rows), first)


def _write_rejected(out: Path, rejected: Rejections) -> None:
    """Write what was rejected beside the output, or take away what an earlier run left there."""
    path = out.with_name(f"{out.stem}.rejected.csv")
    if not rejected:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("patch", "reason"))
        lines.writerows(sorted(rejected))
