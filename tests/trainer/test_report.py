"""`python -m trainer.report` on run folders made by hand: what the page holds, what is left out, and bad input."""

import base64
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.labels import CLASSES_19, CLASSES_43
from trainer.fit.evaluation import evaluate_predictions
from trainer.fit.metrics import score_predictions
from trainer.report import drawing, score_drawing
from trainer.report.__main__ import main
from trainer.report.contact_sheet import MISSED, RIGHT, WRONG, contact_sheet, label_verdicts
from trainer.report.evaluations import confusion_of, evaluation_of, worst_tiles
from trainer.report.html_report import render_report
from trainer.report.runs import open_runs, open_samples
from trainer.report.scaling import ANY_LENGTH, ANY_STORE, perfect_scaling, scaling_series
from trainer.report.style import STYLE

NAMES = ("Pastures", "Rice <fields>", "Never & nowhere")


def found_scores(names=NAMES, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((20, len(names))) < 0.5).astype(np.uint8)
    labels[:, -1] = 0
    return score_predictions(labels, rng.random(labels.shape, np.float32), 0.5, names)


def epochs_of(seconds, score=None):
    return [
        {"epoch": k, "loss": 0.5 / k, "seconds": s, "seconds_validating": 1.0, "val": score}
        for k, s in enumerate(seconds, 1)
    ]


def make_run(folder, **record):
    folder.mkdir(parents=True)
    settings = {"bands": "all", "store": "data/store.h5", "batch": "64", "seed": "0", "out": str(folder)}
    settings |= record.pop("settings", {})
    base = {"command": "trainer.run", "workers": 1, "rows": 640, "settings": settings, "software": {"keras": "3.15.1"}}
    (folder / "run.json").write_text(json.dumps(base | record))
    return folder


SAMPLES = {
    "rgb": np.full((2, 120, 120, 3), 90, np.uint8),
    "patch": np.array([b"patch_one", b"patch_two"], "S64"),
    "labels": np.array([[1, 0, 1], [0, 0, 0]], np.uint8),
    "probabilities": np.array([[0.9, 0.5, 0.2], [0.1, 0.1, 0.1]], np.float32),
}

OF_THE_PAPER = {"archive": "BigEarthNet v1", "classes": CLASSES_43}
"""What the record of a run says whose store can be held against the paper."""


def make_samples(folder, **changed):
    """Write samples.npz with what an old version wrote, and with what is `changed`."""
    np.savez(folder / "samples.npz", **{**SAMPLES, "classes": np.array(NAMES), **changed})


class Tiles:
    """The part of a store that names tiles: of 40 rows, four tiles of ten."""

    def __contains__(self, name):
        return name == "tile"

    def column(self, name):
        return np.repeat([b"29SND", b"33UUP", b"34VDN", b"35VMG"], 10)


def evaluate(folder, names=NAMES, single_label=False):
    """Write evaluate.test.json, as trainer.evaluate does, of 40 rows into the folder of a run; returns its content."""
    rng = np.random.default_rng(5)
    true = np.arange(40) % 2
    labels = np.eye(len(names), dtype=np.uint8)[true] if single_label else np.tile([[1, 0, 0], [1, 1, 0]], (20, 1))
    values = (0.6 * rng.random(labels.shape) + 0.4 * labels).astype(np.float32)
    rows = SimpleNamespace(labels=labels.astype(np.uint8), classes=names, reader=Tiles(), store_rows=np.arange(40))
    scores = {"at_half": score_predictions(rows.labels, values, 0.5, names, single_label)}
    record = {"command": "trainer.evaluate", "split": "test", **evaluate_predictions(rows, values, scores)}
    (folder / "evaluate.test.json").write_text(json.dumps(record))
    return record


def report(out, *folders):
    """(exit status, text of the page)."""
    status = main([*map(str, folders), "--out", str(out)])
    return status, (out / "report.html").read_text()


def pictures(out):
    return {path.name for path in out.glob("*.png")}


