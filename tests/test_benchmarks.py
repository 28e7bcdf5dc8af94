"""Scenarios run at their tiny size and answer in the agreed form; speeds are never asserted."""

import json
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.bars import BAR_ROWS, bar_table
from benchmarks.findings import Bar, interleave, put_ratio
from benchmarks.launch import Job, run
from benchmarks.model import Model, fit_model
from benchmarks.page_cache import resident_share, warm
from benchmarks.replay import Measured, draw, pack_tiles, replay
from benchmarks.runner import SCENARIOS, run_scenario
from benchmarks.setup import Setup
from benchmarks.table import BEGIN, END, README, figure_pages, read_records, write_tables
from etl.plan.layers import Layer
from etl.plan.work import Cost, ProductPatches, make_plan

UNITS = ("ratio", "share", "seconds", "per_second", "mib", "count", "inefficiency", "f1")
"""One of these words stands in every figure's name."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, made by the first scenario that needs them."""
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, Any]]:
    """What the scenarios answered, by name."""
    return {}


LONG = ("upsampling", "scale", "learn", "seeds", "sources")
"""Trainings as in `train`, once more, and a comparison of sources; `make bench` runs these, too."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in LONG])
def test_a_scenario_answers_its_question_in_one_record(name, cache, tmp_path, records):
    records[name] = run_scenario(name, Setup("tiny", tmp_path, cache), tmp_path / "out")
    record = json.loads((tmp_path / "out" / f"{name}.tiny.json").read_text())
    assert record["skipped"] == ""
    assert record["repeats"]
    assert record["ranks"]
    assert record["data"]
    assert {"question", "versions", "host", "layout", "notes", "commit", "load_before"} <= record.keys()
    for figure, value in record["figures"].items():
        assert isinstance(value, int | float), figure
        assert math.isfinite(value), figure
        assert any(unit in figure for unit in UNITS), figure
    for bar in record["bars"]:
        assert bar["value"] == record["figures"][bar["figure"]]
        assert bar["met"] == (bar["value"] >= bar["limit"] if bar["at_least"] else bar["value"] <= bar["limit"])
    assert not list(tmp_path.glob("benchmark-*")), "the scratch folder is left as it was"


@pytest.mark.slow
def test_the_table_is_written_between_the_markers_from_records_that_count(records, tmp_path):
    if not records:
        pytest.skip("no scenario has run")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nyesterday's\n{END}\nafter\n")
    with pytest.raises(ValueError, match="must hold records of size laptop or cluster"):
        write_tables(tmp_path, readme)
    for name, record in records.items():
        text = json.dumps(record | {"size": "laptop"}, default=str)
        (tmp_path / f"{name}.laptop.json").write_text(text)
    assert write_tables(tmp_path, readme) == len(records)
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "yesterday's" not in text
    pages = figure_pages(read_records(tmp_path))
    for name, record in records.items():
        assert (f"(#{name})" in text) == bool(record["bars"])
        page = pages[f"{name}.laptop"]
        assert record["question"] in page
        assert all(f"| {figure} |" in page for figure in record["figures"])


def test_the_table_in_the_readme_is_made_from_the_records_that_lie_beside_it():
    records = read_records(README.parent / "results")
    table = README.read_text().partition(BEGIN)[2].partition(END)[0]
    assert table.strip() == bar_table(list(records.values())), "run python -m benchmarks table"
    assert all(f"](results/{name}.json)" in README.read_text() for name in records)


def test_each_bar_of_a_record_is_in_one_line_of_the_table():
    for record in read_records(README.parent / "results").values():
        rows = [row for row in BAR_ROWS if row.scenario == record["benchmark"]]
        for bar in record["bars"]:
            assert sum(row.case_of(bar["figure"]) is not None for row in rows) == 1, bar["figure"]


def test_the_table_shows_the_worst_of_figures_with_one_bar_and_what_no_line_names():
    def bar(figure: str, value: float) -> dict[str, Any]:
        return {"figure": figure, "value": value, "limit": 0.8, "at_least": True, "aim": None, "met": value >= 0.8}

    bars = [bar(f"archive_over_read_bilinear_{n}_ranks_ratio_median", v) for n, v in ((1, 0.9), (2, 0.7))]
    record = {"benchmark": "archive", "size": "laptop", "figures": {}, "bars": [*bars, bar("new_ratio", 1234.5)]}
    _, _, worst, new = bar_table([record]).splitlines()
    assert "(worst of 2: 2 ranks) | not measured | not measured | 0.7 | >= 0.8 | **no** (1 of 2) |" in worst
    assert new == "| [`new_ratio`](#archive) | - | - | 1,234 | >= 0.8 | yes |"


def test_a_program_that_fails_is_named_with_what_it_said(tmp_path):
    setup = Setup("tiny", tmp_path, tmp_path)
    with pytest.raises(RuntimeError, match=r"(?s)etl.extract on 1 ranks must end with status 0, got 2.*nowhere"):
        run(setup, Job("etl.extract", ("--catalogue", str(tmp_path / "nowhere")), 1))


def test_what_a_rank_took_is_written_down(tmp_path):
    outcome = run(Setup("tiny", tmp_path, tmp_path), Job("etl.extract", ("--help",), 2))
    assert len(outcome.ranks) == 2
    # the kernel counts both to about a MiB
    assert all(rank["peak_resident_mib"] + 1 > rank["resident_mib"] > 5 for rank in outcome.ranks)
    assert outcome.cpu_s > 0
    assert 0 <= outcome.others_share <= 1


@pytest.mark.parametrize("argv", [["speed"], ["--size", "huge"], ["--repeats", "0"], ["--launcher", "srun"]])
def test_bad_arguments_end_with_status_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "must" in capsys.readouterr().err or "huge" in argv


def record_of(path: Path, figures: dict[str, float], **more: Any) -> Path:
    """A record with two figures that have a bar, one for each direction."""
    bars = [{"figure": "x_ratio_median", "limit": 1, "at_least": True}]
    record = {"benchmark": "extract", "size": "laptop", "figures": figures, "bars": bars, **more}
    path.write_text(json.dumps(record))
    return path


def test_what_got_slower_between_two_records_is_told(tmp_path, capsys):
    before = {
        "x_ratio_median": 1.0,
        "a_seconds_median": 1.0,
        "b_per_second_median": 100.0,
        "others_share": 0.1,
        "c": 1.0,
    }
    after = {"x_ratio_median": 0.8, "a_seconds_median": 1.2, "b_per_second_median": 101.0, "others_share": 0.9}
    files = [str(record_of(tmp_path / f"{k}.json", one)) for k, one in enumerate((before, after))]
    assert main(["compare", *files]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "x_ratio_median: 1 -> 0.8, worse by 25%",
        "a_seconds_median: 1 -> 1.2, worse by 20%",
    ]
    assert main(["compare", files[0], files[0]]) == 0
    assert "nothing got worse" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", None])
def test_what_is_no_record_is_refused_with_status_2(tmp_path, capsys, content):
    good, other = record_of(tmp_path / "a.json", {}), tmp_path / "b.json"
    if content is not None:
        other.write_text(content)
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(good), str(other)])
    assert stop.value.code == 2
    assert "b.json must be a record" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", str(good), str(record_of(other, {}, size="tiny"))])
    assert "of one scenario and size" in capsys.readouterr().err


def test_help_names_every_scenario(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in (*SCENARIOS, "table"))


def test_repeats_are_interleaved_and_every_second_one_is_reversed():
    order: list[str] = []

    def task(name):
        order.append(name)
        return SimpleNamespace(name=name, disturbance=0.0)

    results = interleave({name: partial(task, name) for name in "abc"}, 3)
    assert "".join(order) == "abccbaabc"
    for name in "abc":
        assert [run.name for run in results.runs_of(name)] == [name] * 3


def test_a_disturbed_repeat_is_made_again_and_does_not_count():
    seen = iter([0.0, 0.9, 0.0, 0.0])
    results = interleave({"a": lambda: SimpleNamespace(disturbance=next(seen))}, 3, spare=3)
    assert len(results.all) == 4
    assert [run.disturbance for run in results.runs_of("a")] == [0.0] * 3


def test_a_ratio_is_the_median_of_the_repeats_own_ratios():
    figures: dict[str, float] = {}
    put_ratio(figures, "x", [2.0, 30.0, 3.0], [1.0, 10.0, 1.0])
    assert figures == {"x_ratio_median": 3.0, "x_ratio_min": 2.0, "x_ratio_max": 3.0}


def test_a_bar_knows_its_direction():
    assert Bar("x", 1.15).met(1.15)
    assert not Bar("x", 1.15).met(1.16)
    assert Bar("x", 0.9, at_least=True).met(0.9)
    assert not Bar("x", 0.9, at_least=True).met(0.89)


def test_a_file_that_was_just_read_lies_in_the_page_cache(tmp_path):
    file = tmp_path / "bytes"
    file.write_bytes(bytes(1 << 20))
    assert warm([file]) == 1 << 20
    share = resident_share([file])
    assert math.isnan(share) or share == 1.0


LAYERS = (Layer("10m", 10, 4, (1200, 1200), (1024, 1024)), Layer("20m", 20, 6, (600, 600), (320, 320), 1))


def _products() -> list[ProductPatches]:
    j, i = np.divmod(np.arange(100), 10)
    return [ProductPatches(np.arange(100) + 100 * k, j, i, LAYERS) for k in range(3)]


MEASURED = Measured.of(LAYERS, {(layer.name, b): 0.1 + 0.01 * b for layer in LAYERS for b in range(4)})


@pytest.mark.parametrize("balance", ["cost", "paper"])
@pytest.mark.parametrize("ranks", [1, 2, 7, 40])
def test_a_replay_does_all_the_work_and_nobody_ends_before_its_own(balance, ranks):
    products = _products()
    done = replay(make_plan(products, ranks, balance), products, draw(products, MEASURED), 0.002)
    assert done.decode_s.sum() == pytest.approx(done.once_s * (1 + done.decoded_twice))
    assert done.busy_s.sum() == pytest.approx(done.decode_s.sum() + 300 * 0.002)
    assert (done.finish_s >= done.busy_s - 1e-9).all()
    assert done.inefficiency >= 1 - 1e-9
    assert done.inefficiency_with_waiting >= done.inefficiency - 1e-9


def test_a_replay_with_the_plans_own_seconds_is_what_the_plan_predicts():
    products, cost = _products(), Cost()
    plan = make_plan(products, 5, "cost", cost)
    own = Measured.of(
        LAYERS,
        {(y.name, b): cost.block_s(y, b) for y in LAYERS for b in range(4)},
    )
    done = replay(plan, products, draw(products, own), cost.patch_s)
    assert done.decode_s == pytest.approx(plan.decode_s)
    assert done.busy_s == pytest.approx(plan.busy_s)
    assert done.once_s == pytest.approx(plan.once_s)
    assert done.decode_inefficiency == pytest.approx(plan.inefficiency)


def test_drawn_seconds_are_the_same_for_the_same_seed_and_cover_what_is_needed():
    products = _products()
    one, other = draw(products, MEASURED, 0.2, seed=1), draw(products, MEASURED, 0.2, seed=1)
    assert one.keys() == {(tile, layer) for tile in range(3) for layer in range(2)}
    assert all((one[key] == other[key]).all() and (one[key] > 0).all() for key in one)
    assert not (one[0, 0] == draw(products, MEASURED, 0.2, seed=2)[0, 0]).all()


def test_whole_tiles_on_more_ranks_than_tiles_leave_ranks_without_work():
    products = _products()
    seconds = {(tile, 0): np.array([1.0, 2.0, np.nan]) for tile in range(3)}
    assert pack_tiles(products, seconds, 0.0, 3) == pytest.approx(1.0)
    assert pack_tiles(products, seconds, 0.0, 2) == pytest.approx(2 * 6 / 9)
    assert pack_tiles(products, seconds, 0.01, 30) == pytest.approx(10.0)


def test_a_model_of_epochs_finds_the_parts_that_made_them():
    made = Model(1000.0, 0.02, 3.0)
    workers = [1, 2, 4, 8]
    steps = [800 / n for n in workers]
    found = fit_model(workers, steps, [made.epoch_s(n, k) for n, k in zip(workers, steps, strict=True)])
    assert found.work_s == pytest.approx(1000)
    assert found.together_s == pytest.approx(0.02)
    assert found.rest_s == pytest.approx(3)
    assert fit_model([1, 2], [2, 1], [10.0, 4.9]).rest_s == 0
