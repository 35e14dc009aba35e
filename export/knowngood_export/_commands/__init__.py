"""Verbs of the `knowngood` command that need the training and export extras."""