def test_a_full_run_is_drawn_whole(tmp_path, capsys):
    one = found_scores(CLASSES_43)
    run = make_run(
        tmp_path / "run", loss=[0.7, 0.5], seconds=[3.0, 1.0], steps=2, epochs=2, upsample="bilinear",
        by_epoch=epochs_of([3, 1], one), scores={"test": {"at_half": one, "tuned": one}, "val": {"at_half": one}},
        **OF_THE_PAPER,
    )  # fmt: skip
    make_samples(run)
    status, text = report(tmp_path / "out", run)
    assert status == 0
    assert pictures(tmp_path / "out") == {
        "loss_by_step.png", "loss_by_epoch.png", "f1_by_epoch.png", "f1_by_class.png", "samples_1.png",
    }  # fmt: skip
    assert "1 run, 5 of 11 figures ->" in capsys.readouterr().out
    for words in (
        "bilinear",
        "3.15.1",
        "store.h5, BigEarthNet v1",
        "The paper does not state its split",
        "paper (rgb, 4 GPUs)",
        "0.770",
        "tuned",
        "Sea and ocean",
    ):
        assert words in text
    assert "<td>Land principally occupied by agriculture, with significant areas of natural vegetation</td>" in text
    assert '<td class="number">26,447</td>' in text


@pytest.mark.parametrize(
    ("record", "evaluated"),
    [
        ({"archive": "", "classes": CLASSES_43}, ""),  # the drawn sample has the classes, too
        ({"classes": CLASSES_43}, ""),  # of an older version
        ({"archive": "BigEarthNet v2", "classes": CLASSES_43}, "BigEarthNet v2"),
        ({"archive": "BigEarthNet v1", "classes": CLASSES_19}, "BigEarthNet v1"),
        (OF_THE_PAPER, ""),  # evaluated on another store
    ],
)
def test_the_paper_is_left_out_unless_every_store_says_that_its_patches_are_those_of_the_paper(
    tmp_path, record, evaluated
):
    score = found_scores(CLASSES_43)
    first = make_run(tmp_path / "first", by_epoch=epochs_of([3, 3], score), **OF_THE_PAPER)
    run = make_run(tmp_path / "run", by_epoch=epochs_of([3, 3], score), workers=2, settings={"store": "a/x.h5"},
                   scores={"val": {"at_half": score}}, **record)  # fmt: skip
    said = {"command": "trainer.evaluate", "split": "test", "scores": {"at_half": score}, "archive": evaluated}
    (run / "evaluate.test.json").write_text(json.dumps(said))
    _, alone = report(tmp_path / "alone", first)
    _, text = report(tmp_path / "out", first, run)
    assert "Sea and ocean" in text
    assert "x.h5" in text
    for words in ("4 GPUs", "aper (rgb", "0.770", "F1, paper", "table 2", "table 3", "figure 3", "does not state"):
        assert words not in text
    assert "table 2" in alone
    figures = [
        drawing.f1_by_epoch(open_runs([first, run]), with_paper=with_paper).axes[0].get_lines()
        for with_paper in (False, True)
    ]
    assert [len(lines) for lines in figures] == [2, 4]


def test_the_page_holds_its_pictures_and_needs_no_other_file(tmp_path):
    _, text = report(tmp_path / "out", make_run(tmp_path / "run", loss=[0.7, 0.5]))
    sources = re.findall(r'(?:src|href)="([^"]{0,22})', text)
    assert sources == ["data:image/png;base64,"]
    held = base64.b64decode(re.findall(r'base64,([^"]+)"', text)[0])
    assert held == (tmp_path / "out" / "loss_by_step.png").read_bytes()
    assert held.startswith(b"\x89PNG")


def test_what_the_runs_do_not_hold_is_left_out_and_named(tmp_path):
    status, text = report(tmp_path / "out", make_run(tmp_path / "run", workers=None, settings={}, software=None))
    assert status == 0
    assert pictures(tmp_path / "out") == set()
    assert text.count("Left out: ") == 14  # eleven figures, the tables of scores, of tiles and of versions
    assert "no run holds samples.npz" in text
    assert "it needs runs with the same settings and different numbers of workers" in text


