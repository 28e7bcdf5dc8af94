"""Which products can serve an acquisition, and in which order they are tried."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from etl.extract.candidates import OpenRow, keep_usable, log_candidates, names_of, next_candidates
from etl.extract.patch_rows import PatchRows
from etl.extract.resume import ResumeState
from etl.grid import TileGrid, nominal_origin
from etl.source.inspection import ProductInspection
from etl.source.product import Product

NAME = "S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_2017061{}T101608"
NOMINAL = nominal_origin("33UUP")
SHIFTED = TileGrid(NOMINAL.epsg, NOMINAL.ulx + 600, NOMINAL.uly)


def inspected(day, grid=NOMINAL, problem="", suffix=".SAFE"):
    name = NAME.format(day)
    product = None if problem else Product(name, name, "02.05", grid, {}, {}, 10_000.0)
    return ProductInspection(Path(name + suffix), name, product, problem=problem)


def test_products_that_cannot_be_read_are_passed_over():
    inspections = [inspected(3, problem="is no zip file"), inspected(2), inspected(1)]
    assert keep_usable((0, 1, 2), inspections) == ((1, 2), {0: "is no zip file"})


def test_where_none_can_be_read_the_first_stays_with_its_problem():
    inspections = [inspected(3, problem="is no zip file"), inspected(2, problem="B02 missing")]
    assert keep_usable((0, 1), inspections) == ((0,), {})
    assert keep_usable((), inspections) == ((), {})


def test_candidates_have_the_nominal_grid_of_their_tile_if_one_has_it():
    inspections = [inspected(3, SHIFTED), inspected(2), inspected(1)]
    usable, passed_over = keep_usable((0, 1, 2), inspections)
    assert usable == (1, 2)
    assert passed_over[0].startswith(
        "its grid must be 10980 px from 300000, 5400000 (EPSG:32633), got 10980 px from 30"
    )
    assert keep_usable((0,), inspections) == ((0,), {})
    cut_out = TileGrid(NOMINAL.epsg, NOMINAL.ulx, NOMINAL.uly, 1200)
    assert keep_usable((0, 1), [inspected(2, cut_out), inspected(1)])[0] == (1,)


def test_the_next_candidate_is_no_copy_of_the_same_product_unless_that_is_broken():
    names = ["a", "a", "b"]
    assert [next_candidates(names, number) for number in range(3)] == [(2, 1), (2, 2), (0, 0)]
    assert next_candidates(["a"], 0) == (0, 0)
    assert next_candidates(["a", "a"], 0) == (0, 1)


def test_names_are_those_of_usable_products_each_once():
    inspections = [inspected(2), inspected(2, suffix=".zip"), inspected(1), inspected(3, problem="broken")]
    assert names_of((0, 1, 2, 3), inspections) == [NAME.format(2), NAME.format(1)]


def test_it_is_said_what_is_passed_over_and_how_many_come_in_several_products(caplog):
    inspections = [inspected(3, problem="is no zip file", suffix=".zip"), inspected(2), inspected(1)]
    with caplog.at_level("INFO"):
        log_candidates(((1, 2), (1, 2), (1,)), [{0: "is no zip file"}] * 2 + [{}], inspections)
        log_candidates(((1,), ()), [{}, {}], inspections)
    assert [record.message for record in caplog.records] == [
        f"{NAME.format(3)}.zip is passed over: is no zip file; {NAME.format(2)}.SAFE serves instead",
        f"1 acquisition comes in several products (for example {NAME.format(2)}.SAFE, {NAME.format(1)}.SAFE): "
        "each patch is read from the first that has all its pixels",
    ]


@pytest.fixture
def state():
    rows = PatchRows(SimpleNamespace(), np.zeros((6, 2), np.intp), {}, np.ones(6, bool))
    return ResumeState(SimpleNamespace(), rows, np.empty(0, np.intp), SimpleNamespace(), ())


def test_a_pass_reads_the_open_rows_whose_turn_it_is(state):
    after_first = [{0: OpenRow("", 0.5, 0, 1), 4: OpenRow("broken", np.inf, 0, 2)}, {5: OpenRow("", 0.1, 0, 1)}]
    assert state.next_pass(0, after_first) == 1
    assert np.flatnonzero(state.rows.pending).tolist() == [0, 5]
    assert state.next_pass(1, [{0: OpenRow("", 0.25, 1, 2)}, {}]) == 2
    assert np.flatnonzero(state.rows.pending).tolist() == [0, 4]
    assert state.next_pass(2, [{}, {}]) == 0
    assert not state.rows.pending.any()
