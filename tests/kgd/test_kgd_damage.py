"""Whatever happens to a file by accident, it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowngood._errors import ModelFileError
from knowngood._kgd import decode, encode
from sealed_models import seal_up, tiny_sealed
from tiny_models import tiny_network

SMALL = encode(seal_up(tiny_network(n_tests=2, n_latent=1, k=1), precisions=("fp32",)))
WHOLE = encode(tiny_sealed())


def is_refused(data: bytes) -> bool:
    try:
        decode(data, "model.kgd")
    except ModelFileError:
        return True
    return False


def test_the_whole_file_is_accepted():
    assert not is_refused(SMALL)
    assert not is_refused(WHOLE)


def test_every_flipped_bit_is_refused():
    data = bytearray(SMALL)
    for place in range(len(data)):
        for bit in range(8):
            data[place] ^= 1 << bit
            assert is_refused(bytes(data)), f"bit {bit} of byte {place}"
            data[place] ^= 1 << bit


def test_every_truncation_is_refused():
    assert all(is_refused(WHOLE[:end]) for end in range(len(WHOLE)))


@pytest.mark.parametrize("more", [b"\0", bytes(64), bytes(128), WHOLE])
def test_growth_is_refused(more):
    with pytest.raises(ModelFileError, match=r"model\.kgd: .*longer than it was written \(rule 2 "):
        decode(WHOLE + more, "model.kgd")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "magic"),
        (b"KGD1", "magic"),
        (b"\x89KGD\n\x1a\n" + WHOLE[8:], "line ends rewritten in transfer"),
        (WHOLE[:100], "truncated"),
        (WHOLE[:-1], "truncated"),
        (
            WHOLE[:8] + b"\x02\0" + WHOLE[10:],
            r"found 2\.0 \(rule 1 .*\)\. Update knowngood to read it\.$",
        ),
        (
            WHOLE[:10] + b"\x01\0" + WHOLE[12:],
            r"found 1\.1 \(rule 1 .*\)\. Update knowngood to read it\.$",
        ),
        (WHOLE[:8] + b"\x00\0" + WHOLE[10:], r"found 0\.0 .*\. Export the model again\.$"),
        (WHOLE[:2000] + b"\xaa" + WHOLE[2001:], "is damaged: its digest says"),
    ],
)
def test_what_is_wrong_is_said(data, says):
    with pytest.raises(ModelFileError, match=rf"^model\.kgd: .*{says}"):
        decode(data, "model.kgd")


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused(data, with_magic):
    assert is_refused(WHOLE[:12] + data if with_magic else data)
