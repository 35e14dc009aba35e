from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from knowngood._errors import ModelFileError
from knowngood._kgd import encode
from knowngood._model_file import onnx_metadata, parse_model, read_model, tflite_metadata
from knowngood._seal import UNSEALED, seal
from sealed_models import tiny_sealed
from tiny_models import tiny_manifest, tiny_network, tiny_onnx

NETWORK = tiny_network()
ONNX = tiny_onnx(NETWORK)


def tiny_tflite() -> bytes:
    writer = pytest.importorskip("knowngood_export.tflite_writer")
    return writer.network_to_tflite(NETWORK, tiny_manifest(NETWORK))


@pytest.fixture(scope="module")
def tflite() -> bytes:
    return tiny_tflite()


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def test_reads_an_onnx(tmp_path):
    model = read_model(write(tmp_path, "model.onnx", ONNX))
    assert model.kind == "onnx"
    assert model.manifest.to_json() == tiny_manifest(NETWORK).to_json()
    assert len(model.digest) == 64
    assert model.data == ONNX


def test_reads_a_tflite(tmp_path, tflite):
    model = read_model(write(tmp_path, "model.tflite", tflite))
    assert model.kind == "tflite"
    assert model.manifest.to_json() == tiny_manifest(NETWORK).to_json()


def test_onnx_metadata_as_the_onnx_package_reads_them():
    theirs = {p.key: p.value.encode() for p in onnx.load_from_string(ONNX).metadata_props}
    assert onnx_metadata(ONNX) == theirs


def test_content_decides_where_the_suffix_says_nothing(tmp_path, tflite):
    assert read_model(write(tmp_path, "model.bin", ONNX)).kind == "onnx"
    assert read_model(write(tmp_path, "model", tflite)).kind == "tflite"


def test_misnamed_files_are_told(tmp_path, tflite):
    with pytest.raises(ModelFileError, match=r"a\.tflite.*rename it to \.onnx"):
        read_model(write(tmp_path, "a.tflite", ONNX))
    with pytest.raises(ModelFileError, match=r"b\.onnx.*rename it to \.tflite"):
        read_model(write(tmp_path, "b.onnx", tflite))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"PK\x03\x04" + b"\0" * 40, "knowngood export"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\x02\x00\x00\x0a\x02\x04", "STDF"),
        (b"\x89PNG\r\n", "PNG"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"hello, tester", "not exported by knowngood"),
        (ONNX[: len(ONNX) // 2], "damaged|not exported"),
        (ONNX + b"\0", "damaged"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, data, says):
    with pytest.raises(ModelFileError, match=says) as caught:
        read_model(write(tmp_path, "model.onnx", data))
    assert "model.onnx" in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ModelFileError, match=r"nothing\.onnx.*No such file"):
        read_model(tmp_path / "nothing.onnx")
    with pytest.raises(ModelFileError, match="cannot read"):
        read_model(tmp_path)


def test_reads_a_kgd(tmp_path):
    sealed = tiny_sealed()
    data = encode(sealed)
    model = read_model(write(tmp_path, "model.kgd", data))
    assert (model.kind, model.data) == ("kgd", data)
    assert (model.digest, model.model_id) == (data[32:64].hex(), data[64:96].hex())
    assert model.manifest.screen.schema == sealed.screen.schema
    assert read_model(write(tmp_path, "model.bin", data)).kind == "kgd"


def test_another_model_named_kgd_is_told(tmp_path, tflite):
    for data, kind in ((ONNX, "onnx"), (tflite, "tflite")):
        with pytest.raises(ModelFileError, match=rf"model\.kgd is .*rename it to \.{kind}"):
            read_model(write(tmp_path, "model.kgd", data))


@pytest.mark.parametrize("data", [b"KGD1", b"no model at all"])
def test_what_is_only_named_kgd_is_refused(tmp_path, data):
    with pytest.raises(ModelFileError, match=r"model\.kgd: .*magic.*rule 1"):
        read_model(write(tmp_path, "model.kgd", data))


def test_a_kgd_of_another_name_is_told(tmp_path):
    with pytest.raises(ModelFileError, match=r"a\.onnx.*rename it to \.kgd"):
        read_model(write(tmp_path, "a.onnx", encode(tiny_sealed())))


def test_a_foreign_onnx_is_refused(tmp_path):
    model = onnx.load_from_string(ONNX)
    del model.metadata_props[:]
    with pytest.raises(ModelFileError, match="not exported by knowngood"):
        read_model(write(tmp_path, "model.onnx", model.SerializeToString()))


def resealed(**metadata: str) -> bytes:
    model = onnx.load_from_string(ONNX)
    del model.metadata_props[:]
    helper.set_model_props(model, {**metadata, "knowngood.sha256": UNSEALED})
    return seal(model.SerializeToString())


def test_a_sealed_file_without_a_manifest_is_refused():
    with pytest.raises(ModelFileError, match=r"model\.onnx.*no 'knowngood.manifest'"):
        parse_model(resealed(other="x"), "model.onnx")


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"knowngood_manifest": 99}'])
def test_a_sealed_file_with_a_bad_manifest_is_refused(text):
    with pytest.raises(ModelFileError, match=r"model\.onnx: .*manifest"):
        parse_model(resealed(**{"knowngood.manifest": text}), "model.onnx")


