"""Training and export: from good dies to sealed model files.

    from knowngood_export import AutoencoderDetector, export_model, train_lots

    detector = AutoencoderDetector(random_state=0).fit(X, groups=lots)   # scikit-learn conventions
    detector.export("out/")                                              # .kgd, ONNX and TFLite

    model = train_lots(["lot1.stdf.gz", "lot2.stdf.gz"])                 # what the command does
    export_model(module, good_values, "out/")                            # any torch autoencoder
    export_trained(import_model("ae.tflite", good_values), "out/")       # ONNX, TFLite, Keras files

Nothing heavier than NumPy is imported before it is used: ``knowngood_export.synthetic`` needs no
torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._fit import AutoencoderConfig
    from ._import import import_model, import_on_lots
    from ._trained import TrainedModel, load_model, save_model
    from ._training import TrainingRecipe
    from .detector import AutoencoderDetector, FewDiesWarning
    from .export import export_model, export_trained
    from .train_lots import train_lots

__all__ = [
    "AutoencoderConfig",
    "AutoencoderDetector",
    "FewDiesWarning",
    "TrainedModel",
    "TrainingRecipe",
    "export_model",
    "export_trained",
    "import_model",
    "import_on_lots",
    "load_model",
    "save_model",
    "train_lots",
]

_MODULE_OF = {
    "AutoencoderConfig": "_fit",
    "AutoencoderDetector": "detector",
    "FewDiesWarning": "detector",
    "TrainedModel": "_trained",
    "TrainingRecipe": "_training",
    "export_model": "export",
    "export_trained": "export",
    "import_model": "_import",
    "import_on_lots": "_import",
    "load_model": "_trained",
    "save_model": "_trained",
    "train_lots": "train_lots",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
