"""The lines that say how a head came to be."""

from __future__ import annotations

from dataclasses import asdict, replace

from knowngood._head_table import head_choice_lines
from knowngood._manifest import HeadChoice, HeadTrial


def lines(choice: HeadChoice) -> list[str]:
    return list(head_choice_lines(asdict(choice)))


def test_a_file_that_does_not_know_says_nothing() -> None:
    assert lines(HeadChoice()) == []


def test_a_head_asked_for_has_one_line_and_its_dies() -> None:
    (line,) = lines(HeadChoice("topk", "topk", 5, 0, 1162))
    assert line == "topk (k = 5), as asked for; fitted on 1,162 held-out good dies"
    first, second = lines(HeadChoice("mahalanobis", "mahalanobis", 0, 23, 1162, 8139))
    assert first.endswith("1,162 held-out good dies and a sample of 8,139 training dies")
    assert second == "23 shared directions found in them"


def test_a_comparison_has_its_table_and_where_it_was_made() -> None:
    choice = HeadChoice(
        "auto", "topk", 20, 0, 1162, 8139, fpr_asked=0.005, fpr=0.01,
        n_defective={"single_test": 9, "block_shift": 8},
        trials=(
            HeadTrial("topk", 20, {"single_test": 0.5, "block_shift": 0.75}, 0.03, 0.625),
            HeadTrial("mse", 0, {"single_test": 0.25, "block_shift": 0.1}, merit=-1.5),
        ),
        classical=(HeadTrial("pca", 0, {"single_test": 0.1, "block_shift": 0.7}),),
    )  # fmt: skip
    head, where, *table = lines(choice)
    assert head.startswith("topk (k = 20), best of 2; fitted on")
    assert "at 1.00% yield loss, the nearest to 0.50% that 1,162 allow:" in where
    assert [row.split() for row in table] == [
        ["head", "single", "test", "block", "shift", "good,", "missing", "merit"],
        ["topk", "(k", "=", "20)", "50.0%", "75.0%", "3.0%", "0.625"],
        ["mse", "25.0%", "10.0%", "0.0%", "-1.500"],
        ["PCA", "residual", "10.0%", "70.0%"],
    ]


def test_too_few_dies_are_told_and_tests_that_none_miss_are_not() -> None:
    trial = HeadTrial("mse", 0, {"block_shift": 0.5}, merit=0.5)
    choice = HeadChoice("auto", "mse", fpr_asked=0.02, fpr=0.02, n_defective={"block_shift": 9})
    few = lines(replace(choice, n_held_out=81, too_few=True))
    assert few[0].startswith("mse, the usual one, for these dies are too few to choose by; fitted")
    *_, header, row = lines(replace(choice, trials=(trial,)))
    assert header.split() == ["head", "block", "shift", "merit"]
    assert row.split() == ["mse", "50.0%", "0.500"]
