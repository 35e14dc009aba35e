"""Synthetic lots worth the name, for demonstrations, tests and benchmarks.

A *process* is a product's tests with what drives them; lots are drawn from it, and defects put into
their passing dies::

    from knowngood_export import synthetic

    process = synthetic.process(n_tests=512, correlation="tight", seed=0)
    lot = synthetic.make_lot(process, n_wafers=4, dies_per_wafer=500, lot="LOT001")
    bad = synthetic.make_defective(process, 500, defect="broken_correlation")

NumPy only. Everything is the same for the same seed, whatever was drawn before it.
"""

from ._defects import DefectClass, DefectiveDies, inject_defects, make_defective
from ._lots import make_lot
from ._model import Block, ProcessModel
from ._process import process
from ._textbook import TextbookDefect, textbook_blobs, textbook_defective, textbook_dies

__all__ = [
    "Block",
    "DefectClass",
    "DefectiveDies",
    "ProcessModel",
    "TextbookDefect",
    "inject_defects",
    "make_defective",
    "make_lot",
    "process",
    "textbook_blobs",
    "textbook_defective",
    "textbook_dies",
]
