"""The layers that image classifiers are made of: fast on a CPU, exact in two dialects.

- ``lamina.nn``: torch.nn's dialect; ``lamina.layers``: tf.keras's (imported on first use, it needs
  Keras); ``lamina.ops``: what both call.
- ``lamina.models.get(name)``: the classic networks, in torchvision's definition.
- ``lamina.theory``: shapes, cost, complexity and limits by formula.
- ``lamina.set_numerics("strict")``: no algorithm whose rounding exceeds the plain sum's.
- ``lamina.inspect(model, ...)``: every layer of a model accounts for itself.
- ``lamina.optimize(model)``: your own torch model with lamina's layers in the place of torch.nn's;
  ``lamina.restore(model)`` gives it back plain.
- ``lamina.tune_memory()``: memory that is ready for PyTorch's other ops too;
  ``lamina.empty_cache()`` gives back what waits for reuse.
"""

from types import ModuleType

from lamina import models, nn, ops, theory
from lamina._version import __version__
from lamina.inspector import inspect
from lamina.ops import set_numerics
from lamina.ops.runtime.memory import empty_cache
from lamina.ops.runtime.memory_tuning import tune_memory
from lamina.optimiser import optimize, restore

__all__ = [
    "__version__",
    "empty_cache",
    "inspect",
    "layers",
    "models",
    "nn",
    "ops",
    "optimize",
    "restore",
    "set_numerics",
    "theory",
    "tune_memory",
]


def __getattr__(name: str) -> ModuleType:
    if name == "layers":
        import importlib

        return importlib.import_module("lamina.layers")
    raise AttributeError(f"module 'lamina' has no attribute {name!r}")
