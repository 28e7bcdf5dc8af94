"""Scores without a network: what they are on labels that can be counted by hand, and their table beside a run's."""

import json

import numpy as np
import pytest
from stores import TRAIN, VAL, training_store

from benchmarks.baselines import BandMeans, main, read_band_means, score_commonest, score_regression
from etl.schema import SPLITS

TEST = SPLITS.index("test")
CLASSES = ("bright", "even", "always", "never")


def rows(count, bright):
    """Rows whose first class shows in their single band and whose second one does not."""
    number = np.arange(count)
    labels = np.stack([bright, number % 2 == 0, np.ones(count), np.zeros(count)], 1).astype(np.uint8)
    return BandMeans(np.where(bright, 3000.0, 1000.0)[:, None] + number[:, None], labels, CLASSES)


@pytest.fixture
def splits():
    return {"train": rows(40, np.arange(40) < 10), "val": rows(20, np.arange(20) < 10), "test": rows(4, [1, 0, 0, 1])}


def test_the_regression_finds_what_shows_in_the_means_and_what_all_rows_share(splits):
    by_class = {scores["name"]: scores for scores in score_regression(splits)["at_half"]["classes"]}
    assert (by_class["bright"]["f1"], by_class["always"]["f1"], by_class["never"]["f1"]) == (1, 1, 0)
    assert by_class["bright"]["support"] == 2


def test_the_regressions_thresholds_are_those_with_the_highest_f1_on_val(splits):
    flipped = rows(20, np.arange(20) < 10)
    flipped.labels[:, 1] = 1  # on val every row has it, so each may be given it
    tuned = score_regression({**splits, "val": flipped})["tuned"]["classes"][1]
    assert (tuned["recall"], tuned["precision"]) == (1, 0.5)


def test_as_many_of_the_commonest_labels_are_given_as_are_best_on_val(splits):
    count, scores = score_commonest(splits)
    assert count == 3  # F1 on val with the first 1, 2, 3, 4 of always, even, bright, never: 2/3, 3/4, 4/5, 2/3
    assert scores["micro"]["precision"] == pytest.approx(8 / 12)
    assert scores["micro"]["recall"] == 1


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store.h5"
    arrays = training_store(path, [TRAIN, VAL, TEST, TRAIN, TRAIN])
    return path, arrays


def test_means_are_those_of_the_pixels_of_each_split(store):
    path, arrays = store
    found = read_band_means(path)
    assert {name: len(rows) for name, rows in found.items()} == {"train": 3, "val": 1, "test": 1}
    np.testing.assert_allclose(found["train"].means, arrays["data_super"][[0, 3, 4]].mean((1, 2)))
    assert np.array_equal(found["test"].labels, arrays["classes"][[2]])


def test_the_command_prints_the_scores_of_a_run_beside_both(store, tmp_path, capsys):
    of_run = {kind: {"micro": {"f1": f1}} for kind, f1 in (("tuned", 0.81), ("at_half", 0.72))}
    assert main([str(store[0]), str(tmp_path)]) == 2
    assert "evaluate.test.json" in capsys.readouterr().err
    (tmp_path / "evaluate.test.json").write_text(json.dumps({"scores": of_run}))
    assert main([str(store[0]), str(tmp_path)]) == 0
    heading, network, regression, commonest = capsys.readouterr().out.splitlines()
    assert "split test" in heading
    assert network.startswith("the network")
    assert network.split()[-2:] == ["0.810", "0.720"]
    assert regression.startswith("logistic regression")
    assert commonest.startswith("always the ")
    assert len(set(commonest.split()[-2:])) == 1
