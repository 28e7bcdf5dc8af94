"""What the catalogue command does on rank 0: read the source, join the lists, write the catalogue, print a summary."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.catalogue.bigearthnet_v2 import (
    join_sentinel1,
    join_v2_metadata,
    list_v2_patches,
    read_v2,
    read_v2_metadata,
)
from etl.catalogue.cells import list_grid_cells
from etl.catalogue.columns import SENTINEL1_NAME, sort_in_store_order
from etl.catalogue.coverage import ListCoverage, measure_coverage, report_coverage
from etl.catalogue.georeference import Rejections
from etl.catalogue.images import list_class_folders, read_image_table
from etl.catalogue.lists import find_lists, join_lists, list_patches, read_lists, unread_files
from etl.catalogue.metadata import class_names_of, detect_nomenclature, is_images
from etl.catalogue.refused_names import find_refused_names, shown_names
from etl.catalogue.source_kind import CatalogueSource, find_v2_tables
from etl.catalogue.table import (
    read_catalogue_table,
    write_catalogue,
)
from etl.catalogue.validation import find_problems, multi_hot
from etl.files import replace_atomically
from etl.input_files import Links
from etl.labels import classes_of
from etl.plural import counted
from etl.schema import SPLITS
from etl.settings import setting
from etl.tables import csv_bytes

__all__ = ["CatalogueSettings", "read_source", "write_joined"]

_log = logging.getLogger(__name__)

_LISTS = Path("data/lists")
"""Where lists are looked for when the settings name no folder."""


@dataclass(frozen=True, slots=True)
class CatalogueSettings:
    """Make the catalogue, a Parquet table with one row per patch.

    It is made from BigEarthNet's labels, lists or metadata, from Sentinel-2 products, or from image files. --source can
    be: a folder of BigEarthNet v1 patches (their JSON files are read by all MPI ranks); metadata.parquet of BigEarthNet
    v2, or its folder, or the folder of its patches; a folder with patch_to_l1c_product.csv; another catalogue; or
    products (folders or .zip files): each 1200 m cell of a product then becomes a patch without labels. For image files
    of other data sets, one a patch, --source is a CSV or Parquet table with a column path (or file, filename) and, if
    known, labels (or classname, label, class; several names separated by semicolons, or a list), split (train, val,
    test), epsg, ulx and uly; or a folder with one folder for each class. Patches that cannot be listed are written to a
    .rejected.csv file beside the output, with the reason.
    """

    source: Path = setting(Path("data/labels"), "patches to list: a folder, a Parquet, CSV or .tar file, or a product")
    lists: Path | None = setting(
        None,
        "folder with the published lists of splits, snow and cloud: train.csv, val.csv, test.csv, "
        "patches_with_seasonal_snow.csv, patches_with_cloud_and_shadow.csv, patch_to_l1c_product.csv, "
        "s1s2_mapping.csv, or some of them; "
        f"if not given, the lists in --source are used, or else those in {_LISTS}",
    )
    out: Path = setting(Path("data/patches.parquet"), "catalogue to write")
    strict: bool = setting(
        False, "end with status 4 if a patch was rejected or a list matches no patch; the catalogue is still written"
    )
    dry_run: bool = setting(False, "print the counts, but write nothing")
    allow_links: tuple[Path, ...] = setting(
        (), "folder into which links in --source and --lists may lead, beside these; can be given several times"
    )

    def __post_init__(self) -> None:
        if self.out.is_dir():
            raise ValueError(f"--out must be a file, such as patches.parquet, got the folder {self.out}")


def read_source(source: CatalogueSource) -> tuple[pa.Table, Rejections]:
    """Rows of any source but patches of version 1, which all ranks read; and (patch, reason) of what was rejected.

    Corners in the rows are in metres, times in seconds of UTC.

    Raises:
        ValueError: a table or list is not what it should be.
    """
    readers: dict[str, Callable[[], tuple[pa.Table, Rejections]]] = {
        "lists": lambda: list_patches(read_lists(source.path, links=source.links)),
        "v2": lambda: read_v2(source.files),
        "catalogue": lambda: (read_catalogue_table(source.files[0]), []),
        "products": lambda: list_grid_cells(source.products),
        "image table": lambda: read_image_table(source.path),
        "class folders": lambda: list_class_folders(source.path),
        "v2 folder": lambda: list_v2_patches(pa.chunked_array([list(source.patches)], pa.string())),
    }
    return readers[source.kind]()


def write_joined(
    settings: CatalogueSettings, source: CatalogueSource, parts: Sequence[tuple[pa.Table, Rejections]]
) -> int:
    """Join the lists to the rows that the ranks read, write the catalogue and the rejections, print a summary line.

    Returns the number of rejections and of lists that match no patch.

    Raises:
        ValueError: nothing is left to write, a list is not what it should be, or no patch that was written can be
            extracted.
        OSError: the output cannot be written.
    """
    rows = pa.concat_tables([table for table, _ in parts])
    rejected = [rejection for _, part in parts for rejection in part]
    # a catalogue can have either: its file states which, or its labels tell
    nomenclature = {"v2": 19, "v2 folder": 19, "catalogue": 0}.get(source.kind, 43) or detect_nomenclature(rows)
    rows, unjoined, unmatched = _join(settings, source, rows)
    rejected += unjoined
    rows, unnamed = _refuse_names(rows)
    rejected += unnamed
    # before the check for no rows: the file of rejections explains why there are none
    if not settings.dry_run:
        _write_rejected(settings.out, rejected)
    if not len(rows):
        why = f"; of {len(rejected)} rejected the first is {': '.join(rejected[0])}" if rejected else ""
        raise ValueError(f"{source.path} holds no patch{why}")
    _log_pairs(rows)
    unusable = _warn(rows, rejected, nomenclature)
    if not settings.dry_run:
        write_catalogue(settings.out, rows, nomenclature)
    target = "nothing (dry run)" if settings.dry_run else settings.out
    print(f"{_summary_line(rows, len(rejected))} -> {target}", flush=True)
    if unusable:
        raise ValueError(f"{unusable}; the catalogue is {'not written' if settings.dry_run else 'kept'}")
    return len(rejected) + unmatched


def _log_pairs(rows: pa.Table) -> None:
    """Log how many rows are paired with a patch of Sentinel-1, if any is."""
    paired = len(rows) - rows[SENTINEL1_NAME].null_count
    if paired:
        _log.info("%d of %s are paired with a patch of Sentinel-1", paired, counted(len(rows), "patch"))


def _summary_line(rows: pa.Table, rejected: int) -> str:
    """Counts in one line; splits are counted over kept patches, which have neither snow nor cloud."""
    usable = rows.filter(pc.invert(pc.or_(rows["snow"], rows["cloud"])))
    counts = {name: pc.sum(rows[name]).as_py() or 0 for name in ("snow", "cloud")}
    splits = [f"{name} {pc.sum(pc.equal(usable['split'], name)).as_py() or 0}" for name in SPLITS[1:]]
    if is_images(rows):
        groups = counted(len(class_names_of(rows)), "class")
    else:
        groups = counted(pc.count_distinct(rows["product"]).as_py(), "product")
    return (
        f"{counted(len(rows), 'patch')} of {groups}: {len(usable)} kept, {counts['snow']} snow, "
        f"{counts['cloud']} cloud, {' '.join(splits)}, {rejected} rejected"
    )


def _join(settings: CatalogueSettings, source: CatalogueSource, rows: pa.Table) -> tuple[pa.Table, Rejections, int]:
    """Rows with the lists joined, and how many lists match no patch; those of --lists must match at least one.

    The metadata of a folder of version 2 patches is looked for among the lists, else beside the folder.
    """
    if settings.lists is None and is_images(rows):
        return rows, [], 0
    folder = settings.lists or (source.path if source.kind == "lists" else _LISTS)
    links = Links.into(folder, source.path, *settings.allow_links)
    near = settings.lists or source.path.absolute().parent
    tables = find_v2_tables(near, links.and_into(near)) if source.kind == "v2 folder" else ()
    if settings.lists is None and not tables and not (folder.is_dir() and find_lists(folder)):
        _log.info("no lists of splits, snow and cloud: --lists is not given, and there are none in %s", folder)
        return rows, [], 0
    rejected = Rejections()
    if tables:
        joined, coverages = _join_tables(rows, tables)
    else:
        joined, rejected, coverages = join_lists(rows, read_lists(folder, rows["patch"], links))
        if source.kind in ("v1", "lists"):
            joined = join_sentinel1(joined, find_v2_tables(folder, links))
    if not len(rows):
        return joined, rejected, 0
    listed = next((coverage.example for coverage in coverages if coverage.example), "no name")
    first = f"the lists have {listed}, the source has {rows['patch'][0]}"
    if settings.lists is None and not tables and not any(coverage.expected for coverage in coverages):
        _log.warning("the lists in %s are not used, because they name no patch of %s: %s", folder, source.path, first)
        return rows, [], 0
    if not tables:
        _warn_of_unread(folder)
    if settings.lists is not None and not any(coverage.matched for coverage in coverages):
        raise ValueError(
            f"--lists must be of the source's patches, but no list in {folder} names any of its {len(rows)} patches: "
            f"{first}"
        )
    return joined, rejected, report_coverage(coverages, rows)


def _refuse_names(rows: pa.Table) -> tuple[pa.Table, Rejections]:
    """The rows whose names can be used; and (patch, reason) of the others."""
    problems = find_refused_names(rows)
    if not problems:
        return rows, []
    names = shown_names(rows["patch"])
    keep = np.ones(len(rows), bool)
    keep[list(problems)] = False
    return rows.filter(pa.array(keep)), [(names[row].as_py(), problem) for row, problem in sorted(problems.items())]


def _warn_of_unread(folder: Path) -> None:
    """Log a warning if the folder of lists holds other texts, or files that are named nearly like a list."""
    unread = unread_files(folder)
    if unread:
        _log.warning(
            "not read: %d files in %s, the first is %s; a list must be named like train.csv, train.tsv or train.txt, "
            "with .gz or not",
            len(unread), folder, unread[0],
        )  # fmt: skip


def _join_tables(rows: pa.Table, tables: Sequence[Path]) -> tuple[pa.Table, list[ListCoverage]]:
    """Rows of version 2 with what its tables say of them; the tables are measured as one list."""
    metadata = read_v2_metadata(tables)
    lists = find_lists(tables[0].parent)
    if lists:
        named = ", ".join(path.name for path in lists.values())
        _log.warning("%s also holds %s; they are not used beside %s", tables[0].parent, named, tables[0].name)
    coverages = measure_coverage({", ".join(path.name for path in tables): metadata["patch"].combine_chunks()}, rows)
    return join_v2_metadata(rows, metadata)[0], coverages


def _warn(rows: pa.Table, rejected: Rejections, nomenclature: int) -> str:
    """Log what was rejected and what extraction is going to reject or leave out, with the first case.

    Returns why no patch at all can be extracted, in words; empty if one can.
    """
    if rejected:
        _log.warning("%d patches rejected; the first is %s: %s", len(rejected), *rejected[0])
    ordered = sort_in_store_order(rows)
    class_names = class_names_of(ordered) if is_images(ordered) else classes_of(nomenclature)
    problems = find_problems(ordered, multi_hot(ordered["labels"], class_names)[1])
    bad = np.flatnonzero(problems)
    first = f"the first: {ordered['patch'][bad[0]]}: {problems[bad[0]]}" if len(bad) else ""
    if len(bad) == len(rows):
        return f"none of {len(rows)} patches can be extracted as listed; {first}"
    if len(bad):
        _log.warning("%d of %d patches cannot be extracted as listed; %s", len(bad), len(rows), first)
    left_out = np.asarray(pc.or_(ordered["snow"], ordered["cloud"]))
    if (left_out | (problems != "")).all():
        _log.warning(
            "etl.extract needs --keep-snow or --keep-cloud: %d of %d patches are marked as snow or cloud",
            int(left_out.sum()), len(rows),
        )  # fmt: skip
    return ""


def _write_rejected(out: Path, rejected: Rejections) -> None:
    """Write the rejections beside the output, or remove those of an earlier run."""
    path = out.with_name(f"{out.stem}.rejected.csv")
    if not rejected:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary:
        temporary.write_bytes(csv_bytes(("patch", "reason"), sorted(rejected)))
