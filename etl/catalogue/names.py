"""What the name of a product or a patch says: mission, level, times, baseline, relative orbit, tile, cell.

Times in BigEarthNet's names can have lost their leading zero (`T93020`) and can count beyond the minute (`T94160` is
09:42:00): neighbouring tiles of one data take had equal names, and were told apart by shifting the seconds, here by
-8 to +3. So a version 1 name gives the sensing time only nearly, and its tile not at all; the product list gives both.

Source: ESA, Sentinel-2 Products Specification Document, "Product naming convention"; BigEarthNet v1 and v2 (reBEN).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["PatchName", "Product", "is_patch", "newest", "parse_patch", "parse_product", "parse_time"]

_TIME = r"\d{8}T\d{1,6}"
_A_TIME = re.compile(_TIME)
_START = rf"(?P<mission>S2[A-D])_MSIL(?P<level>1C|2A)_(?P<acquired>{_TIME})"
_COMPACT = re.compile(
    rf"{_START}_N(?P<baseline>\d{{4}})_R(?P<orbit>\d{{3}})_T(?P<tile>\d{{2}}[A-Z]{{3}})(?:_(?P<processed>{_TIME}))?"
)
_OLD = re.compile(
    r"(?P<mission>S2[A-D])_(?:OPER|USER)_PRD_MSIL(?P<level>1C|2A)_\w{4}_"
    rf"(?P<processed>{_TIME})_R(?P<orbit>\d{{3}})_V(?P<acquired>{_TIME})_{_TIME}"
)
_V1_STEM = re.compile(_START)
_PATCH = re.compile(rf"S2[A-D]_MSIL(?:1C|2A)_{_TIME}(?:_N\d{{4}}_R\d{{3}}_T\d{{2}}[A-Z]{{3}})?_\d{{1,3}}_\d{{1,3}}")
_CELL = re.compile(r"(?P<stem>.+)_(?P<col>\d{1,3})_(?P<row>\d{1,3})")


@dataclass(frozen=True, slots=True)
class Product:
    """What a product's name says."""

    mission: str
    """S2A, S2B, S2C or S2D."""

    level: str
    """1C or 2A."""

    acquired: datetime
    """Sensing time of the data take, UTC."""

    orbit: int | None
    """Relative orbit, 1 to 143; None where the name leaves it out (patches of version 1)."""

    tile: str
    """MGRS tile, e.g. 33UUP; empty where the name leaves it out (products before December 2016)."""

    baseline: str
    """Processing baseline, e.g. 02.05; empty where the name leaves it out."""

    processed: datetime | None
    """When it was processed (the name's discriminator), UTC; None where the name leaves it out."""

    @property
    def scene(self) -> tuple[str, datetime, int | None, str]:
        """What two products of the same picture share, whatever their level and baseline."""
        return self.mission, self.acquired, self.orbit, self.tile

    @property
    def version(self) -> tuple[str, str, datetime]:
        """Grows with level, then baseline, then processing time: of several products of a scene the greatest wins."""
        return self.level, self.baseline, self.processed or datetime.min.replace(tzinfo=UTC)

    @property
    def stem(self) -> str:
        """The name in today's form up to the tile, as version 2 names its patches; without what is not known."""
        parts = [self.mission, f"MSIL{self.level}", f"{self.acquired:%Y%m%dT%H%M%S}"]
        parts += [f"N{self.baseline.replace('.', '')}"] if self.baseline else []
        parts += [f"R{self.orbit:03d}"] if self.orbit is not None else []
        return "_".join([*parts, f"T{self.tile}"] if self.tile else parts)

    @property
    def name(self) -> str:
        """The name in today's form, without .SAFE."""
        return f"{self.stem}_{self.processed:%Y%m%dT%H%M%S}" if self.processed else self.stem


@dataclass(frozen=True, slots=True)
class PatchName:
    """What a patch's name says."""

    product: Product
    """What stands before the cell; a version 1 name gives the time only nearly, and no orbit, tile or baseline."""

    row: int
    """Row j of the patch on its tile's grid, from the top."""

    col: int
    """Column i of the patch on its tile's grid, from the left."""

    @property
    def name(self) -> str:
        """The name in the form of version 2: two digits each for column and row, in this order."""
        return f"{self.product.stem}_{self.col:02d}_{self.row:02d}"


def parse_time(text: str) -> datetime:
    """UTC time of `20170613T101031`; also of `20170924T93020` (leading zeros lost) and `20180204T94160` (is 09:42:00).

    Raises:
        ValueError: `text` is no such time.
    """
    try:
        if not _A_TIME.fullmatch(text):
            raise ValueError
        day, clock = text[:8], text[9:].zfill(6)
        hour, minute, second = int(clock[:2]), int(clock[2:4]), int(clock[4:])
        start = datetime.strptime(day, "%Y%m%d").replace(hour=hour, minute=minute, tzinfo=UTC)
        return start + timedelta(seconds=second)
    except (ValueError, OverflowError):
        raise ValueError(f"time must be like 20170613T101031, got {text!r}") from None


def parse_product(name: str) -> Product:
    """What the name of a product says, in today's form or in the one before December 2016, with or without .SAFE, .zip.

    Raises:
        ValueError: `name` is in neither form.
    """
    bare = name.removesuffix(".zip").removesuffix(".SAFE")
    found = _COMPACT.fullmatch(bare) or _OLD.fullmatch(bare)
    if found is None:
        raise ValueError(
            "product must be named like S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE, "
            f"got {name!r}"
        )
    return _product(found)


def parse_patch(name: str) -> PatchName:
    """What the name of a patch says, in the form of version 1 or 2.

    Raises:
        ValueError: `name` is in neither form.
    """
    cell = _CELL.fullmatch(name)
    stem = cell and (_COMPACT.fullmatch(cell["stem"]) or _V1_STEM.fullmatch(cell["stem"]))
    if cell is None or not stem:
        raise ValueError(
            "patch must be named like S2A_MSIL2A_20170613T101031_87_48 or "
            f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57, got {name!r}"
        )
    return PatchName(_product(stem), row=int(cell["row"]), col=int(cell["col"]))


def is_patch(name: str) -> bool:
    """Whether `name` has the form of a patch's name; quick, for folders of half a million."""
    return _PATCH.fullmatch(name) is not None


def newest(names: list[str]) -> dict[str, str]:
    """Of several products of one scene the one that wins, for each name: newest baseline, then newest processing.

    Raises:
        ValueError: a name is no product's.
    """
    parsed = {name: parse_product(name) for name in names}
    best: dict[object, str] = {}
    for name in sorted(parsed, key=lambda name: (parsed[name].version, name)):
        best[parsed[name].scene] = name
    return {name: best[parsed[name].scene] for name in names}


def _product(found: re.Match[str]) -> Product:
    said = found.groupdict()
    baseline, processed = said.get("baseline"), said.get("processed")
    return Product(
        mission=said["mission"],
        level=said["level"],
        acquired=parse_time(said["acquired"]),
        orbit=int(said["orbit"]) if said.get("orbit") else None,
        tile=said.get("tile") or "",
        baseline=f"{baseline[:2]}.{baseline[2:]}" if baseline else "",
        processed=parse_time(processed) if processed else None,
    )
