"""STDF V4: reading lots as testers write them, and writing lots that other tools can read.

``read_stdf`` gives a lot, ``summarise`` its inventory, ``iter_records`` the bare records;
``write_lot`` writes a lot, ``StdfWriter`` any record.
"""

from ._read import StdfSummary, read_stdf, summarise
from ._records import Record, iter_records
from ._write import StdfWriter
from ._write_lot import write_lot

__all__ = [
    "Record",
    "StdfSummary",
    "StdfWriter",
    "iter_records",
    "read_stdf",
    "summarise",
    "write_lot",
]
