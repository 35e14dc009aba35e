"""A file of an export before it is certified: its bytes are whole but for the certificate."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from knowngood import Scorer
from knowngood._kgd import encode
from knowngood._manifest import Drift, Manifest
from knowngood._model_file import parse_model
from knowngood._network import Network, QuantizedNetwork
from knowngood._opening import open_scorer
from knowngood._sealed import SealedModel

from ._forms import Form
from ._sealing import check_sealed, n_bytes_graph


@dataclass(frozen=True)
class MadeForm:
    """One form in a file: seconds to quantise and write it, and its drift."""

    form: Form
    conversion_s: float
    drift: Drift


@dataclass(frozen=True, eq=False)
class MadeFile:
    """A file ready to be written.

    Attributes:
        name: "model.kgd", ….
        n_bytes_graph: what weights and graph take of ``data``.
    """

    name: str
    data: bytes
    n_bytes_graph: int
    forms: tuple[MadeForm, ...]


class Draft(Protocol):
    """A file that its certificate is still missing from."""

    @property
    def forms(self) -> tuple[Form, ...]:
        """What it holds."""
        ...

    @property
    def scorers(self) -> Mapping[str, Scorer]:
        """What is certified of it, by name; fp32 of a ``.kgd`` is what others are held against."""
        ...

    def seal(self, certificate: str) -> MadeFile:
        """The file with its certificate, JSON text; without one if that is empty."""
        ...


def open_form(data: bytes, name: str, precision: str | None = None) -> Scorer:
    """A scorer of a file in memory, at its default operating point whatever dies support it."""
    model = parse_model(data, name)
    return open_scorer(model, precision=precision, extrapolate=True, check=False)


@dataclass(frozen=True, eq=False)
class SealedDraft:
    """A ``.kgd``; ``conversion_s`` are the seconds that int8 took."""

    forms: tuple[Form, ...]
    model: SealedModel
    conversion_s: float

    @cached_property
    def scorers(self) -> dict[str, Scorer]:
        data, form = encode(self.model), self.forms[0]
        precisions = [p for p in self.model.precisions if p != "fp32"]
        return {
            str(replace(form, precision=p)): open_form(data, form.file_name, p) for p in precisions
        }

    def seal(self, certificate: str) -> MadeFile:
        started = time.perf_counter()
        data = encode(replace(self.model, certificate=certificate))
        written_s = time.perf_counter() - started
        name = self.forms[0].file_name
        check_sealed(data, name)
        seconds = {"fp32": 0.0, "int8": self.conversion_s}
        made = tuple(
            MadeForm(form, seconds[form.precision] + written_s, drift)
            for form, drift in zip(self.forms, self.model.drift, strict=True)
        )
        return MadeFile(name, data, n_bytes_graph(data), made)


@dataclass(frozen=True, eq=False)
class GraphDraft:
    """An ``.onnx`` or ``.tflite``, which holds one form."""

    form: Form
    network: Network | QuantizedNetwork
    manifest: Manifest
    drift: Drift
    conversion_s: float

    @property
    def forms(self) -> tuple[Form, ...]:
        return (self.form,)

    @cached_property
    def scorers(self) -> dict[str, Scorer]:
        data = self.form.write_graph(self.network, self.manifest)
        return {str(self.form): open_form(data, self.form.file_name)}

    def seal(self, certificate: str) -> MadeFile:
        manifest = replace(self.manifest, certificate=certificate)
        data = self.form.write_graph(self.network, manifest)
        n_bytes_graph = len(data) - len(manifest.to_json().encode())
        made = MadeForm(self.form, self.conversion_s, self.drift)
        return MadeFile(self.form.file_name, data, n_bytes_graph, (made,))