def test_a_picture_of_an_earlier_report_does_not_stay(tmp_path):
    first, second = make_run(tmp_path / "a", loss=[1.0]), make_run(tmp_path / "b")
    make_samples(first)
    report(tmp_path / "out", second, first)
    assert pictures(tmp_path / "out") == {"loss_by_step.png", "samples_2.png"}
    report(tmp_path / "out", second)
    assert pictures(tmp_path / "out") == set()


def test_what_was_evaluated_since_stands_with_what_the_run_recorded(tmp_path):
    val, test = found_scores(seed=1), found_scores(seed=2)
    folder = make_run(tmp_path / "run", scores={"val": {"at_half": val}})
    said = {"command": "trainer.evaluate", "split": "test", "scores": {"at_half": test}}
    (folder / "evaluate.test.json").write_text(json.dumps(said))
    (run,) = open_runs([folder])
    assert run.scores("val") == val
    assert run.scores("test") == test
    assert "run (all, 1 worker), test" in report(tmp_path / "out", folder)[1]


def test_what_an_evaluation_adds_is_drawn_and_in_the_tables(tmp_path):
    folders = [make_run(tmp_path / name) for name in "ab"]
    scores = evaluate(folders[0])["scores"]["at_half"]
    evaluate(folders[1], single_label=True)
    worst = {f"worst_{name}": value for name, value in SAMPLES.items()}
    make_samples(folders[0], **worst, worst_loss=np.array([2.5, 0.25]))
    status, text = report(tmp_path / "out", *folders)
    assert status == 0
    assert pictures(tmp_path / "out") == {
        "f1_by_class.png", "precision_recall.png", "reliability.png", "confusion_2.png", "samples_1.png", "worst_1.png",
    }  # fmt: skip
    low, high = scores["intervals"]["micro_f1"]
    assert f"<td>{scores['micro']['f1']:.3f} ({low:.3f} to {high:.3f})</td>" in text
    for name in ("ranking_loss", "coverage_error", "one_error", "loss", "hamming_loss", "subset_accuracy"):
        shown = f"{scores[name]:.4g}" if scores[name] >= 1 else f"{scores[name]:.3f}"
        assert f'<td class="number">{shown}</td>' in text
    tiles = sorted(scores["tiles"], key=lambda tile: tile["micro_f1"])
    found = re.findall(r"<td>a .*</td><td>test</td><td>(\w{5})</td><td class=\"number\">10</td>", text)
    assert found == [tile["tile"] for tile in tiles]
    report(tmp_path / "out", *reversed(folders))
    assert {"confusion_1.png", "samples_2.png", "worst_2.png"} <= pictures(tmp_path / "out")
    assert not {"confusion_2.png", "samples_1.png", "worst_1.png"} & pictures(tmp_path / "out")


def test_curves_are_drawn_for_all_labels_and_for_each_class_that_occurs(tmp_path):
    folder = make_run(tmp_path / "run")
    record = evaluate(folder)
    (run,) = open_runs([folder])
    figure = score_drawing.precision_recall([run])
    curves = record["precision_recall"]
    drawn = {axes.get_title(): axes.lines[0] for axes in figure.axes if axes.lines}
    assert list(drawn) == ["all labels (micro)", NAMES[0], NAMES[1]]  # 40 rows, 20 rows
    for line, curve in zip(drawn.values(), (curves["micro"], *curves["classes"].values()), strict=True):
        assert line.get_xdata().tolist() == curve["recall"]
        assert line.get_ydata().tolist() == curve["precision"]
    upper, _ = score_drawing.reliability([run]).axes
    bins = record["calibration"]["bins"]
    assert upper.lines[1].get_ydata().tolist() == [one["share"] for one in bins]
    assert f"error {record['calibration']['expected_calibration_error']:.3f}" in upper.lines[1].get_label()


