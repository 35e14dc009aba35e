"""Edits of a ``.kgd`` taken apart by hand, each of which breaks something."""

from __future__ import annotations

from collections.abc import Callable

from kgd_by_hand import ByHand

Edit = Callable[[ByHand], None]
FP32, INT8_PROGRAM = "program.fp32", "program.int8"
S1, D1, D2, SCORE = (f"{FP32}.op{i}" for i in range(4))
Q1 = f"{INT8_PROGRAM}.op1"


def setting(name: str, value: object) -> Edit:
    return lambda hand: hand.__setitem__(name, value)


def filling(operation: str, index: int, value: object) -> Edit:
    """Change the first number of one of an operation's tensors."""

    def fill(hand: ByHand) -> None:
        hand.operand(operation, index).flat[0] = value

    return fill


def both(*changes: Edit) -> Edit:
    def change(hand: ByHand) -> None:
        for one in changes:
            one(hand)

    return change


def twice(field: str, value: object) -> Edit:
    """Set a field of the same operation in both programs."""
    return both(setting(f"{FP32}.{field}", value), setting(f"{INT8_PROGRAM}.{field}", value))


def dims(tensor: int, *sizes: int) -> Edit:
    """Give a tensor other dimensions."""
    padded = (*sizes, 0, 0, 0)[:4]
    changes = [setting(f"tensors.{tensor}.dim{i}", size) for i, size in enumerate(padded)]
    return both(setting(f"tensors.{tensor}.ndim", len(sizes)), *changes)


def replacing(section: str, data: bytes) -> Edit:
    return lambda hand: hand.sections.__setitem__(section, bytearray(data))


def growing(section: str) -> Edit:
    return lambda hand: hand.sections[section].extend(b"\0")


def cutting(section: str) -> Edit:
    return lambda hand: hand.sections[section].__delitem__(-1)


def last_offset(hand: ByHand) -> None:
    hand.operand(SCORE, 3)[-1] = 0.5


def same_group_twice(hand: ByHand) -> None:
    hand.operand(S1, 0)[2] = 0


def same_key_twice(hand: ByHand) -> None:
    hand["schema.4.number"] = hand["schema.1.number"]
    hand["schema.4.name"] = b"T1"
    hand["schema.4.units"] = b"V " if hand["schema.4.units.size"] == 2 else b"V"


def text(name: str, data: bytes) -> Edit:
    return lambda hand: hand.__setitem__(name, data[: hand[f"{name}.size"]])


def twice_in_second(hand: ByHand) -> None:
    """The int8 layers borrow the bias of fp32."""
    hand[f"{Q1}.t2"] = hand[f"{D1}.t1"]


def padding_of_tensors(hand: ByHand) -> None:
    _, at, shape = hand.tensors[0]
    hand.sections["tensors"][at + 4 * shape[0]] = 1


def other_numbers(hand: ByHand) -> None:
    """The last two buffers of fp32 change places: in order, and yet not the encoding."""
    hand[f"{D2}.out"] = hand[f"{SCORE}.in1"] = 4
    hand[f"{SCORE}.out"] = 3


def without_the_end_of_golden(hand: ByHand) -> None:
    """The last digest is gone, and the last score before it."""
    del hand.sections["golden"][-36:]


def all_nan(hand: ByHand) -> None:
    for die in range(6):
        hand[f"golden.{die}.fp32"] = 0x7FC00000
