"""`python -m small_training FLAGS`: the command trainer.run with a network that is compiled in no time."""

from trainer.workers.supervisor import supervise

if __name__ == "__main__":
    supervise()

import sys
from collections.abc import Sequence

from trainer.data.selection import PixelArray
from trainer.run import main

__all__ = ["main", "train_small_networks"]


def train_small_networks() -> None:
    """Replace ResNet-50 by one convolution with batch normalisation, for trainings and for scores of such runs."""
    import keras

    import trainer.fit.trained_network
    import trainer.fit.training
    from trainer.model.batch_norm import Averager
    from trainer.model.network import NetworkDesign, regularise

    def build(
        pixels: Sequence[PixelArray], design: NetworkDesign, seed: int, average: Averager | None = None
    ) -> keras.Model:
        keras.utils.set_random_seed(seed)
        inputs = keras.Input(pixels[0].row_shape, dtype=pixels[0].dtype)
        x = keras.layers.Conv2D(4, 3, strides=8)(keras.layers.Rescaling(1 / 5000, -1.0)(inputs))
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(keras.layers.BatchNormalization()(x)))
        return regularise(keras.Model(inputs, keras.layers.Dense(design.classes)(x)), design, average)

    trainer.fit.training.build_network = trainer.fit.trained_network.build_network = build


if __name__ == "__main__":
    train_small_networks()
    sys.exit(main())
