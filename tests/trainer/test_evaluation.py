"""Intervals against resamples one by one, calibration against a plain loop, curves and tiles against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from trainer.fit import bootstrap
from trainer.fit.bootstrap import bootstrap_intervals, resample_weights
from trainer.fit.curves import calibration, precision_recall_curves
from trainer.fit.evaluation import scores_by_tile
from trainer.fit.metrics import predicted_by, score_predictions


def drawn_predictions(rows, classes, seed=0, decimals=7):
    """(labels, probabilities) of which the second tell something of the first; the last class of several is empty."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, classes)) < 0.3).astype(np.uint8)
    labels[:, 1:][:, -1:] = 0
    return labels, np.round(0.7 * rng.random((rows, classes)) + 0.3 * labels, decimals).astype(np.float32)


def names_of(labels):
    return [f"class {k}" for k in range(labels.shape[1])]


def all_weights(rows, resamples, seed):
    """Weights of all rows, shape (resample, row)."""
    return np.concatenate([weights for _, weights in resample_weights(rows, resamples, seed)], axis=1)


def macro_f1(labels, predicted, weights):
    """The mean of the classes that a resample has or predicts, times their share in all rows."""
    there = labels.any(axis=0) | predicted.any(axis=0)
    pairs = [pair for pair in zip(labels.T, predicted.T, strict=True) if (weights * (pair[0] | pair[1])).any()]
    return np.mean([sk.f1_score(*pair, sample_weight=weights) for pair in pairs]) * there.mean()


@pytest.mark.parametrize("rows", [1, 7, 2500])  # of 2,500 rows there are three blocks
def test_a_resample_draws_as_many_rows_as_there_are_and_each_as_often(rows):
    weights = all_weights(rows, 400, 3)
    assert weights.shape == (400, rows)
    assert (weights.sum(axis=1) == rows).all()
    assert (weights == all_weights(rows, 400, 3)).all()
    assert (weights != all_weights(rows, 400, 4)).any() == (rows > 1)
    # binomial: mean 1, variance 1 - 1 / rows
    assert weights.var() == pytest.approx(1 - 1 / rows, abs=0.1)
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize(
    ("rows", "classes", "decimals", "within"),
    [(60, 4, 7, 1e-6), (40, 1, 1, 1e-6), (1500, 5, 7, 1e-3)],
)
def test_intervals_are_percentiles_over_resamples_scored_one_by_one(rows, classes, decimals, within, monkeypatch):
    monkeypatch.setattr(bootstrap, "_RESAMPLES", 12)
    monkeypatch.setattr(bootstrap, "_MAX_CUTS", 100)  # 60 rows have fewer true labels, 1,500 have more
    labels, values = drawn_predictions(rows, classes, rows, decimals)
    kinds = {
        kind: score_predictions(labels, values, limit, names_of(labels))
        for kind, limit in (("low", np.linspace(0.1, 0.4, classes, dtype=np.float32)), ("high", 0.6))
    }
    found = bootstrap_intervals(labels, values, kinds)
    for kind, of_kind in kinds.items():
        predicted = predicted_by(of_kind, values)
        scores = [
            {
                "micro_f1": sk.f1_score(labels.ravel(), predicted.ravel(), sample_weight=np.repeat(weights, classes)),
                "macro_f1": macro_f1(labels, predicted, weights),
                "micro_average_precision": sk.average_precision_score(
                    labels.ravel(), values.ravel(), sample_weight=np.repeat(weights, classes)
                ),
            }
            for weights in all_weights(rows, 12, 0)
        ]
        for name, interval in found[kind].items():
            wanted = np.percentile([one[name] for one in scores], [2.5, 97.5])
            assert interval == pytest.approx(wanted, abs=within), (kind, name)


def test_classes_that_resamples_lack_do_not_draw_macro_f1_down():
    labels = np.eye(8, dtype=np.uint8)  # each class has one row, which every third resample lacks
    scores = score_predictions(labels, labels.astype(np.float32), 0.5, names_of(labels))
    assert bootstrap_intervals(labels, labels.astype(np.float32), {"": scores})[""]["macro_f1"] == (1, 1)


