"""One evaluation, from settings to scores and a picture; rank 0 measures, other ranks have nothing to do."""

import os

from etl.exit_status import ExitStatus
from etl.mpi import Comm, on_root
from etl.raster import configure
from etl.stderr import suppress_stderr
from etl.superres.answer import Answer, say, write
from etl.superres.draw import draw, middle
from etl.superres.scene import scenes
from etl.superres.settings import EvaluateSettings
from etl.upsample.method import LEVEL, Method
from etl.upsample.network import Geometry
from etl.upsample.weights import read_networks

__all__ = ["evaluate"]


def evaluate(settings: EvaluateSettings, comm: Comm) -> int:
    """Collective: measure the networks on a source and return the exit status."""
    configure()
    on_root(comm, lambda: _evaluate(settings))
    return ExitStatus.DONE


def _evaluate(settings: EvaluateSettings) -> None:
    method = Method("dsen2", read_networks(settings.weights, LEVEL), settings.precision)
    found = scenes(settings)
    first = next(found)
    with suppress_stderr():
        from etl.superres.measure import fine_images, measure
        from etl.upsample.dsen2 import Network, configure_devices

        device = configure_devices(settings.network_threads or len(os.sched_getaffinity(0)), 0)
        twenty, sixty = (Network(weights, settings.precision) for weights in method.networks)
    measured = measure(first, (twenty, sixty), settings.border_px, device.windows)
    shown = middle(first, Geometry.of(method.networks).context_px[0])
    images = [
        fine_images(shown.groups[: number + 2], network, device.windows)
        for number, network in enumerate((twenty, sixty))
    ]
    for scene in found:
        measured += measure(scene, (twenty, sixty), settings.border_px, device.windows)
    answer = Answer(method, device.name, settings.border_px, measured)
    settings.out.mkdir(parents=True, exist_ok=True)
    write(answer, settings.out)
    draw(shown, images, settings.out / "picture.png")
    say(answer, settings.out)