@pytest.mark.parametrize("threshold", ["Infinity", "NaN", "1e39"])
def test_a_threshold_that_passes_everything_or_nothing_is_refused(threshold):
    text = tiny_manifest(tiny_network(threshold=123.456)).to_json()
    assert text.count('"threshold":123.456') == 1
    text = text.replace('"threshold":123.456', f'"threshold":{threshold}')
    with pytest.raises(ModelFileError, match="threshold"):
        parse_model(resealed(**{"knowngood.manifest": text}), "model.onnx")


def test_a_metadata_key_given_twice_is_refused():
    model = onnx.load_from_string(ONNX)
    model.metadata_props.add(key="knowngood.manifest", value="{}")
    with pytest.raises(ModelFileError, match="twice"):
        onnx_metadata(model.SerializeToString())


flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1)


def mutated(data: bytes, changes: list[tuple[float, int]]) -> bytes:
    changed = bytearray(data)
    for place, bits in changes:
        changed[int(place * len(data))] ^= bits
    return bytes(changed)


@given(flips)
@settings(max_examples=60, deadline=None)
def test_a_mutated_file_never_loads(changes):
    data = mutated(ONNX, changes)
    if data != ONNX:
        with pytest.raises(ModelFileError):
            parse_model(data, "model.onnx")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_truncated_file_never_loads(tflite, data):
    whole = data.draw(st.sampled_from([ONNX, tflite]))
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ModelFileError):
        parse_model(whole[:end], "model")


def only_model_file_errors(walk, data: bytes) -> None:
    try:
        walk(data)
    except (ModelFileError, UnicodeDecodeError):
        return


@given(flips)
@settings(max_examples=200, deadline=None)
def test_walking_a_mutated_onnx_stays_inside_it(changes):
    only_model_file_errors(onnx_metadata, mutated(ONNX, changes))


@given(flips, st.booleans())
@settings(max_examples=200, deadline=None)
def test_walking_a_mutated_tflite_stays_inside_it(tflite, changes, at_the_start):
    if at_the_start:  # where the offsets are
        changes = [(place * 400 / len(tflite), bits) for place, bits in changes]
    only_model_file_errors(tflite_metadata, mutated(tflite, changes))


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_walking_any_bytes_stays_inside_them(data):
    only_model_file_errors(onnx_metadata, data)
    only_model_file_errors(tflite_metadata, data)


def test_manifest_arrays_come_back_exactly():
    manifest = parse_model(ONNX, "model.onnx").manifest
    np.testing.assert_array_equal(manifest.screen.scaler.centre, NETWORK.screen.scaler.centre)
    np.testing.assert_array_equal(
        manifest.screen.head.present_gain, NETWORK.screen.head.present_gain
    )
