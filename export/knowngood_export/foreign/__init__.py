"""Dense autoencoders made elsewhere, read as layers: ONNX, TFLite and Keras HDF5 files.

    from knowngood_export.foreign import read_network

    network = read_network("ad01_fp32.tflite")
    network.layers, network.n_tests, network.is_quantized

One private module reads each format and appends what it finds to a `_chain.Chain`, which keeps the
rules that all share: one input, one output, each step takes what the one before gives, nothing but
dense layers, activations and what folds into them. What breaks a rule is refused by the operator's
name. `run_in_own_runtime` computes what the file itself gives, to compare.
"""

from __future__ import annotations

from ._read import ForeignNetwork, read_network
from ._run import run_in_own_runtime

__all__ = ["ForeignNetwork", "read_network", "run_in_own_runtime"]
