"""Every error that knowngood raises on purpose.

KnowngoodError
├── UsageError              wrong use: an argument, a shape, a dtype (exit code 2)
│   ├── MissingExtraError   an optional dependency is not installed
│   └── OperatingPointError the model has no such operating point, or does not support it
├── InputError              a data file that cannot be read or used (exit code 3)
│   ├── SchemaMismatchError the data are not what the model was made for
│   └── NotEnoughDataError  too few dies or tests to do what was asked
├── ModelFileError          a model file that is damaged, foreign or too new (exit code 3)
└── GateError               the thing asked about failed: a verification, a self-test (exit code 1)

Messages name the file, test or field, what was expected, what was found, and what to do.
"""


class KnowngoodError(Exception):
    """Base of every error raised by knowngood on purpose."""

    exit_code = 1


class UsageError(KnowngoodError, ValueError):
    """The caller asked for something that cannot be asked for."""

    exit_code = 2


class MissingExtraError(UsageError, ImportError):
    """An optional dependency is missing; the message names the extra that brings it."""


class OperatingPointError(UsageError):
    """The model does not list the operating point, or the dies did not support it."""


class InputError(KnowngoodError, ValueError):
    """A data file cannot be read, or holds what cannot be used."""

    exit_code = 3


class SchemaMismatchError(InputError):
    """The data do not fit the model's schema: tests, units, part type, temperature or flow."""


class NotEnoughDataError(InputError):
    """There are too few dies, lots or tests for what was asked."""


class ModelFileError(KnowngoodError, ValueError):
    """A model file is damaged, was not made by knowngood, or has an unknown version."""

    exit_code = 3


class GateError(KnowngoodError):
    """What was asked about is not good enough; the message holds the numbers."""

    exit_code = 1