def test_a_confusion_matrix_counts_rows_by_true_and_predicted_class(tmp_path):
    folder = make_run(tmp_path / "run")
    assert confusion_of(open_runs([folder])[0]) is None
    record = evaluate(folder, single_label=True)
    confusion = confusion_of(open_runs([folder])[0])
    assert (confusion.split, confusion.classes) == ("test", NAMES)
    assert confusion.counts.tolist() == record["scores"]["at_half"]["confusion"]
    numbers = [text.get_text() for text in score_drawing.confusion_matrix(confusion).axes[0].texts]
    assert numbers == [str(count) for count in confusion.counts.ravel().tolist() if count]


def test_names_from_records_are_escaped(tmp_path):
    score = found_scores()
    run = make_run(tmp_path / "run", settings={"bands": "<b>"}, scores={"test": {"at_half": score}})
    _, text = report(tmp_path / "out", run)
    assert "Rice &lt;fields&gt;" in text
    assert "Never &amp; nowhere" in text
    assert "<b>" not in text


def test_settings_in_which_runs_differ_are_marked(tmp_path):
    runs = [make_run(tmp_path / bands, settings={"bands": bands}) for bands in ("rgb", "all")]
    _, text = report(tmp_path / "out", *runs)
    assert '<tr class="differs"><td>bands</td><td>rgb</td><td>all</td></tr>' in text
    assert "<tr><td>batch</td><td>64</td><td>64</td></tr>" in text


def test_an_exploded_loss_is_drawn_up_to_where_it_is_a_number(tmp_path):
    run = make_run(tmp_path / "run", loss=[0.7, 1e9, float("nan"), float("inf")] * 400)
    status, _ = report(tmp_path / "out", run)
    assert status == 0
    assert "loss_by_step.png" in pictures(tmp_path / "out")


def test_a_run_has_one_colour_in_all_figures(tmp_path):
    epochs = epochs_of([3, 3], found_scores())
    folders = [make_run(tmp_path / "a", loss=[0.5, 0.4]), make_run(tmp_path / "b", by_epoch=epochs, loss=[0.6, 0.3])]
    runs = open_runs(folders)
    by_step, by_epoch = drawing.loss_by_step(runs), drawing.f1_by_epoch(runs, with_paper=False)
    colours = {line.get_label(): line.get_color() for line in by_step.axes[0].lines}
    drawn = {line.get_label(): line.get_color() for line in by_epoch.axes[0].lines}
    (label,) = colours.keys() & drawn.keys()
    assert label.startswith("b")
    assert drawn[label] == colours[label] != colours[runs[0].label]


def test_scaling_is_drawn_with_mean_deviation_and_efficiency(tmp_path):
    runs = [
        make_run(
            tmp_path / f"{workers}-{seed}", workers=workers, settings={"seed": seed, "epochs": 3}, upsample=upsample,
            by_epoch=epochs_of([99, seconds, seconds]), scores={"test": {"at_half": found_scores(seed=seed)}},
        )
        for workers, seed, seconds, upsample in (
            (1, 0, 9, "dsen2"), (1, 1, 11, "dsen2"), (2, 0, 5, "dsen2"), (4, 0, 5, "dsen2"), (4, 3, 4, "none"),
        )
    ]  # fmt: skip
    status, text = report(tmp_path / "out", *runs)
    assert status == 0
    assert {"epoch_seconds.png", "total_seconds.png", "f1_by_workers.png"} <= pictures(tmp_path / "out")
    row = "<td>upsampling dsen2</td>" + "".join(f'<td class="number">{n}</td>' for n in ("4", "1", "5", "0.000", "2"))
    assert row + "<td>50 %</td>" in text


