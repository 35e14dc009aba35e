"""TFLite graphs put together by hand."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from knowngood_export._tflite_file import Quantization, TfliteFile

NONE = schema.ActivationFunctionType.NONE


def options_of(kind, **values):
    options = getattr(schema, f"{kind}OptionsT")()
    for name, value in values.items():
        setattr(options, name, value)
    return options


def fully_connected(fused=NONE, **values):
    return options_of("FullyConnected", fusedActivationFunction=fused, **values)


def tflite_bytes(operators, constants, *, n_in, n_out, outputs=("y",), kinds=None):
    """A graph from "x" to "y".

    Args:
        operators: (name, inputs, output, shape of the output, options).
        constants: by name an array, or an array and its `Quantization`.
        kinds: by name of a computed tensor its dtype and `Quantization`, float32 otherwise.
    """
    kinds = kinds or {}
    file = TfliteFile("made by a test")
    file.tensor("x", *_kind(kinds, "x", (1, *n_in)))
    for name, value in constants.items():
        array, quantization = value if isinstance(value, tuple) else (value, None)
        file.constant(name, array, quantization)
    for _, _, output, shape, _ in operators:
        file.tensor(output, *_kind(kinds, output, (1, *shape)))
    for name, inputs, output, _, options in operators:
        file.operator(name, inputs, [output], options=options)
    return file.finish(["x"], list(outputs))


def _kind(kinds, name, shape):
    dtype, quantization = kinds.get(name, ("float32", None))
    return dtype, shape, quantization


def in_int8(array, axis_scales):
    """Weights rounded to int8 with a scale per row."""
    scale = np.float32(axis_scales)
    steps = np.clip(np.rint(array / scale[:, None]), -127, 127).astype(np.int8)
    return steps, Quantization(scale)
