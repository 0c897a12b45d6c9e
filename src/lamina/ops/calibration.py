"""How near their limits the algorithms run on this machine."""

from __future__ import annotations

from lamina.theory.conv2d_problem import Pass
from lamina.theory.limits import Machine


def machine(pass_: Pass) -> Machine:
    """The machine as a pass of a convolution meets it."""
    return Machine(
        peak_flops=500e9,
        bandwidth=60e9,
        efficiency={
            "winograd_4x4": 0.5,
            "winograd_2x2": 0.5,
            "onednn": 0.95,
            "direct": 0.9,
            "matrix_product": 0.42,
        },
    )
