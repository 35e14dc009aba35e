"""What a certificate on somebody's lots is refused for, and what it warns of."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from certified_scores import usual_certificate
from knowngood import InputError, NotEnoughDataError, UsageError
from knowngood._kgd import encode
from knowngood._manifest import Source
from knowngood._model_file import parse_model
from knowngood_quantize.certificate import Rate
from knowngood_quantize.certificate._doubts import (
    MIN_GOOD_DIES,
    doubts,
    require_enough_dies,
    require_same_model,
)
from sealed_models import seal_up
from tiny_models import tiny_network, tiny_onnx

CERTIFICATE = usual_certificate()
NETWORK = tiny_network()


def file_of(network):
    return parse_model(encode(seal_up(network)), "model.kgd")


def with_screen(**changes):
    return replace(NETWORK, screen=replace(NETWORK.screen, **changes))


def test_forms_of_one_model_are_the_same():
    graph = parse_model(tiny_onnx(NETWORK), "model.onnx")
    require_same_model(file_of(NETWORK), graph)


def other_scaler():
    scaler = NETWORK.screen.scaler
    return with_screen(scaler=replace(scaler, centre=scaler.centre + 1))


def other_weights():
    head = NETWORK.screen.head
    weight = head.residual_weight * np.float32(2)
    return with_screen(head=replace(head, residual_weight=weight))


def other_k():
    return with_screen(head=replace(NETWORK.screen.head, k=2))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (other_scaler, ": scalers differ"),
        (other_weights, ": weights of the head differ"),
        (other_k, r": heads \(topk and topk, k 3 and 2\) differ"),
    ],
)
def test_another_trained_model_is_refused_by_what_differs(make, told):
    graph = parse_model(tiny_onnx(make()), "other.onnx")
    with pytest.raises(UsageError, match=r"other\.onnx is not a form of .*model\.kgd" + told):
        require_same_model(file_of(NETWORK), graph)


def test_a_handful_of_dies_is_refused():
    def of(n, n_unscored):
        reference = replace(CERTIFICATE.reference, unscored_good=n_unscored)
        dies = (replace(CERTIFICATE.dies[0], n=n), *CERTIFICATE.dies[1:])
        return replace(CERTIFICATE, reference=reference, dies=dies)

    require_enough_dies(of(MIN_GOOD_DIES + 1, 1))
    with pytest.raises(NotEnoughDataError, match=r"^19 good dies .* at least 20 are"):
        require_enough_dies(of(MIN_GOOD_DIES, 1))


def rejecting(**rejected):
    """Of 1,000 good dies at operating points of 0.1 (unsupported), 0.5 and 2 %."""
    points = tuple(
        replace(p, rejected=Rate.of(rejected.get(name, 0), 1000))
        for p, name in zip(CERTIFICATE.reference.points, ("low", "middle", "high"), strict=True)
    )
    return replace(CERTIFICATE, reference=replace(CERTIFICATE.reference, points=points))


def test_dies_that_the_model_does_not_call_good_are_told():
    (told,) = doubts(rejecting(middle=310, high=500), [], [])
    assert told.startswith(
        "these dies are not what the model calls good: at a yield loss of 0.5 % it rejects 31 % of"
    )
    assert doubts(rejecting(middle=27), [], []) == []  # 27 of 1,000: 1.8 % at least
    assert doubts(rejecting(low=500), [], []) == []  # unsupported


def test_files_that_the_model_was_trained_on_are_told(tmp_path):
    seen, fresh = tmp_path / "seen.csv", tmp_path / "fresh.csv"
    seen.write_bytes(b"dies")
    fresh.write_bytes(b"other dies")
    sources = [Source("lot1.csv", hashlib.sha256(b"dies").hexdigest(), 4)]
    (told,) = doubts(rejecting(), sources, [str(fresh), str(seen)])
    assert told.startswith("seen.csv was used to train the model")
    with pytest.raises(InputError, match="cannot read"):
        doubts(rejecting(), sources, [str(tmp_path / "none.csv")])
