"""How many names of a list match a patch, and what is said if they do not."""

import logging

import pyarrow as pa
import pytest

from etl.catalogue.coverage import measure_coverage, report_coverage
from etl.catalogue.table import make_catalogue_table

HERE, THERE = "S2A_MSIL2A_20170613T101031", "S2B_MSIL2A_20180204T94161"
V2 = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
L1C = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
OTHER_TILE = L1C.replace("33UUP", "33UVP")


def names(stem, first, last):
    return pa.array([f"{stem}_{i}_0" for i in range(first, last)], pa.string())


def rows_of(*arrays, product=L1C):
    patch = pa.concat_arrays(arrays)
    return make_catalogue_table(patch=patch, product=[product] * len(patch))


def measured(rows, products=None, **lists):
    return {coverage.name: coverage for coverage in measure_coverage(lists, rows, products)}


def counts(coverage):
    return coverage.names, coverage.expected, coverage.matched, coverage.patches


def test_only_names_of_tiles_and_times_in_the_source_are_expected_to_match():
    everywhere = pa.concat_arrays([names(HERE, 0, 10), names(THERE, 0, 1000)])
    coverage = measured(rows_of(names(HERE, 0, 10)), train=everywhere)["train"]
    assert counts(coverage) == (1010, 10, 10, 10)
    assert not coverage.is_unmatched


def test_a_patch_of_one_tile_is_not_expected_in_another_of_the_same_time_if_the_products_are_listed():
    listed = pa.table({"patch": names(HERE, 0, 30), "product": [L1C] * 10 + [OTHER_TILE] * 20})
    coverage = measured(rows_of(names(HERE, 0, 10)), listed, train=names(HERE, 0, 30))["train"]
    assert counts(coverage) == (30, 10, 10, 10)
    without = measured(rows_of(names(HERE, 0, 10)), train=names(HERE, 0, 30))["train"]
    assert counts(without) == (30, 30, 10, 10)


def test_of_a_time_that_tiles_share_a_list_of_the_whole_archive_expects_only_what_it_finds():
    everywhere = pa.concat_arrays([names(HERE, 0, 30), names(THERE, 0, 1)])
    assert counts(measured(rows_of(names(HERE, 0, 10)), train=everywhere)["train"]) == (31, 10, 10, 10)
    unshared = "S2A_MSIL2A_20170617T113321"
    everywhere = pa.concat_arrays([names(unshared, 0, 30), names(THERE, 0, 1)])
    assert counts(measured(rows_of(names(unshared, 0, 10)), train=everywhere)["train"]) == (31, 30, 10, 10)


def test_names_are_counted_once_and_patches_as_often_as_they_are_listed():
    rows = rows_of(names(HERE, 0, 2), names(HERE, 0, 2))
    twice = pa.concat_arrays([names(HERE, 0, 1), names(HERE, 0, 1)])
    assert counts(measured(rows, train=twice)["train"]) == (1, 1, 1, 2)


def test_a_name_in_no_known_form_is_always_expected():
    odd = measured(rows_of(names(HERE, 0, 2)), cloud=pa.array(["patch 1", "patch 2"]))["cloud"]
    assert (counts(odd), odd.example, odd.is_unmatched) == ((2, 2, 0, 0), "patch 1", True)


def test_a_list_of_other_scenes_has_no_effect():
    found = measured(rows_of(names(HERE, 0, 2)), train=names(HERE, 0, 2), cloud=names(THERE, 0, 5))
    assert (counts(found["cloud"]), found["cloud"].is_unmatched) == ((5, 0, 0, 0), True)


def test_a_list_of_other_scenes_that_a_matching_list_names_too_is_of_another_part_of_the_archive():
    train = pa.concat_arrays([names(HERE, 0, 2), names(THERE, 0, 100)])
    found = measured(rows_of(names(HERE, 0, 2)), train=train, snow=names(THERE, 100, 130))
    assert (counts(found["snow"]), found["snow"].is_unmatched) == ((30, 0, 0, 0), False)


def test_in_a_small_part_of_the_archive_no_list_need_match_but_one_of_unreadable_names():
    lists = {"train": names(HERE, 0, 50), "cloud": names(HERE, 50, 60), "snow": pa.array(["patch 1"])}
    found = measured(rows_of(names(HERE, 0, 2)), **lists)
    assert {name: (c.expected, c.is_unmatched) for name, c in found.items()} == {
        "train": (50, False),
        "cloud": (10, False),
        "snow": (1, True),
    }
    whole = measured(rows_of(names(HERE, 0, 30)), **lists)
    assert [whole[name].is_unmatched for name in lists] == [False, True, True]


@pytest.mark.parametrize(
    ("stem", "other"),
    [(HERE, HERE.replace("MSIL2A", "MSIL1C")), (V2, V2.replace("N9999", "N0205")), (V2, V2.replace("R022", "R023"))],
)
def test_in_a_small_part_of_the_archive_names_in_another_form_than_those_that_match_are_told(stem, other):
    lists = {"train": names(stem, 0, 50), "snow": names(other, 50, 60), "cloud": names(stem, 50, 60)}
    found = measured(rows_of(names(stem, 0, 2)), **lists)
    assert {name: coverage.is_unmatched for name, coverage in found.items()} == {
        "train": False,
        "snow": True,
        "cloud": False,
    }


def test_an_empty_list_is_no_mistake():
    assert not measured(rows_of(names(HERE, 0, 2)), snow=pa.array([], pa.string()))["snow"].is_unmatched


@pytest.mark.parametrize("stem", [HERE, V2])
@pytest.mark.parametrize(
    ("listed", "level", "unmatched"),
    [((0, 10), "INFO", 0), ((5, 15), "INFO", 0), ((6, 16), "WARNING", 0), ((10, 20), "WARNING", 1)],
)
def test_less_than_half_is_a_warning_and_none_is_counted(caplog, stem, listed, level, unmatched):
    rows = rows_of(names(stem, 0, 10))
    with caplog.at_level(logging.INFO):
        coverages = measure_coverage({"train.csv": names(stem, *listed)}, rows)
        assert report_coverage(coverages, rows) == unmatched
    (record,) = caplog.records
    assert record.levelname == level
    matched = max(0, 10 - listed[0])
    assert record.message.startswith(f"train.csv: {matched} of 10 names match {matched} of 10 patches")
    examples = f"the list has {stem}_10_0, the source has {stem}_0_0" in record.message
    assert examples == (level == "WARNING")
