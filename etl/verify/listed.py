"""A store held against its catalogue: the same patches in the same order, with the same labels, splits and places."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.catalogue.finder import same_acquisition
from etl.catalogue.names import parse_product
from etl.catalogue.table import Catalogue, read_catalogue
from etl.labels import classes_of
from etl.schema import SPLITS, WRITTEN
from etl.verify.check import Check, Faults, judge
from etl.verify.columns import Columns

__all__ = ["catalogue_of", "check_listed", "read_kept"]


def catalogue_of(asked: Path | None, columns: Columns) -> Path | None:
    """The catalogue to hold a store against: the one asked for, else the one it says it was made from, if it is there.

    Raises:
        ValueError: the one asked for is not there.
    """
    if asked is not None:
        if not asked.is_file():
            raise ValueError(f"--catalogue must be a file made by etl.catalogue, got {asked}, which is not there")
        return asked
    said = columns.settings.get("catalogue")
    return Path(said) if said and Path(said).is_file() else None


def read_kept(path: Path, columns: Columns) -> Catalogue:
    """The patches of a catalogue that the store's run kept, in store order.

    Raises:
        ValueError: the file is no catalogue.
        OSError: the file cannot be opened.
    """
    catalogue = read_catalogue(path)
    keep = np.ones(len(catalogue), bool)
    for name, listed in (("keep_snow", catalogue.snow), ("keep_cloud", catalogue.cloud)):
        if columns.settings.get(name) != "True":
            keep &= ~listed
    return catalogue.take(keep)


def check_listed(columns: Columns, catalogue: Catalogue) -> list[Check]:
    """One check for each kind of thing that the catalogue says."""
    return [
        _patches(columns, catalogue),
        _labels(columns, catalogue),
        *(_same(columns, catalogue, name, names) for name, names in _SAME.items()),
        _products(columns, catalogue),
        _problems(columns, catalogue),
    ]


_SAME = {"split": ("split",), "place": ("tile", "epsg", "ulx", "uly"), "acquired": ("acquired",)}


def _common(columns: Columns, catalogue: Catalogue) -> npt.NDArray[np.bool_]:
    """Whether row k of both is the same patch, over the rows that both have."""
    rows = min(columns.schema.rows, len(catalogue))
    return np.asarray(columns.of["patch"][:rows] == catalogue.patch[:rows])


def _patches(columns: Columns, catalogue: Catalogue) -> Check:
    faults, rows, kept = Faults(), columns.schema.rows, len(catalogue)
    if rows != kept:
        faults.add(f"the store must have the {kept} rows that the catalogue keeps, got {rows}")
    for row in np.flatnonzero(~_common(columns, catalogue)).tolist():
        faults.add(f"{columns.name(row)} must be {catalogue.patch[row].decode(errors='replace')}")
    return judge("patches", f"{rows} rows, the catalogue's in its order", faults)


def _labels(columns: Columns, catalogue: Catalogue) -> Check:
    wanted, got = catalogue.nomenclature, columns.schema.nomenclature
    if wanted != got:
        return Check("labels", False, f"the store must have the catalogue's {wanted} classes, got {got}")
    same, faults, names = _common(columns, catalogue), Faults(), classes_of(wanted)
    stored, listed = columns.of["classes"][: len(same)], catalogue.classes[: len(same)]
    for row in np.flatnonzero(same & (stored != listed).any(1)).tolist():
        wrong = np.flatnonzero(stored[row] != listed[row]).tolist()
        said = [f"{names[k]} is {stored[row, k]}, must be {listed[row, k]}" for k in wrong]
        faults.add(f"{columns.name(row)}: {', '.join(said[:3])}{', ...' if len(said) > 3 else ''}")
    return judge("labels", f"{int(listed.sum())} labels of {len(same)} rows", faults)


def _same(columns: Columns, catalogue: Catalogue, check: str, names: tuple[str, ...]) -> Check:
    """Whether columns that both have are equal."""
    same, faults = _common(columns, catalogue), Faults()
    for name in names:
        stored, listed = columns.of[name][: len(same)], getattr(catalogue, name)[: len(same)]
        if name == "acquired":
            listed = listed.astype("datetime64[s]").astype(np.int64)
        for row in np.flatnonzero(same & (stored != listed)).tolist():
            got, must = (_shown(name, values[row]) for values in (stored, listed))
            faults.add(f"{columns.name(row)}: {name} is {got}, must be {must}")
    return judge(check, f"{', '.join(names)} of {len(same)} rows", faults)


def _shown(name: str, value: object) -> str:
    if name == "split" and isinstance(value, np.uint8):
        return SPLITS[value] if value < len(SPLITS) else str(value)
    if name == "acquired" and isinstance(value, np.int64):
        return str(value.astype("datetime64[s]"))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _products(columns: Columns, catalogue: Catalogue) -> Check:
    """Whether each row was read from the product it is listed under, or from another of the same picture."""
    same, faults = _common(columns, catalogue), Faults()
    good: dict[tuple[bytes, bytes], bool] = {}
    for row in np.flatnonzero(same).tolist():
        pair = (columns.of["product"][row], catalogue.product[row])
        if pair not in good:
            good[pair] = _one_scene(*(name.decode(errors="replace") for name in pair))
        if not good[pair]:
            faults.add(f"{columns.name(row)}: read from {pair[0].decode()}, listed under {pair[1].decode()}")
    return judge("products", f"{len(good)} products, each of the picture that is listed", faults)


def _one_scene(read_from: str, listed: str) -> bool:
    try:
        return read_from == listed or same_acquisition(parse_product(read_from), parse_product(listed))
    except ValueError:
        return False


def _problems(columns: Columns, catalogue: Catalogue) -> Check:
    """Whether what the catalogue itself finds wrong was not written all the same."""
    same, faults = _common(columns, catalogue), Faults()
    wrong = catalogue.problem[: len(same)] != ""
    for row in np.flatnonzero(same & wrong & (columns.state[: len(same)] == WRITTEN)).tolist():
        faults.add(f"{columns.name(row)} must be rejected: {catalogue.problem[row]}")
    return judge("problems", f"{int(wrong.sum())} patches that cannot be made as listed, none of them written", faults)
