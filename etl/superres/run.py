"""One evaluation, from settings to scores and a picture."""

import os

from etl.raster import configure
from etl.stderr import suppress_stderr
from etl.superres.drawing import crop_middle, draw_comparison
from etl.superres.report import write_superres_report
from etl.superres.scene import read_scenes
from etl.superres.settings import SuperresSettings
from etl.upsample.method import PROCESSING_LEVEL, UpsampleMethod
from etl.upsample.network import WindowGeometry
from etl.upsample.weights import read_networks

__all__ = ["evaluate_networks"]


def evaluate_networks(settings: SuperresSettings) -> None:
    """Measure the networks on a source; write scores, in pixel values, and a picture.

    Raises:
        ValueError: the weights or the source cannot be used.
        OSError: the output cannot be written.
    """
    configure()
    method = UpsampleMethod("dsen2", read_networks(settings.weights, PROCESSING_LEVEL), settings.precision)
    scenes = read_scenes(settings)
    first = next(scenes)  # bad input ends the command before TensorFlow is loaded
    with suppress_stderr():
        from etl.superres.measurement import measure_scene, upsample_by_all_methods
        from etl.upsample.dsen2 import Network, configure_tensorflow

        device = configure_tensorflow(settings.network_threads or len(os.sched_getaffinity(0)), 0)
        twenty, sixty = (Network(weights, settings.precision) for weights in method.networks)
    measured = measure_scene(first, (twenty, sixty), settings.border_px, device.windows)
    shown = crop_middle(first, WindowGeometry.of(method.networks).halo_px[0])
    images = [upsample_by_all_methods(shown.groups[:n], net, device.windows) for n, net in ((2, twenty), (3, sixty))]
    for scene in scenes:
        measured += measure_scene(scene, (twenty, sixty), settings.border_px, device.windows)
    settings.out.mkdir(parents=True, exist_ok=True)
    write_superres_report(settings, method, device.name, measured)
    draw_comparison(shown, images, settings.out / "picture.png")
    print(f"tables and picture -> {settings.out}")
