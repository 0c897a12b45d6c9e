"""Winograd's algorithm by stages: tiles and weights transformed, multiplied, transformed back.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), sections 4
and 5; the matrices: ``winograd``.
"""

from __future__ import annotations

from math import prod
from typing import Literal, NamedTuple

from lamina.theory import winograd
from lamina.theory.conv2d_problem import AlgorithmCost, Problem, Stage, reorder

BLOCK_BYTES = 8 << 20
"""Of transformed tiles that are alive at a time, as a rule."""

PRIVATE_BYTES, PRIVATE_WEIGHT_BYTES, PRIVATE_TILES = 640 << 10, 4 << 20, 48
"""Of a thread's own tiles, where it has so many and the transformed weight is no larger."""

PRIVATE_GRADIENT_BYTES, PRIVATE_GRADIENT_TILES = 2 << 20, 96
"""The same for the weight's gradient, whose sums each thread then has for itself."""

ALL_TILES_BYTES, WHOLE_WEIGHT_BYTES = 24 << 20, 16 << 20
"""All tiles are transformed at once where they are no more than this and the weight is larger than
``PRIVATE_WEIGHT_BYTES``: each thread then transforms a panel of the weight at a time. Where threads
would have uneven numbers of panels, and ``PRIVATE_TILES``, the whole weight is transformed, up to
the latter size."""


def winograd_cost(problem: Problem, output_tile: int) -> AlgorithmCost:
    """F(m x m, r x r), a block of tiles at a time: only the transformed weights leave the cache.

    For the weight's gradient the data stay what they were, dy is transformed with A in the place
    of the weights with G, the products are summed over the tiles, and G^T makes r x r of them.
    At stride 2 a product reads points that others read too; its time has a share of its own.

    Example:
        >>> from lamina.theory import conv2d
        >>> cases = [conv2d.problem((1, 64, 56, 56), 64, 3, stride, padding=1) for stride in (1, 2)]
        >>> [winograd_cost(case, 4).stages[2].flops / (2 * case.macs) for case in cases]
        [0.25, 0.5625]
    """
    of_input = problem.pass_ == "input_gradient"
    matrices = winograd.window_transforms(
        output_tile, problem.kernel_size[0], problem.stride[0], of_input=of_input
    )
    products = len(matrices.input) ** 2
    a, g, b = winograd.stored(matrices)
    of_tiles, of_results, of_weights = (
        problem.itemsize * count**2 for count in (len(b), len(a[0]), len(g))
    )
    if problem.pass_ == "weight_gradient":
        a, g = winograd.transposed(a), winograd.transposed(g)
    read, written = problem.inputs, problem.outputs
    if of_input:
        read, written = written, read
    tiles = _winograd_tiles(problem, output_tile)
    sources = problem.whole_registers(problem.source_channels)
    results = problem.whole_registers(problem.result_channels)
    volumes = Volumes(
        of_weights * problem.register_pairs,
        of_tiles * tiles * sources,
        of_results * tiles * results,
        tiles,
    )
    scheme = _scheme(problem, volumes)
    # A panel of the weights at a time, or all of them where they are few, stays in the last cache.
    cached = volumes.weights if scheme in ("at_once", "whole") else 0
    stages = (
        Stage(
            "weight_transform",
            problem.register_pairs * winograd.tile_flops(g),
            problem.weights + volumes.weights - cached,
            cached_bytes=cached,
        ),
        Stage(
            "input_transform",
            tiles * sources * winograd.tile_flops(b),
            read,
            cached_bytes=volumes.inputs,
        ),
        Stage(
            "product" if problem.stride == (1, 1) else "strided_product",
            2 * products * tiles * problem.register_pairs,
            volumes.weights - cached,
            cached_bytes=cached,
        ),
        Stage(
            "output_transform",
            tiles * results * winograd.tile_flops(a),
            written,
            cached_bytes=volumes.results,
        ),
        Stage("exchange", 0, 0, exchanged_bytes=_exchanged(problem, volumes, scheme)),
        *reorder(problem),
    )
    workspace = _workspace(problem, volumes, scheme)
    return AlgorithmCost(f"winograd_{output_tile}x{output_tile}", stages, workspace)