def test_repeats_are_runs_that_differ_only_in_seed_and_folder(tmp_path):
    variants = [
        {"workers": 1, "by_epoch": epochs_of([50, 8])},
        {"workers": 1, "by_epoch": epochs_of([50, 12]), "settings": {"seed": "1", "epochs": "9"}},
        {"workers": 2, "by_epoch": epochs_of([50, 6])},
        {"workers": 2, "by_epoch": epochs_of([50, 3]), "settings": {"batch": "32"}},
        {"workers": 2, "by_epoch": epochs_of([50, 4]), "rows": 320},
    ]
    runs = open_runs([make_run(tmp_path / f"run{k}", **one) for k, one in enumerate(variants)])
    found = scaling_series(runs, lambda run: run.epoch_seconds, ANY_LENGTH)
    assert [len(one.points) for one in found] == [2, 1, 1]
    first = found[0].points[0]
    assert (first.workers, first.values, first.mean) == (1, (8, 12), 10)
    assert first.std == pytest.approx(np.std([8, 12], ddof=1))
    assert found[0].points[1].std == 0
    assert perfect_scaling(found[0]) == [(1, 10), (2, 5)]
    assert "batch 32" in found[1].label
    assert "rows 320" in found[2].label


def test_runs_on_stores_of_one_upsampling_are_one_series_where_scores_are_compared(tmp_path):
    stores = (("a.h5", "dsen2"), ("b.h5", "dsen2"), ("c.h5", "bilinear"))
    folders = [make_run(tmp_path / s, settings={"store": s}, upsample=kind, workers=k) for k, (s, kind) in
               enumerate(stores, 1)]  # fmt: skip
    runs = open_runs(folders)
    found = scaling_series(runs, lambda run: 0.5, ANY_STORE)
    assert [(one.label, len(one.points)) for one in found] == [("upsampling dsen2", 2), ("upsampling bilinear", 1)]
    assert len(scaling_series(runs, lambda run: 0.5)) == 3


@pytest.mark.parametrize(
    ("record", "epoch", "total"),
    [
        ({"by_epoch": epochs_of([50, 8, 10])}, 9, 71),
        ({"by_epoch": epochs_of([50])}, 50, 51),
        ({"by_epoch": epochs_of([50, 8]), "settings": {"epochs": "100"}}, 8, None),  # ended early
        ({"seconds": [20, 1, 3], "steps": 3, "epochs": 0.5}, 12, None),  # six steps an epoch, of 2 s
        ({"seconds": [20, 1, 3], "steps": 3, "epochs": 3, "by_epoch": epochs_of([20])}, 2, 21),
        ({}, None, None),
        ({"by_epoch": [None, {"seconds": "fast"}], "seconds": {}, "steps": "many", "epochs": 0}, None, None),
    ],
)
def test_seconds_of_an_epoch_leave_the_first_out_and_fall_back_on_steps(tmp_path, record, epoch, total):
    (run,) = open_runs([make_run(tmp_path / "run", **record)])
    assert (run.epoch_seconds, run.total_seconds) == (epoch, total)


def test_a_partial_epoch_counts_for_no_whole_one(tmp_path):
    epochs = epochs_of([30, 20, 4])
    for one, steps in zip(epochs, (10, 10, 2), strict=True):
        one["steps"] = steps
    (run,) = open_runs([make_run(tmp_path / "run", by_epoch=epochs, steps=22, epochs=2.2)])
    assert run.epoch_seconds == 20


def test_scores_on_validation_are_the_last_epochs_where_none_stand_at_the_end(tmp_path):
    epochs = epochs_of([1, 1, 1])
    epochs[0]["val"], epochs[1]["val"] = {"rows": 1}, {"rows": 2}
    (run,) = open_runs([make_run(tmp_path / "run", by_epoch=epochs)])
    assert run.scores("val") == {"rows": 2}
    assert run.scores("test") is None
    assert run.scores("val", "tuned") is None


def test_runs_of_one_folder_name_are_told_apart(tmp_path):
    runs = open_runs([make_run(tmp_path / part / "run") for part in ("a", "b")])
    assert [run.name for run in runs] == ["a/run", "b/run"]


