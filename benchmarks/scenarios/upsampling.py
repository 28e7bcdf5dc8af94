"""Scores of the same short training on patches upsampled by bilinear interpolation and by DSen2."""

import os

from benchmarks.findings import Findings
from benchmarks.inputs import make_labelled_tiles, make_network_weights
from benchmarks.setup import Setup
from benchmarks.training import THRESHOLD_KINDS, TrainingLength, command, put_f1, train

__all__ = ["QUESTION", "measure"]

QUESTION = "Does the same short training score higher on super-resolved patches than on bilinear ones?"

_LENGTHS = {
    "tiny": TrainingLength(2, 4, 1, "float32"),
    "laptop": TrainingLength(120, 32, 3, "bfloat16"),
    "cluster": TrainingLength(6000, 32, 10, "bfloat16"),
}
_TILES = {"tiny": (1, 1200), "laptop": (2, 1800), "cluster": (6, 3600)}
"""Number of tiles and their side in pixels."""


def measure(setup: Setup) -> Findings:
    """Extract a labelled sample by both methods, and train on all bands of each."""
    source, length = make_labelled_tiles(setup, *_TILES[setup.size]), _LENGTHS[setup.size]
    findings = Findings(ranks=[1], layout={"trainer.run": " ".join(length.flags), "cores": os.cpu_count()})
    findings.data = {"tiles": _TILES[setup.size][0], "tile_px": _TILES[setup.size][1]}
    paths = ("--catalogue", str(source.catalogue), "--source", str(source.source))
    methods = {"bilinear": (), "dsen2": ("--weights", str(make_network_weights(setup)["L2A"]))}
    for method, flags in methods.items():
        store = setup.scratch / f"{method}.h5"
        command(setup, findings, "etl.extract", (*paths, "--out", str(store), "--upsample", method, *flags))
        scores = train(setup, findings, (store, setup.scratch / method), "all", length)
        store.unlink()
        put_f1(findings.figures, method, scores)
        findings.data |= {"rows_test": scores["at_half"]["rows"]}
    for kind in THRESHOLD_KINDS:
        above = findings.figures[f"f1_micro_dsen2_{kind}"] - findings.figures[f"f1_micro_bilinear_{kind}"]
        findings.figures[f"f1_micro_dsen2_above_bilinear_{kind}"] = above
    findings.notes.append(
        "One training each, on a synthetic sample whose fine detail is noise. The paper saw no gain either."
    )
    return findings
