"""What the harnesses over every layer share: the list as parameters, runs, and when two agree."""

from __future__ import annotations

import pytest
import torch

from .cases import CASES
from .parity import outputs_and_gradients

every_layer = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
with_reference = pytest.mark.parametrize(
    "case", [case for case in CASES if case.build_reference()], ids=lambda case: case.id
)


def seeded(layer: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return outputs_and_gradients(layer, x)


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    # A graph may take another algorithm than eager mode: where a sum cancels, its terms' rounding
    # is left.
    assert ours.keys() == theirs.keys()
    for name, their in theirs.items():
        largest = float(their.abs().max()) if their.numel() else 0.0
        torch.testing.assert_close(
            ours[name],
            their,
            rtol=1e-5,
            atol=1e-6 * max(1.0, largest),
        )
