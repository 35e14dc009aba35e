"""Verbs of the ``knowngood`` command that need NumPy alone."""
