"""What a convolution asks of an algorithm, and what an algorithm answers: stages and their time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from lamina.theory.limits import Machine
from lamina.theory.shapes import ImageShape, Pair, ResolvedPadding
from lamina.theory.validation import one_of

Pass = Literal["forward", "input_gradient", "weight_gradient"]

PASSES: tuple[Pass, ...] = ("forward", "input_gradient", "weight_gradient")

PANEL_REGISTERS = 4
"""Registers of result channels that a product works on at a time."""


@dataclass(frozen=True)
class Problem:
    """One pass of one convolution, as ``conv2d.problem`` makes it from its arguments.

    Args:
        input_shape: (N, C, H, W).
        output_shape: (N, M, Ho, Wo).
        kernel_size: taps, (height, width).
        stride: pixels, (height, width).
        padding: ((top, bottom), (left, right)).
        dilation: pixels, (height, width).
        groups: number of groups.
        pass_: which of the three products.
        threads: that share the work, each with a block of tiles of its own.
        itemsize: bytes of an element.
        lanes: elements of a register. Kernels compute a result's channels in whole ones, which is
            counted; 1 counts what the sum itself asks for.
        channels_last: the images' layout, which is the one that algorithms compute in; they bring
            NCHW images there and the result back.

    Raises:
        ValueError: another pass.
    """

    input_shape: ImageShape
    output_shape: ImageShape
    kernel_size: Pair
    stride: Pair
    padding: ResolvedPadding
    dilation: Pair
    groups: int
    pass_: Pass = "forward"
    threads: int = 1
    itemsize: int = 4
    lanes: int = 1
    channels_last: bool = True

    def __post_init__(self) -> None:
        one_of(self.pass_, "pass_", ("forward", "input_gradient", "weight_gradient"))

    def of(self, pass_: Pass) -> Problem:
        """Another pass of the same convolution."""
        return replace(self, pass_=pass_)

    @property
    def channel_pairs(self) -> int:
        """Pairs of an input and an output channel that see each other: M * C / groups."""
        return self.output_shape[1] * self.input_shape[1] // self.groups

    @property
    def positions(self) -> int:
        """Of windows, in all images."""
        return self.output_shape[0] * self.output_shape[2] * self.output_shape[3]

    @property
    def macs(self) -> int:
        """Of the direct sum; the same in each of the three passes."""
        return self.positions * self.channel_pairs * prod(self.kernel_size)

    @property
    def is_matrix_product(self) -> bool:
        """Whether every image is multiplied by one matrix: a pointwise convolution of stride 1."""
        return (
            self.kernel_size == self.stride == (1, 1)
            and self.groups == 1
            and not any(map(any, self.padding))
        )

    @property
    def source_channels(self) -> int:
        """Of what is summed over: C, but M in the input's gradient."""
        return (self.output_shape if self.pass_ == "input_gradient" else self.input_shape)[1]

    @property
    def result_channels(self) -> int:
        """Of what lies in registers: M, but C in the input's gradient."""
        return (self.input_shape if self.pass_ == "input_gradient" else self.output_shape)[1]

    @property
    def register_pairs(self) -> int:
        """``channel_pairs``, those included that fill a group's last register."""
        depth = self.whole_registers(self.result_channels // self.groups)
        return self.source_channels * depth

    def whole_registers(self, channels: int) -> int:
        """Channels, rounded up to whole registers."""
        return -(-channels // self.lanes) * self.lanes

    @property
    def panel(self) -> int:
        """Result channels that a product works on at a time."""
        return PANEL_REGISTERS * self.lanes

    @property
    def panels(self) -> int:
        """Of the result channels."""
        return -(-self.result_channels // self.panel)

    @property
    def inputs(self) -> int:
        """Bytes of x, and of its gradient."""
        return self.itemsize * prod(self.input_shape)

    @property
    def weights(self) -> int:
        """Bytes of w, and of its gradient."""
        return self.itemsize * self.channel_pairs * prod(self.kernel_size)

    @property
    def outputs(self) -> int:
        """Bytes of y, and of its gradient."""
        return self.itemsize * prod(self.output_shape)


@dataclass(frozen=True)
class Stage:
    """A part of an algorithm that ends before the next begins.

    Args:
        name: ``product``, or what is transformed, unfolded or folded.
        flops: operations.
        bytes_moved: to and from memory.
        working_set: bytes that are alive at once, if fewer than are moved.
        cached_bytes: to and from memory that stays in the caches; they take time where the
            machine's ``cache_bandwidth`` is known.
        exchanged_bytes: that each thread takes of what others wrote, both ways; likewise with the
            machine's ``exchange``.
    """

    name: str
    flops: int
    bytes_moved: int
    working_set: int | None = None
    cached_bytes: int = 0
    exchanged_bytes: int = 0


@dataclass(frozen=True)
class AlgorithmCost:
    """What one algorithm does for one problem.

    Args:
        algorithm: its name.
        stages: in their order.
        workspace_bytes: beyond the three tensors.
    """

    algorithm: str
    stages: tuple[Stage, ...]
    workspace_bytes: int = 0

    @property
    def flops(self) -> int:
        """Of all stages."""
        return sum(stage.flops for stage in self.stages)

    @property
    def bytes_moved(self) -> int:
        """Of all stages."""
        return sum(stage.bytes_moved for stage in self.stages)

    @property
    def arithmetic_intensity(self) -> float:
        """FLOPs per byte moved."""
        return self.flops / self.bytes_moved if self.bytes_moved else 0.0

    def arithmetic_time(self, stage: Stage, machine: Machine) -> float:
        """Seconds of a stage's operations at the share of the peak known for it."""
        return stage.flops / machine.peak_flops / self._share(stage, machine)

    def memory_time(self, stage: Stage, machine: Machine) -> float:
        """Seconds of a stage's bytes, at the cache's bandwidth if what is alive fits there."""
        alive = stage.bytes_moved if stage.working_set is None else stage.working_set
        seconds = stage.bytes_moved / machine.bandwidth_for(alive)
        if machine.cache_bandwidth is not None:
            seconds += stage.cached_bytes / machine.cache_bandwidth
        if machine.exchange is not None:
            seconds += stage.exchanged_bytes / machine.exchange
        return seconds / self._share(stage, machine)

    def _share(self, stage: Stage, machine: Machine) -> float:
        return machine.share_for(f"{self.algorithm}.{stage.name}")

    def predicted_time(self, machine: Machine) -> float:
        """Seconds: the stages one after the other, each at its share of the slower limit.

        Example:
            >>> stages = (Stage("copy", 0, 2000), Stage("product", 9000, 1000))
            >>> machine = Machine(peak_flops=10.0, bandwidth=10.0, overhead={"im2col": 5.0})
            >>> AlgorithmCost("im2col", stages).predicted_time(machine)
            1105.0
        """
        return machine.overhead.get(self.algorithm, 0.0) + sum(
            max(self.arithmetic_time(stage, machine), self.memory_time(stage, machine))
            for stage in self.stages
        )


def reorder(problem: Problem) -> tuple[Stage, ...]:
    """NCHW images to channels-last and back: two of the pass's three tensors are images."""
    moved = 2 * (problem.inputs + problem.outputs)
    return () if problem.channels_last else (Stage("reorder", 0, moved),)
