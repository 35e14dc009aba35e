"""The engine's SHA-256 against Python's: one and two, with the processor's instructions and not."""

from __future__ import annotations

import ctypes
import hashlib
import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import FLAGS, SOURCES

HASHES = Path(__file__).with_name("hashes.c")
BYTES = np.random.default_rng(3).integers(0, 256, 4096, np.uint8).tobytes()
WAYS = ("hash_plainly", "hash_as_the_engine")


@pytest.fixture(scope="module")
def hashes(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library, engine = tmp_path_factory.mktemp("hashes") / "hashes.so", SOURCES / "src"
    sources = [HASHES, engine / "sha256.c", engine / "cpu.c"]
    command = [compiler, *FLAGS, "-shared", *sources, f"-I{engine}", "-o", library]
    subprocess.run(command, check=True)
    lib = ctypes.CDLL(str(library))
    size = ctypes.c_size_t
    for way in WAYS:
        getattr(lib, way).argtypes = [ctypes.c_char_p, size, size] * 2 + [ctypes.c_char_p]
    return lib


def digests(
    lib: ctypes.CDLL, way: str, a: bytes, b: bytes, split_a: int, split_b: int
) -> tuple[bytes, bytes]:
    """Both; the first bytes of each are hashed alone."""
    found = ctypes.create_string_buffer(64)
    getattr(lib, way)(a, len(a), split_a, b, len(b), split_b, found)
    return found.raw[:32], found.raw[32:]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.mark.parametrize("way", WAYS)
@given(data=st.data())
def test_digests_are_those_of_another_library(hashes: ctypes.CDLL, way: str, data: st.DataObject):
    parts, splits = [], []
    for _ in range(2):
        start, size = data.draw(st.integers(0, 70)), data.draw(st.integers(0, 1200))
        parts.append(BYTES[start : start + size])
        splits.append(data.draw(st.integers(0, size)))
    assert digests(hashes, way, *parts, *splits) == tuple(map(sha256, parts))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 255, 256, 257, 320])
def test_sizes_around_those_of_blocks(hashes: ctypes.CDLL, way: str, size: int):
    data = BYTES[:size]
    assert digests(hashes, way, data, data, 0, size) == (sha256(data), sha256(data))


def test_a_message_of_the_standard(hashes: ctypes.CDLL):
    """FIPS 180-4's example of two blocks, NIST's file of examples with intermediate values."""
    message = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
    expected = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    for way in WAYS:
        assert digests(hashes, way, message, b"", 0, 0)[0].hex() == expected


def test_the_instructions_are_found_where_the_system_lists_them(hashes: ctypes.CDLL):
    """Without them both ways are the same, and half of this file proves nothing."""
    path = Path("/proc/cpuinfo")
    if not path.exists() or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("no list of this processor's features")
    flag = "sha_ni" if platform.machine() == "x86_64" else "sha2"
    assert hashes.has_instructions() == (flag in path.read_text(encoding="ascii").split())
