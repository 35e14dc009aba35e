"""The section ``golden``: raw dies and the bits that every exact engine gives them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knowngood._errors import UsageError
from knowngood._sealed import Golden, LayerPrecision, SealedModel
from knowngood._verdicts import UNSCORED_SCORE

from ._reader import Reader
from ._refusal import Rule
from ._writer import Writer

MAX_DIES = 64
DIGEST_BYTES = 32


def encode_golden(model: SealedModel) -> bytes:
    """The section's bytes.

    Raises:
        UsageError: there are no bits yet, the arrays do not fit the model, or each other; a digest
            is not one.
    """
    golden, n_tests = model.golden, model.screen.schema.n_tests
    for precision in model.layer_precisions:
        if precision not in golden.score_bits or precision not in golden.reconstruction_digest:
            raise UsageError(f"golden: expected score bits and digest of {precision}, found none")
    n_dies = len(golden.values)
    shapes = [golden.values.shape, golden.group.shape]
    shapes += [golden.score_bits[p].shape for p in model.layer_precisions]
    if shapes[0] != (n_dies, n_tests) or any(shape != (n_dies,) for shape in shapes[1:]):
        raise UsageError(
            f"golden: expected values ({n_dies}, {n_tests}), group and score bits ({n_dies},), "
            f"found {', '.join(map(str, shapes))}"
        )
    writer = Writer("golden")
    writer.u32("number of dies", n_dies)
    writer.u32("number of programs", len(model.layer_precisions))
    writer.array("values", golden.values, "<f4")
    writer.array("group", golden.group, "<i4")
    for precision in model.layer_precisions:
        writer.array(f"score bits {precision}", golden.score_bits[precision], "<u4")
        digest = golden.reconstruction_digest[precision]
        writer.raw(f"reconstruction digest {precision}", digest, DIGEST_BYTES)
    return writer.getvalue()


def decode_golden(
    section: memoryview, precisions: tuple[LayerPrecision, ...], n_tests: int
) -> Golden:
    """The golden dies of a file with these precisions."""
    reader = Reader(section, "golden")
    n_dies = reader.count("number of dies", 1, MAX_DIES, 4 * n_tests + 4)
    n_programs = reader.u32("number of programs")
    if n_programs != len(precisions):
        raise reader.refusal("number of programs", Rule.GOLDEN, len(precisions), n_programs)
    values = reader.array("values", "<f4", (n_dies, n_tests))
    group = reader.array("group", "<i4", (n_dies,))
    bits: dict[LayerPrecision, NDArray[np.uint32]] = {}
    digests: dict[LayerPrecision, bytes] = {}
    for precision in precisions:
        bits[precision] = reader.array(f"score bits {precision}", "<u4", (n_dies,))
        digests[precision] = reader.raw(f"reconstruction digest {precision}", DIGEST_BYTES)
    reader.end()
    for precision, found in bits.items():
        scores = found.view(np.float32)
        is_scored = np.isfinite(scores)
        if not is_scored.any():
            raise reader.refusal(f"score bits {precision}", Rule.GOLDEN, "a finite score", "none")
        if not (is_scored | (found == UNSCORED_SCORE.view(np.uint32))).all():
            expected = "finite scores, or 0x7FC00000"
            shown = [hex(int(b)) for b in found[~is_scored]]
            raise reader.refusal(f"score bits {precision}", Rule.GOLDEN, expected, shown)
    return Golden(values, group, bits, digests)
