"""The direct sum by stages: our kernel's, PyTorch's own, as a matrix product, and by im2col.

Source: direct: Zhang, Franchetti and Low, "High Performance Zero-Memory Overhead Direct
Convolutions" (2018), section 3; im2col: Chellapilla, Puri and Simard, "High Performance
Convolutional Neural Networks for Document Processing" (2006), section 2.
"""

from __future__ import annotations

from math import prod

from lamina.theory.conv2d_problem import AlgorithmCost, Problem, Stage, reorder

DIRECT_POSITIONS = {"forward": 96, "input_gradient": 96, "weight_gradient": 512}
"""Positions that a thread of the direct sum keeps at hand: their addresses, and a panel of sums or
of gradients."""

FRESH_BYTES = 8 << 20
"""A result larger than that is in fresh memory at PyTorch's calls, and the system clears each page
when it is first touched. The C library gives blocks past 32 MiB back at once, and smaller ones
where with what was freed beside them they are more than twice the largest of them."""

FEW_CHANNELS = 16
"""Below them the direct sum takes a row of taps as one stretch."""

FEW_POSITIONS = {"forward": 64, "input_gradient": 256, "weight_gradient": 256}
"""Of a matrix product whose weight is the larger operand: it is read where it lies, a register of
the inputs at a time."""

BLOCK_POSITIONS = 64
"""Of few: whose sums wait in the second cache while the weights go by."""


def direct(problem: Problem) -> AlgorithmCost:
    """The sum as it is written, blocked over registers; only the weights are laid out anew.

    Every tap of every position is an address to be looked up; where channels are few, every row of
    taps. In the weight's gradient each thread sums its share of the positions, and the sums are
    added up in the weight's layout; where the weight is the larger of the two, threads share its
    panels instead. Of NCHW images, what is a matrix product takes the planes where they lie; with
    few positions, the weight, and a register holds inputs.

    Example:
        >>> from lamina.theory import conv2d
        >>> case = conv2d.problem((1, 64, 56, 56), 64, 3, padding=1)
        >>> [(stage.name, stage.flops / case.macs) for stage in direct(case).stages]
        [('pack', 0.0), ('gather', 0.0), ('product', 2.0)]
    """
    taps = prod(problem.kernel_size)
    moved = problem.inputs + problem.weights + problem.outputs
    if _has_few_positions(problem):
        return _direct_of_few_positions(problem, moved)
    packed = problem.itemsize * taps * problem.register_pairs
    copies = 1
    if problem.pass_ == "weight_gradient":
        shared = min(problem.threads, problem.panels) if packed > 4 * problem.positions else 1
        copies = problem.threads // shared
    positions = DIRECT_POSITIONS[problem.pass_]
    looked_up = problem.kernel_size[0] if _takes_rows(problem) else taps
    stages = (
        Stage("pack", 0, problem.weights + copies * packed),
        Stage("gather", 0, 0, cached_bytes=8 * problem.positions * looked_up),
        Stage("product", 2 * problem.positions * taps * problem.register_pairs, moved),
        *(() if problem.is_matrix_product else reorder(problem)),
    )
    beside = positions * (problem.itemsize * problem.panel + 8 * taps)
    workspace = copies * packed + problem.threads * beside
    return AlgorithmCost("direct", stages, workspace)


def _direct_of_few_positions(problem: Problem, moved: int) -> AlgorithmCost:
    inputs = problem.whole_registers(problem.input_shape[1])
    flops = 2 * problem.positions * problem.output_shape[1] * inputs
    # Of the gradients, whose inputs lie [register][position].
    interleaved = {
        "forward": 0,
        "input_gradient": min(problem.positions, BLOCK_POSITIONS),
        "weight_gradient": problem.positions,
    }
    workspace = problem.itemsize * inputs * interleaved[problem.pass_]
    return AlgorithmCost("direct", (Stage("few_positions", flops, moved),), workspace)


def _has_few_positions(problem: Problem) -> bool:
    return (
        problem.is_matrix_product
        and problem.channels_last
        and problem.positions <= FEW_POSITIONS[problem.pass_]
        and min(problem.source_channels, problem.result_channels) >= 2 * problem.positions
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
        *reorder(problem),
    )
    return AlgorithmCost("onednn", stages)


def implicit_gemm(problem: Problem) -> AlgorithmCost:
    """The matrix product that a pointwise convolution is, on the tensors where they lie."""
    moved = problem.inputs + problem.weights + problem.outputs
    return AlgorithmCost("implicit_gemm", (Stage("product", 2 * problem.macs, moved),))


def matrix_product(problem: Problem) -> AlgorithmCost:
    """PyTorch's own of a dense layer. Not one of ``ALGORITHMS``, as ``onednn``.

    With few rows its time is modelled by a share of its own.
    """
    moved = problem.inputs + problem.weights + problem.outputs
    name = "few_positions" if _has_few_positions(problem) else "product"
    return AlgorithmCost("matrix_product", (Stage(name, 2 * problem.macs, moved),))


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
