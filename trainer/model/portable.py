"""A trained network in Keras's own layers, for people without this package; as `.keras`, SavedModel or ONNX file."""

import logging
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from etl.files import remove_path
from trainer.model.network import Standardise, to_probabilities

__all__ = ["make_portable", "write_keras", "write_onnx", "write_saved_model"]

_OUTPUT = "probabilities"
"""Name of the output in SavedModel and ONNX files."""

_FIRST_WITH_ERF = 9
"""Version of ONNX's operations that brought Erf. Source: onnx, docs/Operators.md."""


def make_portable(model: keras.Model, single_label: bool) -> keras.Model:
    """A copy of a network that takes pixels as stored and returns probabilities, made of Keras's layers alone.

    `model`: returns logits, shape (batch, class), see `network.build_network`; `single_label`: see `to_probabilities`.
    A copy with several inputs takes a dictionary of arrays by the names of the inputs.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        """The layer; of batch normalisation Keras's own, of which the fused operation is a faster form."""
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        kind = keras.layers.BatchNormalization if is_norm else type(layer)
        return kind.from_config(layer.get_config())

    def call(layer: keras.layers.Layer, *inputs: Any, **how: Any) -> Any:
        """The output of a layer; standardisation leaves its operations in the network, but no layer."""
        return layer.call(*inputs, **how) if isinstance(layer, Standardise) else layer(*inputs, **how)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call, recursive=True)
    copy.set_weights(model.get_weights())
    inputs = copy.inputs[0] if len(copy.inputs) == 1 else {item.name: item for item in copy.inputs}
    return keras.Model(inputs, to_probabilities(copy.outputs[0], single_label), name=model.name)


def write_keras(network: keras.Model, path: Path) -> None:
    """Write a file in Keras's format, under any name."""
    named = path.with_name(f"{path.name}.keras")  # Keras takes the format from the name
    try:
        network.save(named)
        named.replace(path)
    finally:
        remove_path(named)


def write_saved_model(network: keras.Model, path: Path) -> None:
    """Write a TensorFlow SavedModel, a folder; its endpoints take any number of patches."""
    _with_named_output(network).export(path, format="tf_saved_model", verbose=False)


def write_onnx(network: keras.Model, path: Path, properties: Mapping[str, str]) -> None:
    """Write an ONNX file that takes any number of patches, with `properties` among its metadata.

    Needs the packages onnx and tf2onnx.

    Raises:
        ValueError: ONNX, or tf2onnx, lacks an operation of the network.
    """
    import onnx

    logging.getLogger("tf2onnx").setLevel(logging.WARNING)  # it tells each of its passes
    _add_erfc()
    tf.config.run_functions_eagerly(True)  # Keras compiles grouped convolutions by XLA, which ONNX does not know
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of NumPy, about a name that Keras lends tf2onnx
            _with_named_output(network).export(path, format="onnx", verbose=False)
    finally:
        tf.config.run_functions_eagerly(False)
    converted = onnx.load(path)
    for value in (*converted.graph.input, *converted.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(converted, dict(properties))
    try:
        onnx.checker.check_model(converted)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"ONNX must know every operation of the network; write another format: {error}") from None
    onnx.save(converted, path)


@cache
def _add_erfc() -> None:
    """Let tf2onnx convert the operation Erfc, of which TensorFlow makes the activation GELU."""
    from tf2onnx.constants import ONNX_DOMAIN
    from tf2onnx.handler import tf_op

    def convert(graph: Any, node: Any, **_: Any) -> None:
        """Put 1 - erf(x) in place of `node`."""
        how = {"shapes": [graph.get_shape(node.output[0])], "dtypes": [graph.get_dtype(node.output[0])]}
        graph.remove_node(node.name)
        erf = graph.make_node("Erf", node.input, **how).output[0]
        one = graph.make_const(f"{node.name}_one", np.float32(1)).output[0]
        graph.make_node("Sub", [one, erf], outputs=node.output, name=node.name, **how)

    tf_op.register_handler(convert, _FIRST_WITH_ERF, ["Erfc"], ONNX_DOMAIN, {})


def _with_named_output(network: keras.Model) -> keras.Model:
    named = keras.Model(network.input, {_OUTPUT: network.output}, name=network.name)
    named(named.input)  # Keras exports no network to ONNX that was never called
    return named
