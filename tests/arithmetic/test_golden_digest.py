"""The digest of golden reconstructions, worked out from the pages alone: `naive` and ``struct``."""

from __future__ import annotations

import hashlib
import math
import struct

import naive
import pytest
from binary32 import bits
from side_by_side import plain_model

from sealed_models import seal_up, varied_network


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("head", ["topk", "mahalanobis"])
def test_it_covers_every_die_row_by_row(head, precision):
    model = seal_up(varied_network((7, 4, 7), "elu", head, 2))
    golden, plain = model.golden, plain_model(model)
    dies = [
        naive.score_die(plain, precision, values, group, None).reconstruction
        for values, group in zip(golden.values.tolist(), golden.group.tolist(), strict=True)
    ]
    assert [all(map(math.isnan, y)) for y in dies] == [False] * 5 + [True]
    data = b"".join(struct.pack("<I", bits(number)) for y in dies for number in y)
    assert len(data) == 4 * 6 * 7
    assert hashlib.sha256(data).digest() == golden.reconstruction_digest[precision]
