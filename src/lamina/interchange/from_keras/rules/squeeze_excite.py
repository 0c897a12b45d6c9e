"""lamina's own SqueezeExcite, which neither framework has as a layer."""

from __future__ import annotations

import operator
from dataclasses import replace

from lamina.interchange.from_keras.call import Call, layer
from lamina.interchange.from_keras.constructor import constructor
from lamina.interchange.from_keras.rules.activation import by_name
from lamina.interchange.from_keras.value import Value

__all__: list[str] = []


@layer("SqueezeExcite")
def _squeeze_excite(call: Call, x: Value) -> Value:
    block, x = call.operation, call.image(x)
    channels, squeezed = (int(size) for size in block.reduce_kernel.shape[2:])
    if call.builder.flavour == "lamina":
        names = {
            "activation": (_name(block.activation), "relu"),
            "gate": (_name(block.gate), "sigmoid"),
        }
        y = call.module(x, constructor("SqueezeExcite", channels, squeezed, **names))
        for entry, part in (("fc1", "reduce"), ("fc2", "expand")):
            call.weight(getattr(block, f"{part}_kernel"), f"{entry}.weight", (3, 2, 0, 1))
            call.weight(getattr(block, f"{part}_bias"), f"{entry}.bias")
        return y
    y = replace(x, node=call.method("mean", x, (2, 3), keepdim=True))
    y = call.module(y, constructor("Conv2d", channels, squeezed, 1), ".reduce")
    y = by_name(call, block.activation, y, ".activation")
    y = call.module(y, constructor("Conv2d", squeezed, channels, 1), ".expand")
    y = by_name(call, block.gate, y, ".gate")
    for part in ("reduce", "expand"):
        call.weight(getattr(block, f"{part}_kernel"), "weight", (3, 2, 0, 1), part=f".{part}")
        call.weight(getattr(block, f"{part}_bias"), "bias", part=f".{part}")
    return replace(x, node=call.function(operator.mul, x.node, y.node))


def _name(activation: str) -> str:
    """What `lamina.nn` calls an activation of Keras."""
    known = {"swish": "silu", "hard_silu": "hardswish"}
    return known.get(activation, activation.replace("_", ""))
