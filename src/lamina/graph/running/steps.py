"""The calls of a compiled graph: each takes tensors, and runs what was chosen for their shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lamina.graph.report import Row, say
from lamina.graph.running import contest
from lamina.ops.conv2d import kernels
from lamina.ops.conv2d.op import problem_of
from lamina.ops.conv2d.pytorch import torch_conv2d
from lamina.ops.finish import Finish, apply_finish
from lamina.ops.runtime.registration import OPS
from lamina.ops.squeeze_excite import gated_weight, squeeze_excite
from lamina.ops.tuning import choice
from lamina.theory.shapes import Pair, ResolvedPadding

__all__ = ["BlockStep", "ConvolutionStep", "GatedStep", "Layer", "images"]

Way = Callable[..., Tensor]

_SHAPES = 64  # for so many a step remembers what it chose


def images(x: Tensor) -> Tensor:
    """``x`` with its channels innermost, as the kernels read it."""
    if kernels.is_channels_last_in_memory(x):
        return x
    if x.requires_grad and torch.is_grad_enabled():
        return x.contiguous(memory_format=torch.channels_last)
    return kernels.to_channels_last(x)


@dataclass(frozen=True)
class Layer:
    """A convolution and what follows it, but for its tensors.

    Args:
        stride: pixels.
        padding: pixels.
        dilation: pixels.
        groups: independent convolutions.
        eps: of the norm.
        activation: a kernel's name; "none" for none.
        negative_slope: of leaky_relu.
    """

    stride: Pair
    padding: ResolvedPadding
    dilation: Pair
    groups: int
    eps: float = 0.0
    activation: str = "none"
    negative_slope: float = 0.01

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """The padding: top, bottom, left, right."""
        return (*self.padding[0], *self.padding[1])


class Step:
    """A call that can be made in several ways.

    Args:
        row: of the report, where the choices are written.
        fixed: what a choice depends on beside shapes and conditions.
    """

    def __init__(self, row: Row, *fixed: Layer | str | bool | None) -> None:
        self.row = row
        self.fixed = fixed
        self._chosen: dict[Any, Way] = {}

    def __call__(self, x: Tensor, *tensors: Tensor | None) -> Tensor:
        """The result, channels-last."""
        x = images(x)
        key = (x.shape, *contest.conditions())
        way = self._chosen.get(key)
        if way is None:
            way = self._choose(key, x, tensors)
        return way(x, *tensors)

    def _choose(self, key: Any, x: Tensor, tensors: tuple[Tensor | None, ...]) -> Way:
        ways = self.ways(x, *tensors)
        shapes = tuple(None if t is None else tuple(t.shape) for t in tensors)
        name = contest.fastest((self.fixed, tuple(x.shape), shapes, *key[1:]), ways, (x, *tensors))
        self.row.chosen[tuple(x.shape)] = name
        say(f"{self.row.layer}: {'×'.join(map(str, x.shape))}: {name} of {', '.join(ways)}")
        if len(self._chosen) >= _SHAPES:
            self._chosen.clear()
        self._chosen[key] = ways[name]
        return ways[name]

    def ways(self, x: Tensor, *tensors: Tensor | None) -> Mapping[str, Way]:
        """By name, what may run; the arguments are those of the call."""
        raise NotImplementedError


class ConvolutionStep(Step):
    """activation(norm(convolution + bias) + addend), in inference.

    Called with x, weight, bias, the norm's weight, bias, mean and variance, and the addend.
    """

    def __init__(self, row: Row, layer: Layer) -> None:
        super().__init__(row, layer)
        self.layer = layer

    def ways(self, x: Tensor, *tensors: Tensor | None) -> Mapping[str, Way]:
        """The algorithms that the cost model does not rule out; PyTorch's is always one."""
        weight, layer = tensors[0], self.layer
        assert weight is not None
        if layer.groups > 1 and weight.shape[1] == 1:
            return {"depthwise": self._depthwise, "pytorch": self._by_pytorch}
        problem = problem_of(
            x, weight, layer.stride, layer.sides, layer.dilation, layer.groups, "forward"
        )
        return {name: self._by(name) for name in choice.contenders(problem)}

    def _by(self, algorithm: str) -> Way:
        layer, op = self.layer, OPS["conv2d"].function
        window = (layer.stride, layer.sides, layer.dilation, layer.groups, algorithm)

        def way(x: Tensor, weight: Tensor, *rest: Tensor | None) -> Tensor:
            f = self._finish(*rest)
            epilogue = (layer.activation, layer.negative_slope)
            y: Tensor = op(x, weight, *f.parameters, f.addend, f.eps, *window, *epilogue)
            return y

        return way

    def _depthwise(self, x: Tensor, weight: Tensor, *rest: Tensor | None) -> Tensor:
        layer, f = self.layer, self._finish(*rest)
        window = (layer.stride, layer.sides, layer.dilation)
        epilogue = (layer.activation, layer.negative_slope)
        op = OPS["depthwise_conv2d"].function
        y: Tensor = op(x, weight, *f.parameters, f.eps, *window, *epilogue)
        return y

    def _by_pytorch(self, x: Tensor, weight: Tensor, *rest: Tensor | None) -> Tensor:
        layer = self.layer
        z = torch_conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
        return apply_finish(z, self._finish(*rest), in_place=True)

    def _finish(
        self,
        bias: Tensor | None,
        scale: Tensor | None,
        shift: Tensor | None,
        mean: Tensor | None,
        variance: Tensor | None,
        addend: Tensor | None = None,
    ) -> Finish:
        layer = self.layer
        shift, mean = _under_norm(bias, shift, mean)
        name = None if layer.activation == "none" else layer.activation
        return Finish(scale, shift, name, mean, variance, layer.eps, addend, layer.negative_slope)


