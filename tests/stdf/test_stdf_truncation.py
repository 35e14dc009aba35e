"""Files that break off, or are damaged: what was read before stays, nothing else is believed."""

from __future__ import annotations

import contextlib
import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from handmade_stdf import Hand, cells, read
from hypothesis import given, settings
from hypothesis import strategies as st

from knowngood import stdf
from knowngood._errors import InputError


def small_file(hand: Hand) -> tuple[bytes, list[int]]:
    """A file of four dies on two sites, and where each of its records ends."""
    records = [hand.far(), hand.mir("L1", "PART"), hand.pmr(1, "c", "p", "CLK"), hand.wir("W1")]
    for touchdown in range(2):
        records += [hand.pir(0), hand.pir(1)]
        for site in (0, 1):
            records += [
                hand.ptr(7, touchdown + site / 2, "VDD", hand.described(-9, 9, "V"), site=site),
                hand.mpr(8, [0.25], "VOH", [1], site=site),
            ]
        records += [hand.prr(0, x=touchdown, y=0), hand.prr(1, x=touchdown, y=1)]
    records += [hand.wrr("W1"), hand.mrr()]
    return b"".join(records), list(itertools.accumulate(len(r) for r in records))


EXPECTED = [
    {"7 VDD": touchdown + site / 2, "8 VOH@CLK": 0.25} for touchdown in range(2) for site in (0, 1)
]


@pytest.mark.parametrize("order", ["<", ">"])
def test_truncated_at_every_byte(tmp_path: Path, order: str) -> None:
    hand = Hand(order)
    data, ends = small_file(hand)
    done = [e for e in ends if data[:e].endswith((hand.prr(0, x=0, y=0), hand.prr(1, x=0, y=1)))]
    done += [e for e in ends if data[:e].endswith((hand.prr(0, x=1, y=0), hand.prr(1, x=1, y=1)))]
    assert len(done) == 4
    for size in range(len(data) + 1):
        if size < 6:
            with pytest.raises(InputError):
                read(tmp_path, data[:size])
            continue
        lot = read(tmp_path, data[:size])
        assert cells(lot) == EXPECTED[: sum(end <= size for end in done)]
        broken = any("breaks off" in odd for odd in lot.facts.odd)
        assert broken == (size not in ends)
        assert ("no MRR record" in lot.facts.odd) == (size < len(data))


def test_a_truncated_gz_keeps_what_it_holds(tmp_path: Path) -> None:
    data, _ = small_file(Hand())
    packed = gzip.compress(data, mtime=0)
    path = tmp_path / "hand.stdf"
    n_dies = []
    for size in range(len(packed)):
        path.write_bytes(packed[:size])
        if size < 100:
            with contextlib.suppress(InputError):  # too short for a whole FAR
                stdf.read_stdf(path)
            continue
        lot = stdf.read_stdf(path)
        assert cells(lot) == EXPECTED[: len(lot.dies)]
        assert "the gz stream breaks off before its end" in lot.facts.odd
        n_dies.append(len(lot.dies))
    assert n_dies == sorted(n_dies)
    assert n_dies[-1] == 4


def test_a_gz_that_breaks_off_where_it_compresses_most(tmp_path: Path) -> None:
    """The last kilobytes of the input may hold megabytes of output: none of it is lost."""
    hand = Hand()
    die = b"".join((hand.pir(), hand.ptr(7, 1.0, "A"), hand.prr()))
    packed = gzip.compress(hand.lot(die * 60_000), mtime=0)
    (tmp_path / "a.stdf.gz").write_bytes(packed[:-8])
    assert stdf.summarise(tmp_path / "a.stdf.gz").n_dies == 60_000


def test_gz_members_and_padding(tmp_path: Path) -> None:
    data, ends = small_file(Hand())
    cut = ends[8] + 3
    members = gzip.compress(data[:cut], mtime=0) + gzip.compress(data[cut:], mtime=0)
    lot = read(tmp_path, members + b"\0" * 600)
    assert cells(lot) == EXPECTED
    assert lot.facts.odd == ()
    lot = read(tmp_path, members + b"rubbish")
    assert cells(lot) == EXPECTED
    assert any("after the gz stream" in odd for odd in lot.facts.odd)


@pytest.mark.parametrize("place", [-6, 40])
def test_damage_inside_a_gz_is_refused(tmp_path: Path, place: int) -> None:
    """Unlike a file that merely ends early, a wrong check sum may mean any value is wrong."""
    packed = bytearray(gzip.compress(small_file(Hand())[0], mtime=0))
    packed[place] ^= 0xFF
    with pytest.raises(InputError, match=r"hand\.stdf: damaged gz data near byte \d+"):
        read(tmp_path, bytes(packed))


def test_zeros_after_the_last_record_are_named(tmp_path: Path) -> None:
    data, _ = small_file(Hand())
    lot = read(tmp_path, data + b"\0" * 64)
    assert cells(lot) == EXPECTED
    assert lot.facts.odd == ("16 records of unknown type (0, 0), skipped",)


@settings(deadline=None)
@given(noise=st.binary(max_size=200), cut=st.integers(6, 400), order=st.sampled_from("<>"))
def test_noise_is_read_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, cut: int, order: str
) -> None:
    data, _ = small_file(Hand(order))
    lot, refused = None, ""
    try:
        lot = read(tmp_path_factory.getbasetemp(), data[:cut] + noise)
    except InputError as error:
        refused = str(error)
    if lot is None:
        assert "has results in" in refused  # the noise fell on a test's units
    else:
        assert lot.values.shape == (len(lot.dies), lot.schema.n_tests)


@settings(deadline=None)
@given(data=st.binary(max_size=60))
def test_bytes_that_are_not_stdf(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with pytest.raises(InputError):
        read(tmp_path_factory.getbasetemp(), b"\x1f\x8b\x08" + data)


def test_records_that_straddle_chunks(tmp_path: Path) -> None:
    """Four megabytes of records of odd lengths: every value in its place."""
    hand = Hand()
    filler = hand.rec(50, 30, b"\xff" + b"x" * 255)
    dies = [
        hand.pir() + filler * 11 + hand.ptr(7, float(i), "A") + filler * (i % 3) + hand.prr()
        for i in range(1300)
    ]
    lot = read(tmp_path, hand.lot(*dies))
    assert np.array_equal(lot.values.ravel(), np.arange(1300, dtype=np.float32))
    assert [r.offset for r in stdf.iter_records(tmp_path / "hand.stdf")][:2] == [0, 6]
    assert sum(1 for _ in stdf.iter_records(tmp_path / "hand.stdf")) == sum(
        lot.facts.records.values()
    )
