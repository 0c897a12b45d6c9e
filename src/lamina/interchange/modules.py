"""What Keras has and torch.nn lacks, as modules that need PyTorch alone.

A written-out model carries the source of those that it uses, so each stands by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "BoundedReLU",
    "ChannelAffine",
    "ElementPReLU",
    "FrozenBatchNorm1d",
    "FrozenBatchNorm2d",
    "GaussianDropout",
    "GaussianNoise",
    "Normalize",
    "SameAvgPool2d",
    "SamePad2d",
    "Scale",
    "SharedDropout",
]


class SamePad2d(nn.Module):
    """Pads by TensorFlow's rule for 'same', which depends on the size of the image.

    Args:
        kernel_size: of the window that follows, (height, width).
        stride: of that window.
        dilation: of that window.
        value: what the border holds.

    Shape:
        (N, C, H, W) to (N, C, H', W').

    Source:
        ``tf.nn.convolution``, "Notes on padding".

    Example:
        >>> SamePad2d((3, 3), (2, 2))(torch.zeros(1, 1, 8, 9)).shape
        torch.Size([1, 1, 9, 11])
    """

    def __init__(
        self,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int] = (1, 1),
        value: float = 0.0,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with its border; an odd pixel goes to the end."""
        sides: list[int] = []
        for axis in (1, 0):
            size, stride = x.shape[2 + axis], self.stride[axis]
            extent = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            sides += [total // 2, total - total // 2]
        return F.pad(x, sides, value=self.value)


class SameAvgPool2d(nn.Module):
    """Average pooling by TensorFlow's rule for 'same': the mean of what lies in the image.

    Args:
        kernel_size: the window, (height, width).
        stride: pixels from one window to the next.

    Shape:
        (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)).

    Source:
        ``tf.nn.avg_pool2d``.

    Example:
        >>> SameAvgPool2d((2, 2), (2, 2))(torch.ones(1, 1, 3, 3))
        tensor([[[[1., 1.],
                  [1., 1.]]]])
    """

    def __init__(self, kernel_size: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        """Sums over the padded image, each divided by how many pixels it has."""
        sides: list[int] = []
        for axis in (1, 0):
            size, stride = x.shape[2 + axis], self.stride[axis]
            total = max((-(-size // stride) - 1) * stride + self.kernel_size[axis] - size, 0)
            sides += [total // 2, total - total // 2]
        window = (self.kernel_size, self.stride)
        sums = F.avg_pool2d(F.pad(x, sides), *window, divisor_override=1)
        counts = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), sides), *window, divisor_override=1)
        return sums / counts


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that stays in inference mode: Keras's with ``trainable=False``.

    Example:
        >>> FrozenBatchNorm2d(3).train().training
        False
    """

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features, eps, affine=affine)
        self.eval()

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        """Stay as it is."""
        super().train(False)
        return self


class FrozenBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation that stays in inference mode: Keras's with ``trainable=False``.

    Example:
        >>> FrozenBatchNorm1d(3).train().training
        False
    """

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features, eps, affine=affine)
        self.eval()

    def train(self, mode: bool = True) -> FrozenBatchNorm1d:
        """Stay as it is."""
        super().train(False)
        return self


class Scale(nn.Module):
    """Multiplies by weights that are learnt: ConvNeXt's LayerScale.

    Args:
        shape: of the weights, which broadcasts over the input.

    Source:
        Touvron et al., "Going deeper with Image Transformers" (2021), section 2.

    Example:
        >>> Scale((2,))(torch.ones(1, 2)).shape
        torch.Size([1, 2])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` times the weights."""
        return x * self.weight


class ChannelAffine(nn.Module):
    """Multiplies and adds numbers that are not learnt: Keras's Rescaling with one per channel.

    Args:
        shape: of both, which broadcasts over the input.

    Example:
        >>> ChannelAffine((3, 1, 1))(torch.ones(1, 3, 2, 2)).shape
        torch.Size([1, 3, 2, 2])
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("offset", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` scaled and shifted."""
        return x * self.scale + self.offset


class Normalize(nn.Module):
    """Mean 0 and variance 1 by statistics that were measured before: Keras's Normalization.

    Args:
        shape: of both statistics, which broadcasts over the input.

    Example:
        >>> Normalize((3, 1, 1))(torch.zeros(1, 3, 2, 2)).shape
        torch.Size([1, 3, 2, 2])
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))  # kept for Keras

    def forward(self, x: Tensor) -> Tensor:
        """``x`` normalised; a deviation under 1e-7 counts as that."""
        return (x - self.mean) / self.variance.sqrt().clamp(min=1e-7)


class SharedDropout(nn.Module):
    """Dropout that draws one number for a whole axis: Keras's ``noise_shape``.

    Args:
        p: probability of a zero, in [0, 1).
        shared: the axes along which a draw is shared; (1, 2, 3) drops whole images, which is
            stochastic depth.

    Source:
        Huang et al., "Deep Networks with Stochastic Depth" (2016), section 3.

    Example:
        >>> y = SharedDropout(0.5, (1,))(torch.ones(8, 4))
        >>> set(y.sum(1).tolist()) <= {0.0, 8.0}
        True
    """

    def __init__(self, p: float, shared: tuple[int, ...]) -> None:
        super().__init__()
        self.p, self.shared = p, shared

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with a part dropped in training; itself in evaluation."""
        if not self.training:
            return x
        shape = [1 if axis in self.shared else size for axis, size in enumerate(x.shape)]
        kept = torch.rand(shape, device=x.device) >= self.p
        return x * kept / (1 - self.p)


class GaussianNoise(nn.Module):
    """Adds noise in training.

    Args:
        std: its deviation, at least 0.

    Example:
        >>> GaussianNoise(0.1).eval()(torch.ones(2))
        tensor([1., 1.])
    """

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with noise in training; itself in evaluation."""
        return x + self.std * torch.randn_like(x) if self.training else x


class GaussianDropout(nn.Module):
    """Multiplies by noise around 1 in training, of dropout's deviation.

    Args:
        p: the rate of the dropout that has this deviation, in [0, 1).

    Source:
        Srivastava et al., "Dropout" (2014), section 10.

    Example:
        >>> GaussianDropout(0.1).eval()(torch.ones(2))
        tensor([1., 1.])
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.std = (p / (1 - p)) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        """``x`` times noise in training; itself in evaluation."""
        return x * (1 + self.std * torch.randn_like(x)) if self.training else x


class BoundedReLU(nn.Module):
    """Keras's ReLU with all of its arguments.

    Args:
        max_value: the largest output; None for no bound.
        negative_slope: of what lies under the threshold, from there.
        threshold: the smallest input that passes as it is.

    Example:
        >>> BoundedReLU(2.0, 0.5, 1.0)(torch.tensor([-1.0, 0.5, 1.5, 3.0]))
        tensor([-1.0000, -0.2500,  1.5000,  2.0000])
    """

    def __init__(self, max_value: float | None, negative_slope: float, threshold: float) -> None:
        super().__init__()
        self.max_value, self.negative_slope = max_value, negative_slope
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """``x`` above the threshold, up to the bound; a slope below."""
        y = torch.where(x > self.threshold, x, self.negative_slope * (x - self.threshold))
        return y if self.max_value is None else y.clamp(max=self.max_value)


class ElementPReLU(nn.Module):
    """PReLU with a slope for every element that does not lie in the batch.

    Args:
        shape: of the slopes, which broadcasts over the input.

    Source:
        He et al., "Delving Deep into Rectifiers" (2015), section 2.1.

    Example:
        >>> ElementPReLU((2,))(torch.tensor([[-1.0, 1.0]])).tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` where positive, else times its slope."""
        return x.clamp(min=0) + self.weight * x.clamp(max=0)
