"""Convolution as products of spectra: its time does not grow with the kernel.

    Y[n, m] = sum over c of X[n, c] · conjugate(W[m, c]),  capitals for two-dimensional transforms

A circular correlation of the padded image's size wraps only where the result is not wanted.

Source: Mathieu, Henaff and LeCun, "Fast Training of Convolutional Networks through FFTs" (2013),
section 2.2.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.theory.conv2d_algorithms import fft_size
from lamina.theory.conv2d_problem import Problem
from lamina.theory.shapes import Pair


def forward(x: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """The convolution, (N, M, H', W'); stride 1."""
    size = fft_size(problem)
    spectra = _product(
        "ngcp,gmcp->ngmp", _padded(x, problem, size), _kernel(weight, problem, size).conj()
    )
    return _inverse(spectra, problem, size)[
        :, :, : problem.output_shape[2], : problem.output_shape[3]
    ].contiguous()


def input_gradient(x: Tensor, dy: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Of the input, of which nothing counts: dy convolved with the kernels as they stand."""
    del x
    size = fft_size(problem)
    spectra = _product(
        "ngmp,gmcp->ngcp", _spectrum(dy, problem, size), _kernel(weight, problem, size)
    )
    (top, _), (left, _) = problem.padding
    height, width = problem.input_shape[2:]
    padded = _inverse(spectra, problem, size)
    return padded[:, :, top : top + height, left : left + width].contiguous()


def weight_gradient(x: Tensor, dy: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Of the weight: the images correlated with the outputs' gradients."""
    size = fft_size(problem)
    spectra = _product(
        "ngcp,ngmp->gmcp", _padded(x, problem, size), _spectrum(dy, problem, size).conj()
    )
    planes = _planes(spectra, size)
    (rows, columns), (down, right) = problem.kernel_size, problem.dilation
    taps = planes[..., : rows * down : down, : columns * right : right]
    return taps.flatten(0, 1).contiguous()


def _half(size: Pair) -> Pair:
    """Of a real image's spectrum one half says all."""
    return size[0], size[1] // 2 + 1


def _product(equation: str, left: Tensor, right: Tensor) -> Tensor:
    product: Tensor = torch.einsum(equation, left, right)
    return product


def _spectrum(image: Tensor, problem: Problem, size: Pair) -> Tensor:
    """(N, groups, channels of a group, frequencies)."""
    batch, groups = image.shape[0], problem.groups
    spectra: Tensor = torch.fft.rfft2(image, size)
    return spectra.reshape(batch, groups, image.shape[1] // groups, prod(_half(size)))


def _padded(x: Tensor, problem: Problem, size: Pair) -> Tensor:
    (top, bottom), (left, right) = problem.padding
    return _spectrum(F.pad(x, (left, right, top, bottom)), problem, size)


def _kernel(weight: Tensor, problem: Problem, size: Pair) -> Tensor:
    """(groups, M / groups, C / groups, frequencies); dilated kernels have zeros between taps."""
    (rows, columns), (down, right) = problem.kernel_size, problem.dilation
    if problem.dilation != (1, 1):
        spread = weight.new_zeros(
            *weight.shape[:2], (rows - 1) * down + 1, (columns - 1) * right + 1
        )
        spread[:, :, ::down, ::right] = weight
        weight = spread
    outputs, inputs = weight.shape[:2]
    spectra: Tensor = torch.fft.rfft2(weight, size)
    return spectra.reshape(problem.groups, outputs // problem.groups, inputs, prod(_half(size)))


def _inverse(spectra: Tensor, problem: Problem, size: Pair) -> Tensor:
    return _planes(spectra.flatten(1, 2), size)


def _planes(spectra: Tensor, size: Pair) -> Tensor:
    planes: Tensor = torch.fft.irfft2(spectra.reshape(*spectra.shape[:-1], *_half(size)), size)
    return planes
