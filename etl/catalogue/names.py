"""Parse the names of products and patches: mission, level, times, baseline, relative orbit, tile, cell.

Times in BigEarthNet's names can lack their leading zero (`T93020`) and can count beyond the minute (`T94160` is
09:42:00): neighbouring tiles of one data take had equal names, and its authors shifted the seconds, by -8 to +3, to
tell them apart. A version 1 name thus gives the sensing time to within seconds and no tile; the product list has both.

Source: ESA, Sentinel-2 Products Specification Document, "Product naming convention"; BigEarthNet v1 and v2 (reBEN).
"""

import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from etl.input_files import shortened

__all__ = [
    "PATCH_PATTERN",
    "PatchName",
    "ProductName",
    "is_patch",
    "is_product",
    "parse_patch",
    "parse_product",
    "parse_time",
    "product_stem",
]

_TIME = r"\d{8}T\d{1,6}"
_A_TIME = re.compile(_TIME, re.ASCII)
_START = rf"(?P<mission>S2[A-D])_MSIL(?P<level>1C|2A)_(?P<acquired>{_TIME})"
# since December 2016: one product a tile
_COMPACT = re.compile(
    rf"{_START}_N(?P<baseline>\d{{4}})_R(?P<orbit>\d{{3}})_T(?P<tile>\d{{2}}[A-Z]{{3}})(?:_(?P<processed>{_TIME}))?",
    re.ASCII,
)
# before: one product of several tiles, so the name has none
_OLD = re.compile(
    r"(?P<mission>S2[A-D])_(?:OPER|USER)_PRD_MSIL(?P<level>1C|2A)_\w{4}_"
    rf"(?P<processed>{_TIME})_R(?P<orbit>\d{{3}})_V(?P<acquired>{_TIME})_{_TIME}",
    re.ASCII,
)
_V1_STEM = re.compile(_START, re.ASCII)
PATCH_PATTERN = rf"S2[A-D]_MSIL(?:1C|2A)_{_TIME}(?:_N\d{{4}}_R\d{{3}}_T\d{{2}}[A-Z]{{3}})?_\d{{1,3}}_\d{{1,3}}"
"""Regular expression, also of RE2, for patch names of both versions; no groups: it is matched half a million times."""
_PATCH = re.compile(PATCH_PATTERN, re.ASCII)
_SUFFIX = re.compile(r"(?:\.SAFE|\.zarr)?(?:\.zip)?\Z", re.IGNORECASE)
_CELL = re.compile(r"(?P<stem>.+)_(?P<col>\d{1,3})_(?P<row>\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProductName:
    """The parts of a product's name."""

    mission: str
    """S2A, S2B, S2C or S2D."""

    level: str
    """1C or 2A."""

    acquired: datetime
    """Sensing time of the data take, UTC."""

    orbit: int | None
    """Relative orbit, 1 to 143; None if the name leaves it out (patches of version 1)."""

    tile: str
    """MGRS tile, e.g. 33UUP; empty if the name leaves it out (products before December 2016)."""

    baseline: str
    """Processing baseline, e.g. 02.05; empty if the name leaves it out."""

    processed: datetime | None
    """Processing time (the discriminator of the name), UTC; None if the name leaves it out."""

    @property
    def acquisition(self) -> tuple[str, datetime, int | None, str]:
        """Mission, sensing time to the second, orbit and tile: equal for all products of the same image."""
        return self.mission, self.acquired, self.orbit, self.tile

    @property
    def is_own_processing(self) -> bool:
        """Whether a user made it with Sen2Cor: N9999 in the name says so and is no baseline 99.99."""
        return self.baseline == "99.99"

    @property
    def stem(self) -> str:
        """The name in the form since December 2016 up to the tile, as version 2 names its patches."""
        parts = [self.mission, f"MSIL{self.level}", f"{self.acquired:%Y%m%dT%H%M%S}"]
        parts += [f"N{self.baseline.replace('.', '')}"] if self.baseline else []
        parts += [f"R{self.orbit:03d}"] if self.orbit is not None else []
        return "_".join([*parts, f"T{self.tile}"] if self.tile else parts)

    @property
    def name(self) -> str:
        """The name in the form since December 2016, without .SAFE."""
        return f"{self.stem}_{self.processed:%Y%m%dT%H%M%S}" if self.processed else self.stem


@dataclass(frozen=True, slots=True)
class PatchName:
    """The parts of a patch's name."""

    product: ProductName
    """The part before the cell; of a version 1 name the time is off by seconds, and orbit, tile and baseline lack."""

    row: int
    """Row of the patch in its tile's patch grid, from the top."""

    col: int
    """Column of the patch in its tile's patch grid, from the left."""

    @property
    def name(self) -> str:
        """The name in the form of version 2: two digits each for column and row, in this order."""
        return f"{self.product.stem}_{self.col:02d}_{self.row:02d}"


def parse_time(text: str) -> datetime:
    """UTC time, in whole seconds, of `20170613T101031`, `20170924T93020` (09:30:20) or `20180204T94160` (09:42:00).

    Raises:
        ValueError: `text` is no such time.
    """
    try:
        if not _A_TIME.fullmatch(text):
            raise ValueError
        day, clock = text[:8], text[9:].zfill(6)
        # not strptime for the clock: it refuses the 60th second
        hour, minute, second = int(clock[:2]), int(clock[2:4]), int(clock[4:])
        start = datetime.strptime(day, "%Y%m%d").replace(hour=hour, minute=minute, tzinfo=UTC)
        return start + timedelta(seconds=second)
    except (ValueError, OverflowError):
        raise ValueError(f"time must be like 20170613T101031, got {shortened(text)!r}") from None


@functools.lru_cache  # half a million patches come from some hundred products
def parse_product(name: str) -> ProductName:
    """The parts of a product's name in the form since December 2016 or the one before, without suffix or with it.

    Times are in whole seconds of UTC.

    Raises:
        ValueError: `name` is in neither form.
    """
    stem = product_stem(name)
    match = _COMPACT.fullmatch(stem) or _OLD.fullmatch(stem)
    if match is None:
        raise ValueError(
            "product must be named like S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE, "
            f"got {shortened(name)!r}"
        )
    return _product_name(match)


def parse_patch(name: str) -> PatchName:
    """The parts of a patch's name in the form of version 1 or 2 of BigEarthNet.

    Raises:
        ValueError: `name` is in neither form.
    """
    cell = _CELL.fullmatch(name)
    stem = cell and (_COMPACT.fullmatch(cell["stem"]) or _V1_STEM.fullmatch(cell["stem"]))
    if cell is None or not stem:
        raise ValueError(
            "patch must be named like S2A_MSIL2A_20170613T101031_87_48 or "
            f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57, got {shortened(name)!r}"
        )
    return PatchName(_product_name(stem), row=int(cell["row"]), col=int(cell["col"]))


def product_stem(name: str) -> str:
    """The name without .SAFE or .zarr, then without .zip, in upper or lower case."""
    return _SUFFIX.sub("", name)


def is_product(name: str) -> bool:
    """Whether `parse_product` can read `name`."""
    try:
        parse_product(name)
    except ValueError:
        return False
    return True


def is_patch(name: str) -> bool:
    """Whether `name` has the form of a patch's name; fast enough for a folder of half a million."""
    return _PATCH.fullmatch(name) is not None


def _product_name(match: re.Match[str]) -> ProductName:
    parts = match.groupdict()
    baseline, processed = parts.get("baseline"), parts.get("processed")
    return ProductName(
        mission=parts["mission"],
        level=parts["level"],
        acquired=parse_time(parts["acquired"]),
        orbit=int(parts["orbit"]) if parts.get("orbit") else None,
        tile=parts.get("tile") or "",
        baseline=f"{baseline[:2]}.{baseline[2:]}" if baseline else "",
        processed=parse_time(processed) if processed else None,
    )
