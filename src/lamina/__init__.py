"""The layers that image classifiers are made of: fast on a CPU, exact in two dialects.

- ``lamina.nn``: torch.nn's dialect; ``lamina.layers``: tf.keras's (it needs Keras);
  ``lamina.ops``: what both call.
- ``lamina.models.get(name)``: the classic networks, in torchvision's definition.
- ``lamina.theory``: shapes, cost, complexity and limits by formula.
- ``lamina.set_numerics("strict")``: no algorithm whose rounding exceeds the plain sum's.
- ``lamina.inspect(model, ...)``: every layer of a model accounts for itself.
- ``lamina.explain(model, image)``: one image followed through a model, number by number.
- ``lamina.lab.run(name)``: a claim about a kind of layer, tried.
- ``lamina.optimize(model)``: your own torch model, run as lamina's fused ops;
  ``lamina.restore(model)`` gives it back plain; ``lamina.save_plan(file)`` keeps what was chosen.
- ``lamina.tune_memory()``: memory that is ready for PyTorch's other ops too;
  ``lamina.empty_cache()`` gives back what waits for reuse.

Each is imported when it is first asked for. What is beyond PyTorch and NumPy is an extra:
``pip install 'lamina[cli,train,keras,convert]'``, or ``lamina[all]``.
"""

from typing import TYPE_CHECKING

from lamina._version import __version__

__all__ = [
    "__version__",
    "empty_cache",
    "explain",
    "inspect",
    "load_plan",
    "models",
    "nn",
    "ops",
    "optimize",
    "restore",
    "save_plan",
    "set_numerics",
    "theory",
    "tune_memory",
]

if TYPE_CHECKING:
    from lamina import lab as lab  # not in __all__: these two need an extra
    from lamina import layers as layers
    from lamina import models, nn, ops, theory
    from lamina.graph import load_plan, save_plan
    from lamina.inspector import inspect
    from lamina.inspector.explain import explain
    from lamina.ops import set_numerics
    from lamina.ops.runtime.memory import empty_cache
    from lamina.ops.runtime.memory_tuning import tune_memory
    from lamina.optimiser import optimize, restore
else:
    _FLOORS = ("lab", "layers", "models", "nn", "ops", "theory")
    _FUNCTIONS = {
        "empty_cache": "lamina.ops.runtime.memory",
        "explain": "lamina.inspector.explain",
        "inspect": "lamina.inspector",
        "load_plan": "lamina.graph",
        "optimize": "lamina.optimiser",
        "restore": "lamina.optimiser",
        "save_plan": "lamina.graph",
        "set_numerics": "lamina.ops",
        "tune_memory": "lamina.ops.runtime.memory_tuning",
    }

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _FLOORS:
            return import_module(f"lamina.{name}")
        if name in _FUNCTIONS:
            found = getattr(import_module(_FUNCTIONS[name]), name)
            globals()[name] = found
            return found
        raise AttributeError(f"module 'lamina' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_FLOORS, *_FUNCTIONS})
