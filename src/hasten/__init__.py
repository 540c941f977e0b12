"""hasten makes a trained network run fast on the hardware that will serve it, and proves that it did.

    task -> measure -> compress -> export -> graph -> engines -> bundle -> stream, offline, cpp

Names are imported when first used, so that `import hasten` costs nothing and needs neither torch nor an engine.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Answer": "answer",
    "Budget": "search.budget",
    "Bundle": "bundle",
    "Data": "data",
    "Engine": "engine",
    "HastenError": "errors",
    "Metric": "metric",
    "OnnxModel": "model",
    "Pipeline": "pipeline",
    "Prepare": "prepare",
    "Recipe": "recipe",
    "Signature": "model",
    "Task": "task",
    "Technique": "technique",
    "Tensor": "model",
    "TorchModel": "model",
    "Window": "pipeline",
    "boost": "boost",
    "export": "export",
}
__all__ = sorted(_PUBLIC)  # kept true by tests/test_public.py


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hasten' has no attribute {name!r}")
    return getattr(import_module(f"hasten.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `hasten.boost` and `hasten.export` functions: importing a submodule would put the module in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _PUBLIC:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
