"""Sample predictions as a picture: patches beside their labels, true and predicted."""

import textwrap

from matplotlib.figure import Figure

from trainer.fit.metrics import HALF
from trainer.report.drawing import INK, PAGE, QUIET
from trainer.report.runs import Samples

__all__ = ["MOST", "contact_sheet", "verdicts"]

MOST = 18
"""Patches of one sheet."""

_COLUMNS, _CARD, _LINES, _CHARACTERS = 3, (4.0, 1.72), 7, 36

RIGHT, WRONG, MISSED = ("\N{CHECK MARK}", "#1a7f4b"), ("\N{BALLOT X}", "#c0392b"), ("\N{WHITE CIRCLE}", "#9a6700")
"""Mark and colour of a label: predicted and true, predicted and not true, true and not predicted."""


def verdicts(samples: Samples, number: int) -> list[tuple[tuple[str, str], str, float]]:
    """(mark and colour, class, probability) of a patch's labels that are true or predicted, most probable first."""
    found = []
    for name, true, value in zip(samples.classes, samples.labels[number], samples.probabilities[number], strict=True):
        if true or value >= HALF:
            mark = MISSED if value < HALF else RIGHT if true else WRONG
            found.append((mark, name, float(value)))
    return sorted(found, key=lambda one: -one[2])


def contact_sheet(samples: Samples) -> Figure:
    """The first `MOST` patches, each with its verdicts."""
    shown = min(len(samples.patch), MOST)
    rows = max(1, -(-shown // _COLUMNS))
    width, height = _COLUMNS * _CARD[0], rows * _CARD[1] + 0.4
    figure = Figure(figsize=(width, height), dpi=110, facecolor=PAGE)
    legend = ((RIGHT, "predicted and true"), (WRONG, "predicted, not true"), (MISSED, "true, not predicted"))
    for place, ((mark, colour), words) in enumerate(legend):
        figure.text((0.1 + 2 * place) / width, 1 - 0.25 / height, f"{mark} {words}", color=colour, fontsize=10)
    for number in range(shown):
        row, column = divmod(number, _COLUMNS)
        _card(figure, samples, number, (column * _CARD[0] + 0.1, height - 0.4 - row * _CARD[1]))
    return figure


def _card(figure: Figure, samples: Samples, number: int, corner: tuple[float, float]) -> None:
    """One patch whose upper left corner is `corner`, inches from the lower left of the figure."""
    (x, y), (width, height) = corner, figure.get_size_inches()
    side = _CARD[1] - 0.35
    axes = figure.add_axes((x / width, (y - 0.2 - side) / height, side / width, side / height))
    axes.imshow(samples.rgb[number], interpolation="nearest")
    axes.set_axis_off()
    figure.text(x / width, (y - 0.13) / height, samples.patch[number], fontsize=7, color=QUIET)
    found = verdicts(samples, number)
    kept = found if len(found) <= _LINES else found[: _LINES - 1]
    lines = [
        (f"{mark} {value:.2f} {textwrap.shorten(name, _CHARACTERS, placeholder=' …')}", colour)
        for (mark, colour), name, value in kept
    ]
    if len(kept) < len(found):
        lines.append((f"and {len(found) - len(kept)} more", QUIET))
    for place, (words, colour) in enumerate(lines or [("no label, none predicted", INK)]):
        top = y - 0.33 - 0.195 * place
        figure.text((x + side + 0.1) / width, top / height, words, fontsize=7.5, color=colour)