def _winograd_tiles(problem: Problem, output_tile: int) -> int:
    """Of all images.

    Those of a strided input's gradient hold twice the pixels along an axis, and begin one before
    the image where the padding is odd along this axis alone.
    """
    if problem.pass_ != "input_gradient":
        images, _, *sizes = problem.output_shape
        return images * prod(-(-size // output_tile) for size in sizes)
    images, _, *sizes = problem.input_shape
    side = output_tile * problem.stride[0]
    before = [sides[0] % problem.stride[0] for sides in problem.padding]
    if all(before):
        before = [0, 0]
    return images * prod(
        -(-(n + skipped) // side) for n, skipped in zip(sizes, before, strict=True)
    )


class Volumes(NamedTuple):
    """Bytes, and the number of tiles.

    Of the transformed weight, or of the weight's gradient before its transform; of the inputs'
    transforms; of the outputs before theirs, or of their gradients' transforms.
    """

    weights: int
    inputs: int
    results: int
    tiles: int


Scheme = Literal["apart", "together", "at_once", "whole"]
"""How threads share the work: tiles, in blocks of each one's own; the points of everybody's block
of tiles; panels of the weight, all tiles transformed at once; or all tiles as one block of each."""


def _scheme(problem: Problem, volumes: Volumes) -> Scheme:
    of_gradient = problem.pass_ == "weight_gradient"
    share = -(-volumes.tiles // problem.threads)
    many = share >= (PRIVATE_GRADIENT_TILES if of_gradient else PRIVATE_TILES)
    if many and volumes.weights <= PRIVATE_WEIGHT_BYTES:
        return "apart"
    if (
        volumes.weights <= PRIVATE_WEIGHT_BYTES
        or volumes.inputs + volumes.results > ALL_TILES_BYTES
        or problem.panels < problem.threads
    ):
        return "together"
    uneven = problem.panels % problem.threads != 0
    if uneven and many and not of_gradient and volumes.weights <= WHOLE_WEIGHT_BYTES:
        return "whole"
    return "at_once"


def _workspace(problem: Problem, volumes: Volumes, scheme: Scheme) -> int:
    """Bytes of transformed weights and tiles that are alive at once."""
    threads, weights = problem.threads, volumes.weights
    all_tiles = volumes.inputs + volumes.results
    of_gradient = problem.pass_ == "weight_gradient"
    if scheme == "apart":
        if of_gradient:
            return threads * weights + min(all_tiles, threads * PRIVATE_GRADIENT_BYTES)
        return weights + min(all_tiles, threads * PRIVATE_BYTES)
    if scheme == "whole":
        return weights + all_tiles
    if scheme == "at_once":
        of_pair = weights // problem.register_pairs
        rows = 96 if of_gradient else problem.source_channels
        return all_tiles + threads * of_pair * problem.panel * rows
    most = max(BLOCK_BYTES, 64 * all_tiles // volumes.tiles)
    return weights + min(all_tiles, most)


def _exchanged(problem: Problem, volumes: Volumes, scheme: Scheme) -> int:
    """Bytes that a thread takes of what others wrote, and that are taken from it for the next."""
    threads = problem.threads
    if scheme in ("apart", "whole"):  # all of the weight; of its gradient's sums a share
        of_gradient = problem.pass_ == "weight_gradient"
        taken = volumes.weights // threads if of_gradient else volumes.weights
    elif scheme == "together":
        taken = (volumes.weights + volumes.inputs + volumes.results) // threads
    elif problem.pass_ == "weight_gradient":
        taken = volumes.inputs + volumes.results
    else:
        taken = volumes.inputs + volumes.results // threads
    return 2 * taken * (threads - 1) // threads


def winograd_2x2(problem: Problem) -> AlgorithmCost:
    """F(2x2, 3x3), or F(2x2, 5x5), or 2x2 outputs of 3x3 at stride 2."""
    return winograd_cost(problem, 2)


def winograd_4x4(problem: Problem) -> AlgorithmCost:
    """F(4x4, 3x3), or 4x4 outputs at stride 2."""
    return winograd_cost(problem, 4)
