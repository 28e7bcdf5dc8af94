"""Scores held against scikit-learn, tuned thresholds against brute force, and the paper's own numbers."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from etl.labels import CLASSES_43
from trainer.fit.metrics import row_cross_entropy, score_predictions, scores_line, tuned_thresholds
from trainer.report import paper


@st.composite
def predictions(draw):
    """(labels, probabilities) with empty classes, full classes, ties, and probabilities of exactly 0 and 1."""
    rows, classes = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = (rng.random((rows, classes)) < rng.choice([0, 0.2, 0.7, 1], classes)).astype(np.uint8)
    values = rng.random((rows, classes), np.float32)
    steps = draw(st.sampled_from([0, 1, 4]))
    return labels, np.round(values * steps) / np.float32(steps) if steps else values


def f1_of(labels, predicted):
    return sk.f1_score(labels, predicted, zero_division=0)


@settings(max_examples=60)
@given(predictions())
def test_scores_equal_those_of_scikit_learn_class_by_class(drawn):
    labels, probabilities = drawn
    classes = labels.shape[1]
    thresholds = np.linspace(0.2, 0.8, classes).astype(np.float32)
    found = score_predictions(labels, probabilities, thresholds, [f"class {k}" for k in range(classes)])
    predicted = (probabilities >= thresholds).astype(np.uint8)
    assert found["rows"] == len(labels)
    for k, one in enumerate(found["classes"]):
        assert one["name"] == f"class {k}"
        assert one["precision"] == sk.precision_score(labels[:, k], predicted[:, k], zero_division=0)
        assert one["recall"] == sk.recall_score(labels[:, k], predicted[:, k], zero_division=0)
        assert one["f1"] == f1_of(labels[:, k], predicted[:, k])
        assert one["support"] == labels[:, k].sum()
        assert one["threshold"] == thresholds[k]
        if not one["support"]:
            assert one["average_precision"] is None
        else:
            assert one["average_precision"] == sk.average_precision_score(labels[:, k], probabilities[:, k])
    assert found["micro"]["f1"] == pytest.approx(f1_of(labels.ravel(), predicted.ravel()))
    assert found["macro"]["f1"] == pytest.approx(np.mean([one["f1"] for one in found["classes"]]))
    support = labels.sum(0)
    if support.any():
        of_each = [one["f1"] for one in found["classes"]]
        assert found["weighted"]["f1"] == pytest.approx(np.average(of_each, weights=support))


@settings(max_examples=60)
@given(predictions())
def test_scores_of_rows_and_of_their_order_equal_those_of_scikit_learn(drawn):
    labels, probabilities = drawn
    found = score_predictions(labels, probabilities, 0.5, list(map(str, range(labels.shape[1]))))
    predicted = probabilities >= np.float32(0.5)
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(labels, predicted))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    log_loss = sk.log_loss(labels.ravel(), probabilities.ravel(), labels=[0, 1])
    assert found["loss"] == pytest.approx(log_loss, rel=1e-5)
    average_precision = sk.average_precision_score(labels, probabilities, average="micro") if labels.any() else 0
    assert found["micro_average_precision"] == pytest.approx(average_precision)
    # by its definition; of equal probabilities the first is the highest
    assert found["one_error"] == np.mean([not row[values.argmax()] for row, values in zip(*drawn, strict=True)])
    if labels.shape[1] == 1:  # scikit-learn takes no single class: there is no order, and one class covers a label
        assert (found["ranking_loss"], found["coverage_error"]) == (0, labels.mean())
    else:
        assert found["ranking_loss"] == pytest.approx(sk.label_ranking_loss(labels, probabilities))
        assert found["coverage_error"] == pytest.approx(sk.coverage_error(labels, probabilities))


def test_the_loss_of_a_row_is_the_mean_over_its_classes_and_stays_finite():
    labels = np.array([[1, 0], [1, 0], [1, 1]], np.uint8)
    values = np.array([[0.5, 0.25], [0, 1], [1, 1]], np.float32)
    first, worst, best = row_cross_entropy(labels, values)
    assert first == pytest.approx((np.log(2) + np.log(4 / 3)) / 2)
    assert worst == pytest.approx(-np.log(2.0**-23))
    assert best == pytest.approx(2.0**-23)
    assert row_cross_entropy(labels[:2], values[:2], single_label=True) == pytest.approx([np.log(2), -np.log(2.0**-23)])


@settings(max_examples=60)
@given(st.data())
def test_data_of_one_class_a_row_have_accuracy_and_confusion_matrix(data):
    rows, classes = data.draw(st.integers(1, 30)), data.draw(st.integers(2, 5))
    true = data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    values = np.random.default_rng(rows).random((rows, classes), np.float32)
    values /= values.sum(axis=1, keepdims=True)
    found = score_predictions(np.eye(classes, dtype=np.uint8)[true], values, 0.5, list("abcde"[:classes]), True)
    chosen = values.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, chosen))
    assert found["confusion"] == sk.confusion_matrix(true, chosen, labels=range(classes)).tolist()
    assert found["accuracy"] == pytest.approx(1 - found["one_error"])
    assert found["loss"] == pytest.approx(sk.log_loss(true, values, labels=range(classes)), rel=1e-5)
    assert scores_line(found).endswith(f", accuracy {found['accuracy']:.3f}")
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(("row", "count"), [([0, 0], 0), ([1, 1], 2)])
def test_a_row_without_one_class_is_refused_as_data_of_one_class_a_row(row, count):
    labels = np.array([[1, 0], row], np.uint8)
    with pytest.raises(ValueError, match=f"each row must have one class, got {count} in row 1"):
        score_predictions(labels, np.full((2, 2), 0.5, np.float32), 0.5, ["a", "b"], single_label=True)


def test_means_equal_those_of_scikit_learn_on_classes_together():
    rng = np.random.default_rng(0)
    labels, values = (rng.random((200, 7)) < 0.3).astype(np.uint8), rng.random((200, 7), np.float32)
    labels[:, 3] = 0
    found = score_predictions(labels, values, 0.4, list("abcdefg"))
    for mean in ("micro", "macro", "weighted"):
        one = sk.precision_recall_fscore_support(labels, values >= np.float32(0.4), average=mean, zero_division=0)
        assert list(found[mean].values()) == list(one[:3])
        assert list(found[mean]) == ["precision", "recall", "f1"]
    occurring = [0, 1, 2, 4, 5, 6]
    mean = sk.average_precision_score(labels[:, occurring], values[:, occurring], average="macro")
    assert found["mean_average_precision"] == pytest.approx(mean)


def test_scores_are_plain_data_also_where_no_label_occurs():
    none = np.zeros((3, 2), np.uint8)
    found = score_predictions(none, np.full((3, 2), 0.1, np.float32), 0.5, np.array(["a", "b"]))
    assert json.loads(json.dumps(found)) == found
    assert found["mean_average_precision"] == 0
    assert found["micro"] == found["macro"] == found["weighted"] == {"precision": 0, "recall": 0, "f1": 0}


def test_a_probability_equal_to_the_threshold_is_a_positive():
    at = np.array([[0.3], [0.29999998]], np.float32)
    found = score_predictions(np.array([[1], [0]], np.uint8), at, 0.3, ["a"])
    assert found["classes"][0]["f1"] == 1


@pytest.mark.slow
@settings(max_examples=200)
@given(predictions())
def test_no_threshold_has_a_higher_f1_than_the_tuned_one(drawn):
    labels, probabilities = drawn
    tuned = tuned_thresholds(labels, probabilities, least=1)
    assert tuned.dtype == np.float32
    assert ((tuned > 0) & (tuned < 1)).all()
    tried = np.unique(np.append(probabilities, np.float32([0.5, 1e-9, 1 - 2**-24])))
    for k, threshold in enumerate(tuned):
        best = max(f1_of(labels[:, k], probabilities[:, k] >= t) for t in tried[(tried > 0) & (tried < 1)])
        assert f1_of(labels[:, k], probabilities[:, k] >= threshold) == pytest.approx(best)
        if not labels[:, k].any():
            assert threshold == 0.5


def test_tuned_thresholds_are_never_worse_than_one_half_on_the_rows_they_are_tuned_on():
    rng = np.random.default_rng(1)
    labels, values = (rng.random((500, 9)) < 0.1).astype(np.uint8), rng.random((500, 9), np.float32)
    names = list("abcdefghi")
    half = score_predictions(labels, values, 0.5, names)["classes"]
    tuned = score_predictions(labels, values, tuned_thresholds(labels, values), names)["classes"]
    assert all(one["f1"] >= other["f1"] for one, other in zip(tuned, half, strict=True))


@pytest.mark.parametrize(
    ("values", "labels", "threshold"),
    [
        ([0.8, 0.4, 0.2], [1, 1, 0], 0.3),  # midway
        ([0.8, 0.4], [1, 1], 0.2),  # midway to 0
        ([1, 1 - 2**-24], [1, 0], (1 - 2**-24) / 2),  # only a threshold of 1 could part them
        ([0.5 + 2**-24, 0.5], [1, 0], 0.5 + 2**-24),  # neighbours
        ([1e-45, 0], [1, 0], 1e-45),  # the least number above 0
        ([0, 0], [1, 0], 0.5),  # no threshold finds it
    ],
)
def test_a_tuned_threshold_parts_what_can_be_parted(values, labels, threshold):
    found = tuned_thresholds(np.array(labels, np.uint8)[:, None], np.array(values, np.float32)[:, None], least=1)
    assert found[0] == np.float32(threshold)


def test_a_threshold_is_not_tuned_on_a_handful_of_rows():
    values = np.linspace(0.01, 0.2, 40, dtype=np.float32)[:, None].repeat(2, axis=1)
    labels = np.zeros((40, 2), np.uint8)
    labels[-9:, 0] = labels[-10:, 1] = 1
    few, enough = tuned_thresholds(labels, values)
    assert few == 0.5
    assert 0.1 < enough < 0.2


def test_a_diverged_training_is_told_by_row_and_class():
    values = np.full((4, 2), 0.5, np.float32)
    values[2, 1] = np.nan
    for function in (lambda *a: score_predictions(*a, 0.5, ["a", "b"]), tuned_thresholds):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got nan in row 2, class 1 \(1 such\)"):
            function(np.zeros((4, 2), np.uint8), values)


@pytest.mark.parametrize(
    ("labels", "values", "names", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "ab", r"one shape \(row, class\), neither 0, got \(2, 2\) and \(2, 3\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "ab", "neither 0"),
        (np.full((1, 2), 2), np.zeros((1, 2)), "ab", "must be 0 or 1, got 2"),
        (np.zeros((1, 2)), np.zeros((1, 2)), "abc", "names must be one per class, 2, got 3"),
    ],
)
def test_what_does_not_fit_together_is_an_error(labels, values, names, message):
    with pytest.raises(ValueError, match=message):
        score_predictions(labels.astype(np.uint8), values.astype(np.float32), 0.5, list(names))


def test_importing_the_scores_does_not_import_scikit_learn():
    code = "import sys, trainer.fit.metrics; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=100, check=False).returncode == 0


def test_the_papers_classes_are_bigearthnets_in_order_and_sum_to_what_the_paper_says():
    assert tuple(paper.CLASS_SCORES) == CLASSES_43
    each = paper.CLASS_SCORES.values()
    support = np.array([one.support for one in each])
    assert support.sum() == 308_272
    for kind, weighted, plain in (("f1_all", 0.774, 0.607), ("f1_rgb", 0.754, 0.574)):
        f1 = [getattr(one, kind) for one in each]
        assert round(np.average(f1, weights=support), 3) == weighted
        assert round(np.mean(f1), 3) == plain
    better = {name for name, one in paper.CLASS_SCORES.items() if one.f1_rgb > one.f1_all}
    assert better == {
        "Airports", "Bare rock", "Peatbogs", "Port areas", "Sea and ocean", "Sport and leisure facilities",
        "Industrial or commercial units",
    }  # fmt: skip


def test_the_papers_global_scores_and_times_fit_each_other():
    for one in paper.SCORES.values():
        f1 = 2 * one.precision * one.recall / (one.precision + one.recall)
        assert f1 == pytest.approx(one.f1, abs=0.01)  # each rounded to two digits
    first, last, epochs = paper.EPOCH_SECONDS[1], paper.EPOCH_SECONDS[24], 100  # epochs of section 3.5
    assert first * epochs == pytest.approx(paper.TOTAL_SECONDS[1], rel=0.01)
    assert last * epochs <= paper.TOTAL_SECONDS[24]
