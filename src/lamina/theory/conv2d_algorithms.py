"""The algorithms of Conv2D: operations, bytes, workspace and complexity of each, pass by pass.

T = N * Ho * Wo output positions, R = C/groups * Kh * Kw terms of each; FLOPs of a pass:

============== =============================================================================
direct         2 T M R; x, w and y move once; workspace: the weight, laid out anew
implicit_gemm  the same; a 1x1 convolution of stride 1 without padding *is* a matrix product
im2col         the same, after every window of an image was copied to a row of a matrix: T C Kh Kw
               elements written and read again; workspace: the matrix of one image
winograd_2x2   F(2x2, 3x3): 2 * 16 P M C/groups, P = N ceil(Ho/2) ceil(Wo/2) tiles: 16/36 of the
               direct sum; and the transforms, P C, P M and M C/groups of them. For 5x5 kernels
               F(2x2, 5x5): 36 in the place of 16, 36/100 of it; at stride 2, 3x3, 25 and 25/36
winograd_4x4   F(4x4, 3x3): 2 * 36 P M C/groups, P = N ceil(Ho/4) ceil(Wo/4): 36/144; at stride 2
               81 in the place of 36, 81/144
fft            one real Fourier transform of F = Fh * Fw points, 2.5 F log2 F, for each of N C,
               M C/groups and N M planes, and 8 N M C/groups Fh (Fw/2 + 1) for complex products
============== =============================================================================

The transforms are linear in one number of channels, the products in both: with many channels the
products decide, and their share is what is saved. Fourier's products do not grow with the kernel,
so it wins for large ones. The gradients are the same three tensors in other roles: the input's
gradient is a convolution of dy with C and M exchanged, the weight's a product over tiles.

Source: im2col: Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for
Document Processing" (2006), section 2; direct: Zhang, Franchetti and Low, "High Performance
Zero-Memory Overhead Direct Convolutions" (2018), section 3; Winograd: Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks" (2016), sections 4 and 5; Fourier: Mathieu, Henaff
and LeCun, "Fast Training of Convolutional Networks through FFTs" (2013), section 2.2; its count:
Frigo and Johnson, "The Design and Implementation of FFTW3" (2005), section I.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2, prod
from typing import TYPE_CHECKING

from lamina.theory import winograd
from lamina.theory.complexity import output_pixels, symbols
from lamina.theory.conv2d_problem import AlgorithmCost, Problem, Stage
from lamina.theory.shapes import Pair
from lamina.theory.validation import one_of

if TYPE_CHECKING:
    import sympy

BLOCK_BYTES = 8 << 20
"""Of transformed tiles that are alive at a time, as a rule."""

PRIVATE_BYTES, PRIVATE_WEIGHT_BYTES = 640 << 10, 4 << 20
"""Of a thread's own tiles where they are many and the transformed weight is no larger than that."""

ALL_TILES_BYTES = 24 << 20
"""All tiles are transformed at once where they are no more than this and the weight is larger than
``PRIVATE_WEIGHT_BYTES``: each thread then transforms a panel of the weight at a time."""

PANEL_REGISTERS = 4
"""Registers of result channels that a product works on at a time."""

DIRECT_POSITIONS = {"forward": 96, "input_gradient": 96, "weight_gradient": 512}
"""Positions that a thread of the direct sum keeps at hand: their addresses, and a panel of sums or
of gradients."""


FRESH_BYTES = 8 << 20
"""A result larger than that is in fresh memory at PyTorch's calls, and the system clears each page
when it is first touched. The C library gives blocks past 32 MiB back at once, and smaller ones
where with what was freed beside them they are more than twice the largest of them."""


