from __future__ import annotations

import onnxruntime
import pytest

from knowngood._forward import forward
from knowngood._model_file import parse_model
from knowngood.engines import _onnxruntime, open_engine
from knowngood.engines._int8_overflow import int8_products_may_saturate
from knowngood_export.onnx_writer import network_to_onnx
from random_networks import make_dies, make_manifest, make_network, quantize_roughly

WITH = "processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni sse4_1\n"
CLIENT = "processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\n"
WITHOUT = "processor\t: 0\nflags\t\t: fpu avx2 avx512f\n"


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        ("x86_64", WITH, False),
        ("AMD64", CLIENT, False),
        ("x86_64", WITHOUT, True),
        ("x86_64", WITH + WITHOUT, True),
        ("x86_64", "", True),
        ("aarch64", WITHOUT, False),
    ],
)
def test_flags_of_every_processor_count(tmp_path, machine, text, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert int8_products_may_saturate(machine, path) is expected


def test_unknown_processor_may_saturate(tmp_path):
    assert int8_products_may_saturate("AMD64", tmp_path / "absent")


@pytest.mark.parametrize("saturates", [False, True])
def test_exact_path_is_taken_where_products_saturate(monkeypatch, saturates):
    """On request ONNX Runtime turns int8 weights into uint8, for which x86 is exact."""
    entries = {}

    class Options(onnxruntime.SessionOptions):
        def add_session_config_entry(self, key: str, value: str) -> None:
            entries[key] = value
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    monkeypatch.setattr(_onnxruntime, "int8_products_may_saturate", lambda: saturates)
    network = make_network()
    values, _ = make_dies(network)
    quantized = quantize_roughly(network, forward(network, values).standardised)
    data = network_to_onnx(quantized, make_manifest(network, "int8"))
    open_engine(parse_model(data, "model.int8.onnx")).score(values, None)
    assert entries.get("session.x64quantprecision") == ("1" if saturates else None)
