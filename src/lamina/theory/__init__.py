"""Formulas: shapes, cost, complexity and limits of every kind of layer; no torch."""

from lamina.theory import (
    activation,
    batch_norm2d,
    complexity,
    conv2d,
    conv2d_algorithms,
    dense,
    depthwise_conv2d,
    dropout,
    limits,
    numerics,
    pool2d,
    separable_conv2d,
    shapes,
    squeeze_excite,
    validation,
    winograd,
)
from lamina.theory.cost import Cost
from lamina.theory.limits import Machine

__all__ = [
    "Cost",
    "Machine",
    "activation",
    "batch_norm2d",
    "complexity",
    "conv2d",
    "conv2d_algorithms",
    "dense",
    "depthwise_conv2d",
    "dropout",
    "limits",
    "numerics",
    "pool2d",
    "separable_conv2d",
    "shapes",
    "squeeze_excite",
    "validation",
    "winograd",
]