def test_a_label_is_right_wrong_or_missed(tmp_path):
    run = make_run(tmp_path / "run")
    make_samples(run)
    samples = open_samples(open_runs([run])[0])
    assert [(mark, name) for mark, name, _ in label_verdicts(samples, 0)] == [
        (RIGHT, NAMES[0]),
        (WRONG, NAMES[1]),
        (MISSED, NAMES[2]),
    ]
    assert label_verdicts(samples, 1) == []
    assert open_samples(open_runs([run])[0], worst=True) is None


def test_the_farthest_from_the_truth_comes_first_among_the_worst_errors(tmp_path):
    run = make_run(tmp_path / "run")
    make_samples(run, worst_loss=np.array([2.0, 1.0]), **{f"worst_{name}": value for name, value in SAMPLES.items()})
    worst = open_samples(open_runs([run])[0], worst=True)
    assert [name for _, name, _ in label_verdicts(worst, 0, errors_first=True)] == [NAMES[2], NAMES[1], NAMES[0]]
    words = [text.get_text() for text in contact_sheet(worst, errors_first=True).texts]
    assert "patch_one, loss 2.00" in words
    assert words.index(f"{MISSED.mark} 0.20 {NAMES[2]}") < words.index(f"{WRONG.mark} 0.50 {NAMES[1]}")


def test_of_patches_with_one_class_the_most_probable_one_is_predicted(tmp_path):
    run = make_run(tmp_path / "run")
    labels, values = np.array([[0, 1, 0], [0, 1, 0]], np.uint8), np.array([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]], "f4")
    make_samples(run, labels=labels, probabilities=values, single_label=np.array(True))
    samples = open_samples(open_runs([run])[0])
    assert [(mark, name) for mark, name, _ in label_verdicts(samples, 0)] == [(WRONG, NAMES[0]), (MISSED, NAMES[1])]
    assert [(mark, name) for mark, name, _ in label_verdicts(samples, 1)] == [(RIGHT, NAMES[1])]


def ends_badly(capsys, out, *folders):
    """What the command says where it ends with status 2 and writes nothing."""
    with pytest.raises(SystemExit) as stop:
        main([*map(str, folders), "--out", str(out)])
    assert stop.value.code == 2
    assert not (out / "report.html").exists()
    return capsys.readouterr().err