def _under_norm(
    bias: Tensor | None, shift: Tensor | None, mean: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Shift and mean with the convolution's own bias in them."""
    if bias is None:
        return shift, mean
    return (bias, mean) if mean is None else (shift, mean - bias)


_TENSORS = 6  # weight, bias and the norm's four: of each layer of a block


def _inner(row: Row) -> Row:
    """For a step within another, whose choice is the one that the report tells."""
    return replace(row, chosen={})


class BlockStep(Step):
    """A separable block in inference: as one op, or its layers one after the other.

    Called with x and, for each layer, what a `ConvolutionStep` takes but the addend.
    """

    def __init__(self, row: Row, layers: tuple[Layer, ...], shortcut: bool) -> None:
        super().__init__(row, *layers, shortcut)
        self.layers = layers
        self.shortcut = shortcut
        self._apart = [ConvolutionStep(_inner(row), layer) for layer in layers]

    def ways(self, x: Tensor, *tensors: Tensor | None) -> Mapping[str, Way]:
        """Both."""
        return {"one op": self._together, "layers": self._one_by_one}

    def _together(self, x: Tensor, *tensors: Tensor | None) -> Tensor:
        missing = [None] * (3 * _TENSORS - len(tensors))
        own = (*missing, *tensors)
        weights, parameters = [], []
        for first in range(0, 3 * _TENSORS, _TENSORS):
            weight, bias, scale, shift, mean, variance = own[first : first + _TENSORS]
            shift, mean = _under_norm(bias, shift, mean)
            weights.append(weight)
            parameters += [scale, shift, mean, variance]
        expand, depthwise, project = weights
        layer = self.layers[-2]
        fill = 3 - len(self.layers)
        y: Tensor = OPS["separable_block"].function(
            x,
            depthwise,
            project,
            expand,
            *parameters,
            [0.0] * fill + [layer.eps for layer in self.layers],
            layer.stride,
            layer.sides,
            layer.dilation,
            ["none"] * fill + [layer.activation for layer in self.layers],
            self.shortcut,
        )
        return y

    def _one_by_one(self, x: Tensor, *tensors: Tensor | None) -> Tensor:
        y = x
        last = len(self._apart) - 1
        for at, step in enumerate(self._apart):
            own = tensors[at * _TENSORS : (at + 1) * _TENSORS]
            y = step(y, *own, x) if at == last and self.shortcut else step(y, *own)
        return y


class GatedStep(Step):
    """A squeeze and excite and the pointwise convolution behind it, in inference.

    Of one image the convolution's weight may be scaled in the place of its input: that is the less
    to read and write where pixels are more than output channels.

    Called with x, weight and bias of both dense layers, and what a `ConvolutionStep` takes but x.
    """

    def __init__(self, row: Row, layer: Layer, *, activation: str, gate: str) -> None:
        super().__init__(row, layer, activation, gate)
        self.activation, self.gate = activation, gate
        self._project = ConvolutionStep(_inner(row), layer)

    def ways(self, x: Tensor, *tensors: Tensor | None) -> Mapping[str, Way]:
        """Both, where there is one image."""
        if x.shape[0] > 1:
            return {"images scaled": self._with_images}
        return {"weight scaled": self._with_weight, "images scaled": self._with_images}

    def _with_images(
        self,
        x: Tensor,
        reduce_weight: Tensor,
        reduce_bias: Tensor | None,
        expand_weight: Tensor,
        expand_bias: Tensor | None,
        *rest: Tensor | None,
    ) -> Tensor:
        layers = (reduce_weight, reduce_bias, expand_weight, expand_bias)
        y = squeeze_excite(x, *layers, activation=self.activation, gate=self.gate)
        return self._project(y, *rest)

    def _with_weight(
        self,
        x: Tensor,
        reduce_weight: Tensor,
        reduce_bias: Tensor | None,
        expand_weight: Tensor,
        expand_bias: Tensor | None,
        weight: Tensor,
        *rest: Tensor | None,
    ) -> Tensor:
        layers = (reduce_weight, reduce_bias, expand_weight, expand_bias)
        scaled = gated_weight(x, *layers, weight, activation=self.activation, gate=self.gate)
        return self._project(x, scaled, *rest)
