"""What a host may hand over to be opened, and what an open model takes of its memory."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from forged_files import DATA
from two_readers import FORMAT, OK, judged, rule_of

from engine import SANITIZE, Options, path_names, try_to_open
from knowngood._kgd import encode
from knowngood._network import Scaler
from sealed_models import seal_up, varied_network

USE, FILE = 1, 3
REFERENCE_WIDTHS = (512, 256, 128, 32, 128, 256, 512)


@cache
def reference_model() -> bytes:
    """As large as the largest model that is usual, with golden dies."""
    return encode(seal_up(varied_network(REFERENCE_WIDTHS, "relu", "topk", 1)))


def open_with(lib: ctypes.CDLL, options: ctypes.Structure) -> tuple[int, str]:
    """Status and message."""
    handle, message = ctypes.c_void_p(), ctypes.create_string_buffer(256)
    pointers = ctypes.byref(options), ctypes.byref(handle)
    status = lib.kg_open(DATA, len(DATA), *pointers, message, len(message))
    assert (status == OK) == bool(handle)
    lib.kg_close(handle)
    return status, message.value.decode()


def open_file(lib: ctypes.CDLL, path: Path | str) -> tuple[int, str]:
    """Status and message."""
    handle, message = ctypes.c_void_p(), ctypes.create_string_buffer(256)
    name = os.fsencode(path)
    status = lib.kg_open_file(name, None, ctypes.byref(handle), message, len(message))
    assert (status == OK) == bool(handle)
    lib.kg_close(handle)
    return status, message.value.decode()


class NewerOptions(ctypes.Structure):
    """Of a host compiled with a header that has one more member."""

    _fields_ = (*Options._fields_, ("newest", ctypes.c_int64))


@pytest.mark.parametrize(
    ("size", "status"),
    [
        (8, OK),  # an older header's, without a path: the one below is not looked at
        (Options.cpu_path.offset + Options.cpu_path.size - 1, OK),
        (Options.cpu_path.offset + Options.cpu_path.size, 11),
        (ctypes.sizeof(Options), 11),
        (0, USE),
        (-1, USE),
        (7, USE),
        (2**62, USE),
    ],
)
def test_members_beyond_the_size_of_older_options_are_not_read(
    lib: ctypes.CDLL, size: int, status: int
):
    found, message = open_with(lib, Options(size, b"no such path", 0, 0))
    assert found == status
    if status == USE:
        assert message.startswith(f"options: size is {size}, expected {ctypes.sizeof(Options)}")


def test_newer_options_are_taken_where_they_ask_for_nothing_new(lib: ctypes.CDLL):
    size = ctypes.sizeof(NewerOptions)
    assert open_with(lib, NewerOptions(size, None, 0, 0, 0)) == (OK, "")
    status, message = open_with(lib, NewerOptions(size, None, 0, 0, 1 << 56))
    assert status == USE
    assert message.startswith("options: byte 31 is set, expected zeros from 24 on")


@pytest.mark.parametrize(("skip_golden", "reserved"), [(2, 0), (-1, 0), (0, 1)])
def test_options_out_of_range_are_refused(lib: ctypes.CDLL, skip_golden: int, reserved: int):
    options = Options(ctypes.sizeof(Options), None, skip_golden, reserved)
    assert open_with(lib, options)[0] == USE


@pytest.mark.parametrize("offset", [1, 2, 4, 7])
def test_data_of_any_alignment_opens(lib: ctypes.CDLL, offset: int):
    room = ctypes.create_string_buffer(b"\xff" * offset + DATA, offset + len(DATA))
    handle = ctypes.c_void_p()
    at = ctypes.addressof(room) + offset
    assert lib.kg_open(at, len(DATA), None, ctypes.byref(handle), None, 0) == OK
    lib.kg_close(handle)


def test_a_model_of_the_usual_size_opens_on_every_path(lib: ctypes.CDLL):
    """Its golden dies have the reference's bits."""
    for path in path_names(lib):
        status, message, handle = try_to_open(lib, reference_model(), path)
        lib.kg_close(handle)
        assert (status, message) == (OK, "")


def test_a_file_opens_from_disk_and_from_a_pipe(lib: ctypes.CDLL, tmp_path: Path):
    path = tmp_path / "m.kgd"
    path.write_bytes(reference_model())
    assert open_file(lib, path) == (OK, "")
    if not Path("/dev/fd").exists():
        pytest.skip("pipes have no names here")
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb") as pipe:
        writer = threading.Thread(target=lambda: (pipe.write(reference_model()), pipe.close()))
        writer.start()
        assert open_file(lib, f"/dev/fd/{reading}") == (OK, "")
        writer.join()


def test_a_file_that_cannot_be_read_says_why(lib: ctypes.CDLL, tmp_path: Path):
    assert open_file(lib, tmp_path / "none.kgd") == (
        FILE,
        "cannot open it: No such file or directory",
    )
    status, message = open_file(lib, tmp_path)
    assert (status, message.split(":")[0]) in [(FILE, "cannot read it"), (FILE, "cannot open it")]
    (tmp_path / "empty.kgd").touch()
    assert open_file(lib, tmp_path / "empty.kgd")[0] == FORMAT


def test_a_file_over_1_gib_is_refused_unread(lib: ctypes.CDLL, tmp_path: Path):
    path = tmp_path / "vast.kgd"
    with path.open("wb") as file:
        file.truncate(2**40)
    status, message = open_file(lib, path)
    assert (status, rule_of(message)) == (FORMAT, 2)


def of_groups(n_groups: int) -> bytes:
    """One test, whose scaler has a row for every group: 20 bytes in a file, 260 for the kernels."""
    network = varied_network((1,), "linear", "mse", 1)
    groups = np.arange(-1, n_groups - 1, dtype=np.int32)
    scaler = Scaler(groups, np.zeros((n_groups, 1)), np.ones((n_groups, 1)))
    screen = replace(network.screen, scaler=scaler)
    return encode(seal_up(replace(network, screen=screen), precisions=("fp32",)))


def test_a_file_that_would_take_many_times_its_size_is_refused(lib: ctypes.CDLL):
    assert judged(lib, of_groups(60_000)) == (OK, "")
    status, message = judged(lib, of_groups(120_000))
    assert (status, rule_of(message)) == (FORMAT, 5)
    assert message.startswith("its model takes 312")


def grown(what: Callable[[], object]) -> int:
    """Bytes by which this process's resident memory grew."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        pytest.skip("this system does not say how much memory a process has")
    before = int(pages.read_text().split()[1])
    what()
    return (int(pages.read_text().split()[1]) - before) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(bool(SANITIZE), reason="sanitizers hold freed memory back")
def test_a_closed_model_leaves_nothing_behind(lib: ctypes.CDLL, tmp_path: Path):
    path = tmp_path / "m.kgd"
    path.write_bytes(reference_model())
    open_file(lib, path)
    assert grown(lambda: [open_file(lib, path) for _ in range(40)]) < 2**21