def direct(problem: Problem) -> AlgorithmCost:
    """The sum as it is written, blocked over registers; only the weights are laid out anew.

    Every tap of every position is an address to be looked up; where channels are few, every row of
    taps. In the weight's gradient each
    thread sums its share of the positions, and the sums are added up in the weight's layout; where
    the weight is the larger of the two, threads share its panels instead. Of NCHW images, what is
    a matrix product takes the planes where they lie; with few positions, the weight.
    """
    taps = prod(problem.kernel_size)
    few = _has_few_positions(problem)
    packed = 0 if few else problem.itemsize * taps * problem.register_pairs
    moved = problem.inputs + problem.weights + problem.outputs
    copies = 1
    if problem.pass_ == "weight_gradient":
        panels = -(-problem.result_channels // (PANEL_REGISTERS * problem.lanes))
        shared = min(problem.threads, panels) if packed > 4 * problem.positions else 1
        copies = problem.threads // shared
    positions = DIRECT_POSITIONS[problem.pass_]
    looked_up = problem.kernel_size[0] if _takes_rows(problem) else taps
    summed = problem.whole_registers(problem.positions) if few else problem.positions
    reorder = () if problem.is_matrix_product else _reorder(problem)
    stages = (
        Stage("pack", 0, 0 if few else problem.weights + copies * packed),
        Stage("gather", 0, 0, cached_bytes=8 * problem.positions * looked_up),
        Stage("product", 2 * summed * taps * problem.register_pairs, moved),
        *reorder,
    )
    beside = positions * (problem.itemsize * PANEL_REGISTERS * problem.lanes + 8 * taps)
    transposed = problem.inputs + problem.outputs if few else 0
    workspace = transposed + copies * packed + problem.threads * beside
    return AlgorithmCost("direct", stages, workspace)


def _reorder(problem: Problem) -> tuple[Stage, ...]:
    """NCHW images to channels-last and back: two of the pass's three tensors are images."""
    moved = 2 * (problem.inputs + problem.outputs)
    return () if problem.channels_last else (Stage("reorder", 0, moved),)


FEW_CHANNELS = 16
"""Below them the direct sum takes a row of taps as one stretch."""


FEW_POSITIONS = 64
"""Of a matrix product whose weight is much the larger operand: the images are transposed for it."""


def _has_few_positions(problem: Problem) -> bool:
    return (
        problem.is_matrix_product
        and problem.pass_ != "input_gradient"  # which sums over the weight's rows
        and problem.positions <= FEW_POSITIONS
        and min(problem.source_channels, problem.result_channels) >= 4 * problem.positions
    )


def _takes_rows(problem: Problem) -> bool:
    return (
        problem.pass_ != "input_gradient"
        and problem.groups == 1
        and problem.input_shape[1] < FEW_CHANNELS
        and problem.dilation[1] == 1
    )


def onednn(problem: Problem) -> AlgorithmCost:
    """PyTorch's own: the direct sum on weights that every call lays out anew.

    Not one of ``ALGORITHMS``: what it does for a shape is its own affair, and only its time is
    modelled, a strided one's by a share of its own.
    """
    flops = 2 * problem.positions * prod(problem.kernel_size) * problem.register_pairs
    moved = problem.inputs + problem.weights + problem.outputs
    result = {
        "forward": problem.outputs,
        "input_gradient": problem.inputs,
        "weight_gradient": problem.weights,
    }[problem.pass_]
    stages = (
        Stage("pack", 0, 2 * problem.weights),
        Stage("product" if problem.stride == (1, 1) else "strided_product", flops, moved),
        Stage("first_touch", 0, result if result > FRESH_BYTES else 0),
        *_reorder(problem),
    )
    return AlgorithmCost("onednn", stages)


def implicit_gemm(problem: Problem) -> AlgorithmCost:
    """The matrix product that a pointwise convolution is, on the tensors where they lie."""
    moved = problem.inputs + problem.weights + problem.outputs
    return AlgorithmCost("implicit_gemm", (Stage("product", 2 * problem.macs, moved),))


def im2col(problem: Problem) -> AlgorithmCost:
    """Windows copied to a matrix image by image, then a matrix product.

    For the input's gradient the product comes first and the matrix is added back into the image,
    an addition for each element.
    """
    batch, channels = problem.input_shape[:2]
    rows = problem.output_shape[2] * problem.output_shape[3]
    one_image = problem.itemsize * rows * channels * prod(problem.kernel_size)
    matrix = batch * one_image
    folds = problem.pass_ == "input_gradient"
    copy = Stage(
        "fold" if folds else "unfold",
        matrix // problem.itemsize if folds else 0,
        problem.inputs + matrix,
        working_set=one_image,
    )
    product = Stage(
        "product",
        2 * problem.macs,
        matrix + problem.weights + problem.outputs,
        working_set=one_image + problem.weights,
    )
    stages = (product, copy) if folds else (copy, product)
    return AlgorithmCost("im2col", stages, workspace_bytes=one_image)


def winograd_cost(problem: Problem, output_tile: int) -> AlgorithmCost:
    """F(m x m, r x r), a block of tiles at a time: only the transformed weights leave the cache.

    For the weight's gradient the data stay what they were, dy is transformed with A in the place
    of the weights with G, the products are summed over the tiles, and G^T makes r x r of them.
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
    transformed = of_weights * problem.register_pairs
    tile = of_tiles * sources + of_results * results
    # A panel of the weights at a time stays where its thread finds it again.
    cached = transformed if _takes_all_tiles(problem, of_weights, tile, tiles) else 0
    stages = (
        Stage(
            "weight_transform",
            problem.register_pairs * winograd.tile_flops(g),
            problem.weights + transformed - cached,
            cached_bytes=cached,
        ),
        Stage(
            "input_transform",
            tiles * sources * winograd.tile_flops(b),
            read,
            cached_bytes=of_tiles * tiles * sources,
        ),
        Stage(
            "product",
            2 * products * tiles * problem.register_pairs,
            transformed - cached,
            cached_bytes=cached,
        ),
        Stage(
            "output_transform",
            tiles * results * winograd.tile_flops(a),
            written,
            cached_bytes=of_results * tiles * results,
        ),
        *_reorder(problem),
    )
    workspace = _winograd_workspace(problem, of_weights, tile, tiles)
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


def _takes_all_tiles(problem: Problem, of_weights: int, tile: int, tiles: int) -> bool:
    """Whether all tiles are transformed at once; arguments as for ``_winograd_workspace``."""
    panels = -(-problem.result_channels // (PANEL_REGISTERS * problem.lanes))
    return (
        tile * tiles <= ALL_TILES_BYTES
        and of_weights * problem.register_pairs > PRIVATE_WEIGHT_BYTES
        and panels >= problem.threads
    )


def _winograd_workspace(problem: Problem, of_weights: int, tile: int, tiles: int) -> int:
    """Bytes of transformed weights and tiles that are alive at once.

    ``of_weights`` are those of a pair of channels, ``tile`` those of a tile.
    """
    transformed, all_tiles = of_weights * problem.register_pairs, tile * tiles
    panel = PANEL_REGISTERS * problem.lanes
    if _takes_all_tiles(problem, of_weights, tile, tiles):
        rows = 96 if problem.pass_ == "weight_gradient" else problem.source_channels
        return all_tiles + problem.threads * of_weights * panel * rows
    private = problem.threads * PRIVATE_BYTES
    if (
        problem.pass_ != "weight_gradient"
        and transformed <= PRIVATE_WEIGHT_BYTES
        and all_tiles >= 4 * private
    ):
        return transformed + private
    return transformed + min(all_tiles, max(BLOCK_BYTES, 64 * tile))


def winograd_2x2(problem: Problem) -> AlgorithmCost:
    """F(2x2, 3x3), or F(2x2, 5x5), or 2x2 outputs of 3x3 at stride 2."""
    return winograd_cost(problem, 2)


def winograd_4x4(problem: Problem) -> AlgorithmCost:
    """F(4x4, 3x3), or 4x4 outputs at stride 2."""
    return winograd_cost(problem, 4)


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


ALGORITHMS: dict[str, Callable[[Problem], AlgorithmCost]] = {
    "direct": direct,
    "im2col": im2col,
    "implicit_gemm": implicit_gemm,
    "winograd_2x2": winograd_2x2,
    "winograd_4x4": winograd_4x4,
    "fft": fft,
}


def why_not(algorithm: str, problem: Problem) -> str | None:
    """What the algorithm asks for and the problem does not have; None where it applies.

    Raises:
        ValueError: an algorithm of another name.
    """
    one_of(algorithm, "algorithm", ALGORITHMS)
    if algorithm in ("direct", "im2col"):
        return None
    strides = [1]
    if algorithm in ("winograd_2x2", "winograd_4x4") and problem.kernel_size == (3, 3):
        strides.append(2)
    if problem.stride not in [(stride, stride) for stride in strides]:
        return f"stride must be {' or '.join(map(str, strides))}, got {problem.stride}"
    if algorithm == "implicit_gemm":
        if problem.kernel_size != (1, 1):
            return f"kernel_size must be 1, got {problem.kernel_size}"
        if any(map(any, problem.padding)):
            return f"padding must be 0, got {problem.padding}"
    elif algorithm != "fft":
        # F(2x2, 5x5) has the points of F(4x4, 3x3); F(4x4, 5x5) would have 8, and swell errors.
        sides = (3, 5) if algorithm == "winograd_2x2" else (3,)
        if problem.kernel_size not in [(side, side) for side in sides]:
            wanted = " or ".join(map(str, sides))
            return f"kernel_size must be {wanted}, got {problem.kernel_size}"
        if problem.dilation != (1, 1):
            return f"dilation must be 1, got {problem.dilation}"
    return None


def complexity(algorithm: str) -> sympy.Expr:
    """FLOPs of the forward pass, square kernel, ``"same"`` padding.

    Winograd's are for K = 3 and stride 1; Fourier's for stride 1 and transforms of exactly
    H + K - 1 by W + K - 1 points.

    Raises:
        ValueError: an algorithm of another name.

    Example:
        >>> complexity("implicit_gemm")
        2*C*H*M*N*W/groups
    """
    import sympy

    one_of(algorithm, "algorithm", ALGORITHMS)
    s = symbols()
    pairs = s.M * s.C / s.groups
    if algorithm in ("direct", "im2col"):
        return 2 * s.N * output_pixels() * pairs * s.K**2
    if algorithm == "implicit_gemm":
        return 2 * s.N * s.H * s.W * pairs
    if algorithm == "fft":
        rows, columns = s.H + s.K - 1, s.W + s.K - 1
        points = rows * columns
        transforms = sympy.Rational(5, 2) * points * sympy.log(points, 2)
        planes = s.N * s.C + s.N * s.M + pairs
        return planes * transforms + 8 * s.N * pairs * rows * (sympy.floor(columns / 2) + 1)
    tile = 2 if algorithm == "winograd_2x2" else 4
    a, g, b = (winograd.tile_flops(matrix) for matrix in winograd.transforms(tile, 3))
    tiles = s.N * sympy.ceiling(s.H / tile) * sympy.ceiling(s.W / tile)
    return tiles * (2 * (tile + 2) ** 2 * pairs + b * s.C + a * s.M) + g * pairs
