"""Picture of sample predictions: patches beside their true and predicted labels."""

import textwrap
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from trainer.fit.metrics import DEFAULT_THRESHOLD
from trainer.report.runs import Samples
from trainer.report.style import MUTED_COLOUR, TEXT_COLOUR

__all__ = ["MAX_PATCHES", "contact_sheet", "label_verdicts"]

MAX_PATCHES = 18
"""Most patches on one sheet."""

_COLUMNS, _CARD_IN, _MAX_LINES, _LINE_CHARACTERS = 3, (4.0, 1.72), 7, 36
"""Layout: number of columns; of a patch's card (width, height) in inches, lines of labels, and characters per line."""


class Verdict(NamedTuple):
    """Whether a predicted label is true, and how that is drawn."""

    mark: str
    colour: str
    words: str


RIGHT = Verdict("\N{CHECK MARK}", "#1a7f4b", "predicted and true")
WRONG = Verdict("\N{BALLOT X}", "#c0392b", "predicted, not true")
MISSED = Verdict("\N{WHITE CIRCLE}", "#9a6700", "true, not predicted")


def label_verdicts(samples: Samples, number: int, errors_first: bool = False) -> list[tuple[Verdict, str, float]]:
    """(verdict, class, probability) of a patch's labels that are true or predicted.

    The most probable comes first; with `errors_first` the one whose probability is the farthest from the truth.
    """
    verdicts, probabilities = [], samples.probabilities[number]
    positive = probabilities >= DEFAULT_THRESHOLD
    if samples.single_label:
        positive = np.arange(len(probabilities)) == probabilities.argmax()
    for name, true, found, value in zip(samples.classes, samples.labels[number], positive, probabilities, strict=True):
        if true or found:
            verdicts.append((MISSED if not found else RIGHT if true else WRONG, name, float(value)))
    if errors_first:
        return sorted(verdicts, key=lambda label: label[2] - 1 if label[0] is not WRONG else -label[2])
    return sorted(verdicts, key=lambda label: -label[2])


def contact_sheet(samples: Samples, errors_first: bool = False) -> Figure:
    """Figure with the pixels of the first `MAX_PATCHES` patches in true colour, beside true and predicted labels.

    `errors_first`: as in `label_verdicts`.
    """
    shown = min(len(samples.patch), MAX_PATCHES)
    rows = max(1, -(-shown // _COLUMNS))
    width, height = _COLUMNS * _CARD_IN[0], rows * _CARD_IN[1] + 0.4
    figure = Figure(figsize=(width, height))
    for number, (mark, colour, words) in enumerate((RIGHT, WRONG, MISSED)):
        figure.text((0.1 + 2 * number) / width, 1 - 0.25 / height, f"{mark} {words}", color=colour, fontsize=10)
    for number in range(shown):
        row, column = divmod(number, _COLUMNS)
        corner = (column * _CARD_IN[0] + 0.1, height - 0.4 - row * _CARD_IN[1])
        _draw_card(figure, samples, number, corner, label_verdicts(samples, number, errors_first))
    return figure


def _draw_card(
    figure: Figure,
    samples: Samples,
    number: int,
    corner: tuple[float, float],
    verdicts: list[tuple[Verdict, str, float]],
) -> None:
    """Draw one patch; `corner` is its upper left corner (x, y) in inches from the lower left of the figure."""
    (x, y), (width, height) = corner, figure.get_size_inches()
    side = _CARD_IN[1] - 0.35
    axes = figure.add_axes((x / width, (y - 0.2 - side) / height, side / width, side / height))
    axes.imshow(samples.rgb[number], interpolation="nearest")
    axes.set_axis_off()
    loss = "" if samples.loss is None else f", loss {samples.loss[number]:.2f}"
    figure.text(x / width, (y - 0.13) / height, samples.patch[number] + loss, fontsize=7, color=MUTED_COLOUR)
    shown = verdicts if len(verdicts) <= _MAX_LINES else verdicts[: _MAX_LINES - 1]
    lines = [
        (f"{verdict.mark} {value:.2f} {textwrap.shorten(name, _LINE_CHARACTERS, placeholder=' …')}", verdict.colour)
        for verdict, name, value in shown
    ]
    if len(shown) < len(verdicts):
        lines.append((f"and {len(verdicts) - len(shown)} more", MUTED_COLOUR))
    for line, (words, colour) in enumerate(lines or [("no label, none predicted", TEXT_COLOUR)]):
        top = y - 0.33 - 0.195 * line
        figure.text((x + side + 0.1) / width, top / height, words, fontsize=7.5, color=colour)
