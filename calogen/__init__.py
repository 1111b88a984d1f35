"""Generative fast calorimeter simulation: the published networks, reproduced in Keras 3.

`Showers`, `fit`, `load`, `generate` and `evaluate` are what most programs need; they are imported when they are first
asked for, since TensorFlow takes seconds.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calogen.generation.generate import generate
    from calogen.generation.pretrained import load
    from calogen.reports.evaluate import evaluate
    from calogen.showers.sample import Showers
    from calogen.training.fit import fit

__version__ = "0.1.0"
__all__ = ["Showers", "evaluate", "fit", "generate", "load"]

_HOMES = {
    "Showers": "calogen.showers.sample",
    "evaluate": "calogen.reports.evaluate",
    "fit": "calogen.training.fit",
    "generate": "calogen.generation.generate",
    "load": "calogen.generation.pretrained",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'calogen' has no attribute {name!r}")
    return getattr(_import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
