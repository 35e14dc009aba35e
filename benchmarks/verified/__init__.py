"""Verdicts of "verified" against those of fp32, on a million fresh dies and on disturbed ones."""
