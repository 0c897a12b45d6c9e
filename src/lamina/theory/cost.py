"""What one call of a layer costs: memory it owns, arithmetic it does, bytes it moves.

Conventions, the same for every kind:

- ``macs`` are the multiply-accumulates of convolutions and matrix products; everything else
  (bias, normalisation, activation, pooling) is in ``other_flops``. ``flops`` counts two per MAC.
- A comparison, an addition, a multiplication, a division, an exponential are one operation each;
  work that grows with the channels alone (a running mean, a reciprocal square root) is left out.
- A convolution's window is counted whole at the border too: padding is multiplied like data.
- ``bytes_read`` and ``bytes_written`` are compulsory traffic: every operand once, every result
  once. Only a reduction that has to end before its input is used again reads that input twice.
- ``saved_bytes`` is what the forward pass keeps for the backward pass beyond the parameters.
- Parameters, buffers and saved bytes belong to the forward cost; in a backward cost they are
  zero, so that ``forward + backward`` is the cost of a training step.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What one call costs; two costs add up field by field.

    Args:
        parameters: trainable elements.
        buffers: elements that are kept but not trained, such as running statistics.
        macs: multiply-accumulates.
        other_flops: floating-point operations that are no part of a MAC.
        bytes_read: bytes that have to come from memory.
        bytes_written: bytes that have to go to memory.
        saved_bytes: bytes kept from the forward for the backward pass.

    Example:
        >>> step = Cost(macs=100, bytes_read=40) + Cost(other_flops=10, bytes_written=30)
        >>> step.flops, step.bytes_moved, step.arithmetic_intensity
        (210, 70, 3.0)
    """

    parameters: int = 0
    buffers: int = 0
    macs: int = 0
    other_flops: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    saved_bytes: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations: two per MAC, and the rest."""
        return 2 * self.macs + self.other_flops

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written."""
        return self.bytes_read + self.bytes_written

    @property
    def arithmetic_intensity(self) -> float:
        """FLOPs per byte moved; 0 where nothing moves."""
        return self.flops / self.bytes_moved if self.bytes_moved else 0.0

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(
            parameters=self.parameters + other.parameters,
            buffers=self.buffers + other.buffers,
            macs=self.macs + other.macs,
            other_flops=self.other_flops + other.other_flops,
            bytes_read=self.bytes_read + other.bytes_read,
            bytes_written=self.bytes_written + other.bytes_written,
            saved_bytes=self.saved_bytes + other.saved_bytes,
        )
