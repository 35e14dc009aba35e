"""Lots in tables: CSV, Parquet and NumPy files.

`_csv`, `_parquet` and `_numpy` each turn a file into a `Table` of columns; `_table` makes a lot of
it. `_columns` knows what a column's name means, `_cells` what a cell holds, and `_good_if` reads
the condition that says which dies are good. ``knowngood.read_lot`` is the way in.
"""