def test_an_interval_holds_the_score_also_where_no_label_occurs():
    labels, values = drawn_predictions(300, 3)
    for true in (labels, np.zeros_like(labels)):
        scores = score_predictions(true, values, 0.5, names_of(labels))
        found = bootstrap_intervals(true, values, {"at_half": scores})["at_half"]
        points = {"micro_f1": scores["micro"]["f1"], "macro_f1": scores["macro"]["f1"]}
        points["micro_average_precision"] = scores["micro_average_precision"]
        for name, (low, high) in found.items():
            assert low <= points[name] <= high
            assert (low < high) == true.any()


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 7]))
def test_calibration_equals_a_plain_loop_over_fifteen_bins(rows, classes, seed, decimals):
    labels, values = drawn_predictions(rows, classes, seed, decimals)
    found = calibration(labels, values)
    error, bins = 0.0, []
    for k in range(15):
        pairs = [
            (float(value), int(true))
            for value, true in zip(values.ravel(), labels.ravel(), strict=True)
            if k <= float(value) * 15 < k + 1 or (k == 14 and value == 1)
        ]
        if pairs:
            mean, share = (sum(part) / len(pairs) for part in zip(*pairs, strict=True))
            error += len(pairs) / labels.size * abs(mean - share)
            bins.append((len(pairs), pytest.approx(mean), pytest.approx(share)))
    assert [tuple(one.values()) for one in found["bins"]] == bins
    assert found["expected_calibration_error"] == pytest.approx(error)


def test_a_sure_and_right_prediction_is_calibrated_and_a_sure_and_wrong_one_is_not():
    labels = np.eye(3, dtype=np.uint8)
    assert calibration(labels, labels.astype(np.float32))["expected_calibration_error"] == 0
    assert calibration(labels, 1 - labels.astype(np.float32))["expected_calibration_error"] == 1


@pytest.mark.parametrize(("rows", "points"), [(20, None), (3000, 200)])
def test_the_points_of_a_curve_are_points_of_scikit_learns(rows, points):
    labels, values = drawn_predictions(rows, 3)
    found = precision_recall_curves(labels, values, names_of(labels))
    assert list(found["classes"]) == ["class 0", "class 1"]
    curves = [(found["micro"], labels.ravel(), values.ravel())]
    curves += [(found["classes"][f"class {k}"], labels[:, k], values[:, k]) for k in (0, 1)]
    for curve, true, probabilities in curves:
        recall, precision, threshold = curve["recall"], curve["precision"], curve["threshold"]
        assert len(recall) == len(precision) == len(threshold)
        assert points in (None, len(recall))
        assert recall == sorted(recall)
        assert recall[-1] == 1
        for position in (0, len(recall) // 2, -1):
            predicted = probabilities >= threshold[position] - 1e-6
            assert recall[position] == pytest.approx(sk.recall_score(true, predicted), abs=1e-6)
            assert precision[position] == pytest.approx(sk.precision_score(true, predicted), abs=1e-6)


def test_there_is_no_curve_without_labels():
    none = np.zeros((3, 2), np.uint8)
    assert precision_recall_curves(none, np.zeros((3, 2), np.float32), "ab") == {"micro": None, "classes": {}}


def test_scores_by_tile_are_those_of_its_rows_and_of_the_classes_that_it_has():
    labels, values = drawn_predictions(50, 5, 2)
    tiles = np.array([b"33UUP", b"29SND", b"34VDN"])[np.arange(50) % 3]
    tiles[:4] = b"35VMG"
    labels[:4], values[:4] = 0, 0  # nothing is true or predicted there
    values[:, 4] = 0
    predicted = values >= np.float32(0.5)
    found = {one.pop("tile"): one for one in scores_by_tile(labels, predicted, tiles)}
    assert list(found) == ["29SND", "33UUP", "34VDN", "35VMG"]
    assert found.pop("35VMG") == {"rows": 4, "micro_f1": 0, "macro_f1": 0}
    for tile, scores in found.items():
        of_tile = tiles == tile.encode()
        true, positive = labels[of_tile], predicted[of_tile]
        there = true.any(axis=0) | positive.any(axis=0)
        assert not there.all()
        assert scores["rows"] == of_tile.sum()
        assert scores["micro_f1"] == pytest.approx(sk.f1_score(true, positive, average="micro"))
        macro = sk.f1_score(true[:, there], positive[:, there], average="macro", zero_division=0)
        assert scores["macro_f1"] == pytest.approx(macro)
