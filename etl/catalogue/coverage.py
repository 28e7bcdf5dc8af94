"""Count how many names of each list match a patch of the source, so that a list which matches none is not overlooked.

Published lists cover 125 products, and a source may hold three of them. So only those names of a list are counted whose
product, or whose mission, time and tile, is also in the source. Names in another form have none; they are all counted.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["SHARED_SCENES", "ListCoverage", "measure_coverage", "report_coverage"]

_log = logging.getLogger(__name__)

_SCENE = (
    r"^(?P<stem>(?P<mission>S2[A-D])_MSIL(?:1C|2A)_(?P<time>\d{8}T\d{1,6})"
    r"(?:_N\d{4}_R\d{3}_T(?P<tile>\d{2}[A-Z]{3}))?)_\d{1,3}_\d{1,3}$"
)

SHARED_SCENES = [
    "S2A_20170613T101031",
    "S2A_20170717T113321",
    "S2A_20171002T094031",
    "S2A_20171002T112111",
    "S2A_20171101T094131",
    "S2A_20180413T095031",
    "S2A_20180508T104031",
    "S2A_20180510T094031",
    "S2A_20180510T94032",
    "S2A_20180527T093041",
    "S2B_20170906T101019",
    "S2B_20170914T093029",
    "S2B_20170924T093019",
    "S2B_20170924T93020",
    "S2B_20170924T93021",
    "S2B_20170927T094019",
    "S2B_20171015T104009",
    "S2B_20171219T095409",
    "S2B_20180204T094159",
    "S2B_20180204T94160",
    "S2B_20180421T100029",
    "S2B_20180421T100030",
    "S2B_20180511T100029",
    "S2B_20180515T112109",
    "S2B_20180522T093029",
    "S2B_20180525T94030",
]
"""Mission and time in names of version 1 that two to four tiles share, so that the name alone does not tell the tile.

Source: rsim-tu-berlin bigearthnet-pipeline (`patch_to_l1c_product.csv.gz`)."""


@dataclass(frozen=True, slots=True)
class ListCoverage:
    """How far a list and the patches of the source agree."""

    name: str
    """File name of the list, or of several tables that are read as one."""

    names: int
    """Distinct names in the list."""

    expected: int
    """Those whose product, or mission, time and tile, is in the source."""

    matched: int
    """Those that a patch of the source has."""

    patches: int
    """Patches of the source that they match."""

    example: str
    """The first name without a patch, of those expected if there are any; empty if every name has one."""

    is_plausible: bool = False
    """Whether no match is expected: by the lists that match, this one is of patches that the source lacks."""

    @property
    def is_unmatched(self) -> bool:
        """Whether the list has names, none of them matches a patch, and that is not `is_plausible`."""
        return self.names > 0 and not self.matched and not self.is_plausible


def measure_coverage(
    lists: Mapping[str, pa.Array], rows: pa.Table, products: pa.Table | None = None
) -> list[ListCoverage]:
    """What each list, patch names by file name, has in common with `rows` of a catalogue.

    `products` holds columns patch and product: the products of patches whose names do not tell their tile.
    """
    distinct = {name: pc.unique(names) for name, names in lists.items()}
    scenes = {name: _scenes(names) for name, names in distinct.items()}
    stems = {name: _stems(names) for name, names in distinct.items()}
    patches = rows["patch"].combine_chunks()
    source_scenes, coverages = pc.unique(_scenes(patches)), []
    for name, names in distinct.items():
        found = pc.is_in(names, value_set=patches)
        near = _expected(scenes[name], source_scenes)
        if products is not None:
            near = _in_products(names, products, rows["product"], near)
        near = pc.or_(near, found)
        lacking = [names.filter(pc.and_not(which, found)) for which in (near, pc.invert(found))]
        example = next((some[0].as_py() for some in lacking if len(some)), "")
        served = _count(pc.is_in(patches, value_set=names))
        coverages.append(ListCoverage(name, len(names), _count(near), _count(found), served, example))
    return [replace(coverage, is_plausible=_is_plausible(coverage, coverages, stems)) for coverage in coverages]


def report_coverage(coverages: Sequence[ListCoverage], rows: pa.Table) -> int:
    """Log a line for each list, as a warning if it matches no patch or less than half of the names that it should.

    Returns the number of lists that match none. A warning gives a name of the list and one of the source, `rows`.
    """
    for coverage in coverages:
        rest = coverage.names - coverage.expected
        elsewhere = f" ({rest} others are of tiles or times that the source lacks)" if rest else ""
        counts = (
            f"{coverage.name}: {coverage.matched} of {coverage.expected} names{elsewhere} "
            f"match {coverage.patches} of {len(rows)} patches"
        )
        names = f"the list has {coverage.example}, the source has {rows['patch'][0]}"
        if coverage.is_unmatched:
            _log.warning("%s, so the list has no effect: %s; names in both must be equal", counts, names)
        elif 2 * coverage.matched < coverage.expected:
            _log.warning("%s, less than half: %s", counts, names)
        else:
            _log.info("%s", counts)
    return sum(coverage.is_unmatched for coverage in coverages)


def _scenes(names: pa.Array) -> pa.Array:
    """Mission, time and, in version 2, tile of each name, dtype string; null for names in another form."""
    parts = pc.extract_regex(names, _SCENE)
    return pc.binary_join_element_wise(*(pc.struct_field(parts, [name]) for name in ("mission", "time", "tile")), "_")


def _stems(names: pa.Array) -> pa.Array:
    """Each name without its cell, dtype string; null for names in another form."""
    return pc.struct_field(pc.extract_regex(names, _SCENE), ["stem"])


def _is_plausible(coverage: ListCoverage, coverages: Sequence[ListCoverage], stems: Mapping[str, pa.Array]) -> bool:
    """Whether lists that match name the same scenes, and the source lacks these or most of what those lists name.

    Names of the same scenes in another form, such as another level, have other `stems` and are a mistake.
    """
    matching = [other for other in coverages if other.matched]
    is_part = all(2 * other.matched < other.expected for other in matching)
    if coverage.matched or not matching or (coverage.expected and not is_part):
        return False
    known = pc.unique(pa.concat_arrays([stems[other.name] for other in matching]))
    return 2 * _count(pc.is_in(stems[coverage.name], value_set=known.drop_null())) >= coverage.names


def _expected(scenes: pa.Array, source_scenes: pa.Array) -> pa.Array:
    """Whether a patch of the source is expected for each name, bool, by the scenes of names and source.

    In a list of more than the source's scenes, a name of version 1 can be of another tile of the same time.
    """
    near = pc.is_in(scenes, value_set=source_scenes)
    if _count(near) < len(scenes) - scenes.null_count:
        near = pc.and_not(near, pc.is_in(scenes, value_set=pa.array([f"{scene}_" for scene in SHARED_SCENES])))
    return pc.or_(near, pc.is_null(scenes))


def _in_products(names: pa.Array, products: pa.Table, in_source: pa.ChunkedArray, others: pa.Array) -> pa.Array:
    """Whether the product of each name is in the source; for names without a product what `others`, bool, says."""
    at = pc.index_in(names, value_set=products["patch"].combine_chunks())
    product = products["product"].combine_chunks().take(at)
    return pc.if_else(pc.is_valid(product), pc.is_in(product, value_set=pc.unique(in_source)), others)


def _count(flags: pa.Array) -> int:
    return pc.sum(flags).as_py() or 0
