"""Fourier's transforms by stages: planes to spectra, their products, and back.

Source: Mathieu, Henaff and LeCun, "Fast Training of Convolutional Networks through FFTs" (2013),
section 2.2; the transform's count: Frigo and Johnson, "The Design and Implementation of FFTW3"
(2005), section I.
"""

from __future__ import annotations

from math import log2

from lamina.theory.conv2d_problem import AlgorithmCost, Problem, Stage
from lamina.theory.shapes import Pair


def fast_fft_size(size: int) -> int:
    """The next number without a prime factor above 5.

    Example:
        >>> fast_fft_size(58), fast_fft_size(17)
        (60, 18)
    """
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1


def fft_size(problem: Problem) -> Pair:
    """Rows and columns of the transforms: the padded input, rounded up to a fast size.

    A circular correlation of that size wraps only where the result is not wanted.
    """
    rows, columns = (
        fast_fft_size(size + sum(sides))
        for size, sides in zip(problem.input_shape[2:], problem.padding, strict=True)
    )
    return rows, columns


def fft(problem: Problem) -> AlgorithmCost:
    """Planes to spectra, products summed over channels (or images), spectra to planes."""
    rows, columns = fft_size(problem)
    batch, channels = problem.input_shape[:2]
    transform = round(2.5 * rows * columns * log2(rows * columns)) if rows * columns > 1 else 0
    spectrum = rows * (columns // 2 + 1)
    planes = {
        "input_transform": (batch * channels, problem.inputs),
        "weight_transform": (problem.channel_pairs, problem.weights),
        "output_transform": (batch * problem.output_shape[1], problem.outputs),
    }
    spectra = sum(count for count, _ in planes.values()) * spectrum * 2 * problem.itemsize
    stages = [
        Stage(name, count * transform, moved + count * spectrum * 2 * problem.itemsize)
        for name, (count, moved) in planes.items()
    ]
    products = 8 * batch * problem.channel_pairs * spectrum
    stages.append(Stage("product", products, spectra))
    return AlgorithmCost("fft", tuple(stages), workspace_bytes=spectra)
