"""Rewrite a weights file of either format in the plain one."""

from dataclasses import replace

from etl.superres.settings import ConvertWeightsSettings
from etl.upsample.weights import read_weights, write_weights

__all__ = ["convert_weights"]


def convert_weights(settings: ConvertWeightsSettings) -> None:
    """Read a weights file and write it in the plain format.

    Raises:
        ValueError: it is not a weights file, or of another level than the settings say.
    """
    network = read_weights(settings.file)
    if settings.level and network.level not in ("", settings.level):
        level = network.level
        raise ValueError(f"{settings.file} was trained on level {level}; leave out --level, or pass {level}")
    network = replace(network, level=settings.level or network.level)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_weights(settings.out, network)
    print(
        f"{network.gsd_m} m network of {network.blocks} blocks of {network.filters} filters, "
        f"level {network.level or 'unknown'} -> {settings.out}"
    )
