"""The comparisons of a proof, from the first to the last: differences, scales and bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.interchange.proof.suspicion import Evidence
from lamina.report.conversion import Comparison, Kind

__all__ = ["Rows"]

Array = NDArray[Any]
_SMALLEST = 1e-6  # of the largest tensor of a kind: what is smaller is compared on this scale


@dataclass(frozen=True)
class _Row:
    kind: Kind
    layer: str
    what: str
    difference: float = math.inf
    scale: float = 0.0
    remark: str = ""


@dataclass
class Rows:
    """Comparisons as they come in; `finished` makes them relative.

    Attributes:
        tolerance: the relative difference that is allowed.
        evidence: the first tensors that differ by more, by the number of their row.
    """

    tolerance: float
    evidence: dict[int, Evidence] = field(default_factory=dict)
    _rows: list[_Row] = field(default_factory=list)

    def add(self, kind: Kind, layer: str, what: str, keras: Array, torch: Array) -> None:
        """Compare Keras's tensor with PyTorch's, which has its axes in Keras's order."""
        if keras.shape != torch.shape:
            remark = f"shape {keras.shape} in Keras, {torch.shape} in PyTorch"
            self.differ(kind, layer, what, remark)
            return
        difference = _largest(keras, torch)
        scale = float(np.abs(torch).max(initial=0.0, where=np.isfinite(torch)))
        if not self.evidence and difference > self.tolerance * scale:
            self.evidence[len(self._rows)] = (keras, torch)
        self._rows.append(_Row(kind, layer, what, difference, scale))

    def differ(self, kind: Kind, layer: str, what: str, remark: str) -> None:
        """Note what cannot be compared."""
        self._rows.append(_Row(kind, layer, what, remark=remark))

    def finished(self) -> list[Comparison]:
        """Every comparison, relative, with its bound."""
        largest: dict[Kind, float] = {}
        for row in self._rows:
            largest[row.kind] = max(largest.get(row.kind, 0.0), row.scale)
        compared = []
        for row in self._rows:
            scale = max(row.scale, _SMALLEST * largest[row.kind], float(np.finfo(np.float32).tiny))
            compared.append(
                Comparison(
                    row.kind,
                    row.layer,
                    row.what,
                    row.difference / scale,
                    self.tolerance,
                    row.remark,
                )
            )
        return compared


def _largest(a: Array, b: Array) -> float:
    """The largest difference; equal infinities, and NaN in both, are none."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(a.astype(np.float64) - b)
    if np.isfinite(difference).all():
        return float(difference.max(initial=0.0))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.nan_to_num(np.where(same, 0.0, difference), nan=math.inf).max())
