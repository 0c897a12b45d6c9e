"""Which trap a difference looks like: a guess by the kind of the layer, said as one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.interchange.proof.keras_side import Untyped
from lamina.interchange.traps import TRAPS
from lamina.report.conversion import Comparison

__all__ = ["Evidence", "suspect"]

_BY_CLASS = {
    "BatchNormalization": "epsilon",
    "LayerNormalization": "group-epsilon",
    "GroupNormalization": "group-epsilon",
    "DepthwiseConv2D": "depthwise-weight",
    "SeparableConv2D": "depthwise-weight",
    "ZeroPadding2D": "padding-order",
    "MaxPooling2D": "max-padding",
    "AveragePooling2D": "average-border",
    "Flatten": "flatten",
    "Reshape": "data-format",
    "Permute": "data-format",
    "Concatenate": "data-format",
    "LeakyReLU": "leaky-slope",
    "PReLU": "prelu",
    "UpSampling2D": "interpolation",
    "Resizing": "interpolation",
    "Dropout": "mode",
}
_BY_ACTIVATION = {"leaky_relu": "leaky-slope", "hard_sigmoid": "hard-sigmoid", "gelu": "gelu"}
_REORDERING = ("Flatten", "Reshape")

Evidence = tuple[NDArray[Any], NDArray[Any]] | None
"""Keras's tensor and PyTorch's in Keras's order, where both have one shape."""


def suspect(row: Comparison, layer: Untyped, evidence: Evidence) -> tuple[str, str]:
    """The key of the likely trap and a sentence; both empty where nothing is known.

    Args:
        row: the first comparison that exceeds its bound.
        layer: its Keras operation, or None.
        evidence: what was compared.
    """
    if row.kind == "output" and _constant_by_channel(evidence):
        return "", "the difference is one number per channel: a bias that is missing or wrong"
    trap = _of_output(layer) if row.kind == "output" else _of_training(row, layer, evidence)
    if not trap:
        return "", ""
    known = TRAPS[trap]
    return trap, f"likely {known.topic} (Keras: {known.keras}; PyTorch: {known.torch})"


def _of_output(layer: Untyped) -> str:
    kind = type(layer).__name__
    if kind in ("Conv2D", "PointwiseConv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv1D"):
        strided = any(stride > 1 for stride in layer.strides)
        if strided and layer.padding == "same":
            return "same-stride"
        if strided and _comes_from(layer, ("ZeroPadding2D",)):
            return "correct-pad"
    if kind in ("AveragePooling2D", "MaxPooling2D") and layer.padding == "same":
        return "average-same" if kind.startswith("A") else "max-padding"
    if kind == "Dense":
        return "flatten" if _comes_from(layer, _REORDERING) else "dense-weight"
    if kind == "Activation":
        return _BY_ACTIVATION.get(getattr(layer.activation, "__name__", ""), "")
    if kind.startswith("Conv"):
        return "transposed-weight" if kind.endswith("Transpose") else "conv-weight"
    return _BY_CLASS.get(kind, "")


def _of_training(row: Comparison, layer: Untyped, evidence: Evidence) -> str:
    frozen = layer is not None and not getattr(layer, "trainable", True)
    if row.kind == "statistic":
        if frozen:
            return "freezing"
        # Means come before variances: a wrong momentum shows in them first.
        return "biased-variance" if row.what.endswith("variance") else "momentum"
    if frozen:
        return "freezing"
    if row.kind == "weight" and evidence is not None:
        constrained = any(
            getattr(layer, name, None) is not None
            for name in ("kernel_constraint", "bias_constraint", "depthwise_constraint")
        )
        return "regulariser" if constrained else "optimizer"
    return ""


def _comes_from(layer: Untyped, kinds: tuple[str, ...]) -> bool:
    """Whether one of a layer's inputs is, past what keeps the order, of one of these kinds."""
    pending, seen = [layer], 0
    while pending and seen < 8:
        seen += 1
        for node in pending.pop()._inbound_nodes:
            for parent in node.parent_nodes:
                kind = type(parent.operation).__name__
                if kind in kinds:
                    return True
                if kind in ("Dropout", "Activation", "ReLU", "BatchNormalization"):
                    pending.append(parent.operation)
    return False


def _constant_by_channel(evidence: Evidence) -> bool:
    if evidence is None or evidence[0].ndim < 2 or not np.isfinite(evidence[1]).all():
        return False
    difference = (evidence[0] - evidence[1]).reshape(-1, evidence[0].shape[-1])
    if len(difference) < 2:
        return False
    spread, size = difference.std(axis=0).max(), np.abs(difference).max()
    return bool(spread < 1e-3 * size)
