"""Files made to deceive: each is refused by the rule, or the golden dies, that README.md names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from forged_files import DATA, FILES

from knowngood._errors import ModelFileError
from knowngood._golden import EXACT_ENGINES
from knowngood._model_file import parse_model
from knowngood._opening import open_scorer

ROW = re.compile(r"^\| (A\d+) \| .* \| ([^|]+) \|$", re.MULTILINE)
PAGE = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
STATUS = dict(ROW.findall(PAGE))
SAYS = {
    "refused by its kind": r"m\.kgd is (gzip|a zip|empty)",
    "refused by the golden dies": r"golden (die \d in \w+ scores 0x|scores? that (is|are) not)",
    "refused by the golden reconstructions": r"golden (dies|reconstructions) in \w+ (are|that are)",
}


def test_the_file_before_the_attacks_loads():
    assert open_scorer(parse_model(DATA, "m.kgd")).precision == "verified"


@pytest.mark.parametrize("number", FILES)
def test_a_forged_file_is_refused_as_the_list_says(number):
    data = FILES[number]()
    assert data != DATA
    rule = re.fullmatch(r"refused by rule (\d+)", STATUS[number])
    says = rf"\(rule {rule[1]} of the \.kgd format\)" if rule else SAYS[STATUS[number]]
    for engine in EXACT_ENGINES:
        with pytest.raises(ModelFileError, match=says):
            open_scorer(parse_model(data, "m.kgd"), engine=engine)


def test_the_list_and_the_tests_have_the_same_numbers():
    """A file, or a test function that is called after its number and named in the list."""
    sources = "\n".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("*.py"))
    functions = re.findall(r"^def (test_a(\d+)_\w+)", sources, re.MULTILINE)
    tested = {f"A{number}" for _, number in functions} | FILES.keys()
    assert len(functions) + len(FILES) == len(tested)
    assert tested == STATUS.keys()
    assert list(STATUS) == sorted(STATUS, key=lambda number: int(number[1:]))
    named = set(re.findall(r"`(test_a\d+_\w+)`", PAGE))
    assert named == {name for name, _ in functions}