def test_what_is_no_run_ends_with_status_2_and_what_it_is(tmp_path, capsys):
    out = tmp_path / "out"
    assert "none must be the folder of a run (--out of trainer.run); it is not there" in ends_badly(
        capsys, out, tmp_path / "none"
    )
    (tmp_path / "empty").mkdir()
    assert "it has no run.json" in ends_badly(capsys, out, tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    assert "it is a file" in ends_badly(capsys, out, tmp_path / "file")
    foreign = make_run(tmp_path / "foreign", command="etl.extract")
    assert "must be a record of the trainer; it is of 'etl.extract'" in ends_badly(capsys, out, foreign)
    for text in ('{"loss": [', "[1, 2]", "{}"):
        (foreign / "run.json").write_text(text)
        assert f"{foreign / 'run.json'} must be" in ends_badly(capsys, out, foreign)


def test_a_run_named_twice_is_an_error_and_no_repeat(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    assert "must be named once" in ends_badly(capsys, tmp_path / "out", run, tmp_path / "out" / ".." / "run")


def test_damaged_samples_end_with_status_2(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    make_samples(run, labels=np.zeros((2, 4), np.uint8))
    assert "labels must be (patch, class) (2, 3), got (2, 4)" in ends_badly(capsys, tmp_path / "out", run)
    make_samples(run, loss=np.zeros(3))
    assert "loss must be (patch,) (2,), got (3,)" in ends_badly(capsys, tmp_path / "out", run)
    make_samples(run, rgb=np.zeros((2, 9, 9)))
    assert "rgb must be uint8" in ends_badly(capsys, tmp_path / "out", run)
    path = run / "samples.npz"
    path.write_bytes(path.read_bytes()[:200])
    assert "samples.npz must hold sample predictions" in ends_badly(capsys, tmp_path / "out", run)


def test_an_out_that_is_a_file_ends_with_status_2(tmp_path, capsys):
    (tmp_path / "out").write_text("x")
    assert "--out must be a folder" in ends_badly(capsys, tmp_path / "out", make_run(tmp_path / "run"))


def test_the_command_needs_a_run_and_neither_tensorflow_nor_a_display(tmp_path):
    done = subprocess.run([sys.executable, "-m", "trainer.report"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "RUN" in done.stderr
    unwanted = {"tensorflow", "keras", "matplotlib.pyplot"}
    code = f"import sys, trainer.report.__main__; sys.exit(bool({unwanted} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], timeout=100, check=False).returncode == 0


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_record_that_was_damaged_is_refused_or_drawn_without_its_damage(data, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("runs")
    scores = {"val": {"at_half": found_scores()}}
    record = {"epochs": 2, "steps": 8, "loss": [0.5, 0.4], "seconds": [1.0, 2.0], "by_epoch": epochs_of([4.0, 5.0])}
    run = make_run(tmp_path / "run", **record, scores=scores)
    text = (run / "run.json").read_text()
    keys = data.draw(st.sampled_from(sorted(set(re.findall(r'"\w+": ', text)))))
    wrong = data.draw(
        st.sampled_from(["null", "[]", "{}", "-1", "0", '"x"', "[[1]]", "NaN", "1e400", "9" * 400, "true"])
    )
    damaged = re.sub(keys + r'("[^"]*"|[-\d.e]+|null)', lambda _: keys + wrong, text)
    if damaged == text:  # of a list or mapping, all that follows
        damaged = text.replace(keys, f'{keys}{wrong}, "kept": ', 1)
    (run / "run.json").write_text(damaged)
    try:
        runs = open_runs([run])
    except ValueError:
        return
    for one in runs:
        assert one.epoch_seconds is None or one.epoch_seconds > 0
        assert one.total_seconds is None or one.total_seconds > 0
        assert all(of_class["f1"] >= 0 or of_class["f1"] < 0 for of_class in one.class_scores("val").values())
        assert one.label
        assert np.isfinite(one.losses[~np.isnan(one.losses)]).all()
    page = render_report(runs, [])
    assert "<html" in page


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_evaluation_that_was_damaged_is_refused_or_drawn_without_its_damage(data, tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("runs") / "run")
    evaluate(folder, single_label=True)
    path = folder / "evaluate.test.json"
    text = path.read_text()
    key = data.draw(st.sampled_from(sorted(set(re.findall(r'"(\w+)": ', text)))))
    wrong = data.draw(st.sampled_from([None, [], {}, -1, 0, "x", [[1]], float("nan"), 1e300, 10**400, True, ["x", {}]]))

    def damaged(value):
        if isinstance(value, dict):
            return {name: wrong if name == key else damaged(inner) for name, inner in value.items()}
        return [damaged(inner) for inner in value] if isinstance(value, list) else value

    path.write_text(json.dumps(damaged(json.loads(text))))
    try:
        runs = open_runs([folder])
    except ValueError:
        assert key == "command"
        return
    (run,) = runs
    evaluation, confusion = evaluation_of(run), confusion_of(run)
    if evaluation is not None:
        assert np.isfinite(evaluation.bins).all()
        assert all(np.isfinite(curve).all() for curve in evaluation.curves.values())
    assert confusion is None or confusion.counts.shape == (len(confusion.classes),) * 2
    assert all(0 <= tile.rows < 1e15 or tile.rows == -1 for tile in worst_tiles(run))
    with mpl.rc_context(STYLE):
        for draw in (score_drawing.precision_recall, score_drawing.reliability):
            draw(runs)
    assert "<html" in render_report(runs, [])
