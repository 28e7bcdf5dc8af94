"""What the same short training reaches on patches that bilinear interpolation or DSen2 brought to 10 m."""

import os

from benchmarks.findings import Findings
from benchmarks.inputs import labelled, network_weights
from benchmarks.setup import Setup
from benchmarks.training import KINDS, Course, command, put_f1, train

__all__ = ["QUESTION", "measure"]

QUESTION = "Does the same short training reach more on super-resolved patches than on bilinear ones?"

_COURSES = {
    "tiny": Course(2, 4, 1, "float32"),
    "laptop": Course(120, 32, 3, "bfloat16"),
    "cluster": Course(6000, 32, 10, "bfloat16"),
}
_TILES = {"tiny": (1, 1200), "laptop": (2, 1800), "cluster": (6, 3600)}
"""Number of tiles and their side in pixels."""


def measure(setup: Setup) -> Findings:
    """Extract a labelled sample both ways, and train on all bands of each."""
    source, course = labelled(setup, *_TILES[setup.size]), _COURSES[setup.size]
    found = Findings(ranks=[1], layout={"trainer.run": " ".join(course.flags), "cores": os.cpu_count()})
    found.data = {"tiles": _TILES[setup.size][0], "tile_px": _TILES[setup.size][1]}
    paths = ("--catalogue", str(source.catalogue), "--source", str(source.source))
    ways = {"bilinear": (), "dsen2": ("--weights", str(network_weights(setup)["L2A"]))}
    for way, flags in ways.items():
        store = setup.scratch / f"{way}.h5"
        command(setup, found, "etl.extract", (*paths, "--out", str(store), "--upsample", way, *flags))
        scores = train(setup, found, (store, setup.scratch / way), "all", course)
        store.unlink()
        put_f1(found.figures, way, scores)
        found.data |= {"rows_test": scores["at_half"]["rows"]}
    for kind in KINDS:
        above = found.figures[f"f1_micro_dsen2_{kind}"] - found.figures[f"f1_micro_bilinear_{kind}"]
        found.figures[f"f1_micro_dsen2_above_bilinear_{kind}"] = above
    found.notes.append("One training each, on a drawn sample whose fine detail is noise; the paper, too, saw no gain.")
    return found
