"""The algorithms' counts by hand and against their formulas, their choice, and their algebra."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.theory import conv2d, winograd
from lamina.theory import conv2d_algorithms as algorithms
from lamina.theory.complexity import evaluate, exponents
from lamina.theory.conv2d_problem import AlgorithmCost, Stage
from lamina.theory.limits import Machine

MACHINE = Machine(peak_flops=200e9, bandwidth=20e9)
PASSES = ("forward", "input_gradient", "weight_gradient")


def stages(cost):
    return {stage.name: stage for stage in cost.stages}


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(1, 3)
)
def test_complexity_is_the_count(n, h, w, k, stride):
    c, m, groups = 6, 4, 2
    values = {"N": n, "H": h, "W": w, "C": c, "M": m, "groups": groups}
    for name in ("direct", "im2col"):
        case = conv2d.problem((n, c, h, w), m, k, stride, "same", groups=groups)
        expected = algorithms.ALGORITHMS[name](case).flops
        assert evaluate(algorithms.complexity(name), **values, K=k, stride=stride) == expected
        assert expected == conv2d.cost((n, c, h, w), m, k, stride, "same", 1, groups, False).flops
    for name, side in (("implicit_gemm", 1), ("winograd_2x2", 3), ("winograd_4x4", 3)):
        case = conv2d.problem((n, c, h, w), m, side, padding="same", groups=groups)
        expected = algorithms.ALGORITHMS[name](case).flops
        assert evaluate(algorithms.complexity(name), **values) == expected


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_fourier_complexity_is_the_count_at_a_fast_size(kernel_size):
    side = 32 - kernel_size + 1
    case = conv2d.problem((2, 6, side, side), 4, kernel_size, padding="same", groups=2)
    assert algorithms.fft_size(case) == (32, 32)
    values = {"N": 2, "H": side, "W": side, "C": 6, "M": 4, "groups": 2, "K": kernel_size}
    assert evaluate(algorithms.complexity("fft"), **values) == algorithms.fft(case).flops


def test_exponents_say_what_grows():
    assert exponents(algorithms.complexity("direct"))["K"] == 2
    assert exponents(algorithms.complexity("winograd_4x4")) == {
        "C": 1, "H": 1, "M": 1, "N": 1, "W": 1, "groups": 0,
    }  # fmt: skip


def test_winograd_by_hand():
    # 7 x 7 outputs are 2 x 2 tiles of 4 x 4, two images: 8 tiles; 3 -> 5 channels.
    case = conv2d.problem((2, 3, 7, 7), 5, 3, padding=1, threads=2)
    cost = algorithms.winograd_4x4(case)
    a, g, b = (winograd.tile_flops(matrix) for matrix in winograd.transforms(4, 3))
    assert {stage.name: stage.flops for stage in cost.stages} == {
        "weight_transform": 15 * g,
        "input_transform": 8 * 3 * b,
        "product": 2 * 36 * 8 * 15,
        "output_transform": 8 * 5 * a,
        "exchange": 0,
    }
    # Half of a thread's points come from the other's tiles and weights, and go back.
    assert stages(cost)["exchange"].exchanged_bytes == 4 * 36 * (15 + 8 * (3 + 5)) // 2
    transformed = 4 * 36 * 15
    tiles = 4 * 36 * 8 * (3 + 5)  # their points
    assert cost.bytes_moved == 4 * (15 * 9 + 2 * 3 * 49 + 2 * 5 * 49) + 2 * transformed
    assert sum(stage.cached_bytes for stage in cost.stages) == tiles
    assert cost.workspace_bytes == transformed + tiles  # few enough to be transformed at once


def test_winograd_in_registers_of_16():
    case = replace(conv2d.problem((2, 3, 7, 7), 5, 3, padding=1), lanes=16)
    cost = algorithms.winograd_4x4(case)
    assert stages(cost)["product"].flops == 2 * 36 * 8 * 3 * 16  # 5 channels fill one register
    assert cost.workspace_bytes == 4 * 36 * (3 * 16 + 8 * (16 + 16))


def test_winograd_workspace_by_what_is_larger():
    many_tiles = conv2d.problem((16, 64, 56, 56), 64, 3, padding=1, threads=2)
    transformed, private = 4 * 36 * 64 * 64, 2 * 640 * 1024
    assert algorithms.winograd_4x4(many_tiles).workspace_bytes == transformed + private
    gradient = many_tiles.of("weight_gradient")  # sums of every thread's own
    assert algorithms.winograd_4x4(gradient).workspace_bytes == 2 * (transformed + (2 << 20))
    fewer_tiles = conv2d.problem((1, 64, 32, 32), 64, 3, padding=1, threads=2)  # 64: everybody's
    everybodys = 4 * 36 * 64 * (64 + 64)
    for pass_ in PASSES:
        cost = algorithms.winograd_4x4(fewer_tiles.of(pass_))
        assert cost.workspace_bytes == transformed + everybodys
    uneven = conv2d.problem((16, 192, 14, 14), 192, 3, padding=1, threads=2)
    uneven = replace(uneven, lanes=16)  # three panels for two threads: the whole weight
    whole = 4 * 36 * 192 * 192
    assert algorithms.winograd_4x4(uneven).workspace_bytes == whole + 4 * 36 * 256 * 2 * 192
    deep = conv2d.problem((1, 512, 7, 7), 512, 3, padding=1, threads=2)
    panel = 4 * 36 * 512 * 4
    assert algorithms.winograd_4x4(deep).workspace_bytes == 4 * 36 * 4 * 1024 + 2 * panel
    product = stages(algorithms.winograd_4x4(deep))["product"]  # finds its panel in the caches
    assert (product.bytes_moved, product.cached_bytes) == (0, 4 * 36 * 512 * 512)


def test_products_of_winograd_are_four_ninths_and_a_quarter():
    case = conv2d.problem((1, 8, 16, 16), 8, 3, padding=1)
    for name, share in (("winograd_2x2", Fraction(4, 9)), ("winograd_4x4", Fraction(1, 4))):
        product = stages(algorithms.ALGORITHMS[name](case))["product"].flops
        assert Fraction(product, 2 * case.macs) == share


def test_products_at_stride_2():
    """25/36 and 81/144 of the sum; what is stored of a tile are the distinct rows."""
    case = conv2d.problem((1, 8, 16, 16), 8, 3, 2, padding=1)
    for name, share in (("winograd_2x2", Fraction(25, 36)), ("winograd_4x4", Fraction(81, 144))):
        for pass_ in PASSES:
            product = stages(algorithms.ALGORITHMS[name](case.of(pass_)))["strided_product"].flops
            assert Fraction(product, 2 * case.macs) == share
    found = stages(algorithms.winograd_2x2(case))
    assert found["input_transform"].cached_bytes == 4 * 25 * 16 * 8  # 4 x 4 tiles, 8 channels
    assert found["strided_product"].bytes_moved == 4 * 16 * 64
    assert found["output_transform"].cached_bytes == 4 * 9 * 16 * 8
    # By columns 0 2, 0 2 and 2 4 of the data's matrix, one addition each, and three copies.
    assert found["input_transform"].flops == 16 * 8 * 2 * (5 + 5)


def test_winograd_strided_input_gradient_tiles_by_the_paddings_parity():
    def tiles(padding):
        case = conv2d.problem((1, 3, 8, 8), 5, 3, 2, padding, pass_="input_gradient")
        return stages(algorithms.winograd_2x2(case))["strided_product"].flops // (2 * 25 * 15)

    assert tiles(((1, 1), (1, 1))) == tiles(((0, 1), (0, 1))) == 2 * 2
    assert tiles(((1, 1), (0, 1))) == 3 * 2


def test_winograd_input_gradient_tiles_the_input():
    case = conv2d.problem((1, 3, 9, 9), 5, 3, pass_="input_gradient")  # 9 x 9 -> 7 x 7
    product = stages(algorithms.winograd_4x4(case))["product"].flops
    assert product == 2 * 36 * 9 * 15
    forward = conv2d.problem((1, 3, 9, 9), 5, 3)
    assert stages(algorithms.winograd_4x4(forward))["product"].flops == 2 * 36 * 4 * 15


@pytest.mark.parametrize("tile", [2, 4])
def test_weight_gradient_by_transposed_transforms(tile):
    """The gradient is dw = G^T [(B^T d B) * (A dy A^T)] G, the algebra that is counted."""
    rng = np.random.default_rng(tile)
    a, g, b = (np.array(matrix, float) for matrix in winograd.transforms(tile, 3))
    d, dy = rng.standard_normal((tile + 2, tile + 2)), rng.standard_normal((tile, tile))
    ours = g.T @ ((b @ d @ b.T) * (a.T @ dy @ a)) @ g
    exact = [[(d[p : p + tile, q : q + tile] * dy).sum() for q in range(3)] for p in range(3)]
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-12)


def test_im2col_by_hand():
    case = conv2d.problem((2, 3, 8, 8), 5, 3)  # 6 x 6 windows of 27
    cost = algorithms.im2col(case)
    one_image = 4 * 36 * 27
    assert cost.workspace_bytes == one_image
    assert stages(cost)["unfold"].bytes_moved == 4 * 2 * 3 * 64 + 2 * one_image
    gradient = algorithms.im2col(conv2d.problem((2, 3, 8, 8), 5, 3, pass_="input_gradient"))
    assert [stage.name for stage in gradient.stages] == ["product", "fold"]
    assert gradient.flops - cost.flops == 2 * 36 * 27


def test_fft_by_hand():
    case = conv2d.problem((2, 3, 6, 6), 4, 3, padding=1)  # padded 8 x 8: 64 points, 8 x 5 spectra
    cost = algorithms.fft(case)
    transform, planes = 2.5 * 64 * 6, 2 * 3 + 3 * 4 + 2 * 4
    assert cost.flops == planes * transform + 8 * 2 * 12 * 40
    assert cost.workspace_bytes == planes * 40 * 8


def test_fast_fft_sizes():
    assert [algorithms.fast_fft_size(n) for n in (1, 7, 11, 13, 31, 61, 97)] == [
        1, 8, 12, 15, 32, 64, 100,
    ]  # fmt: skip


@pytest.mark.parametrize("pass_", PASSES)
def test_all_passes_do_the_same_direct_sum(pass_):
    case = conv2d.problem((2, 6, 9, 9), 4, 3, 2, 1, groups=2, pass_=pass_)
    cost = algorithms.direct(case)
    assert cost.flops == 2 * (2 * 4 * 25) * 27
    moved = 4 * (2 * 6 * 81 + 4 * 27 + 2 * 4 * 25)
    assert stages(cost)["product"].bytes_moved == moved
    assert stages(cost)["gather"].cached_bytes == 8 * 50 * 9  # an address for each tap
    assert cost.bytes_moved == moved + 2 * 4 * 4 * 27
    positions = 512 if pass_ == "weight_gradient" else 96
    assert cost.workspace_bytes == 4 * 4 * 27 + positions * (4 * 4 + 8 * 9)


def test_direct_sums_of_the_weights_gradient_for_every_thread():
    beside = 512 * (16 + 72)
    case = conv2d.problem((2, 6, 30, 30), 4, 3, pass_="weight_gradient", threads=3)
    assert algorithms.direct(case).workspace_bytes == 3 * (4 * 24 * 9 + beside)
    # Fewer positions than weights: two panels of outputs, a thread for each, and one to spare.
    few = conv2d.problem((2, 6, 3, 3), 8, 3, pass_="weight_gradient", threads=3)
    assert algorithms.direct(few).workspace_bytes == 1 * 4 * 48 * 9 + 3 * beside


def test_direct_reads_the_weights_of_few_positions_where_they_lie():
    few = conv2d.problem((1, 500, 1, 16), 1000, 1)
    for pass_ in PASSES:
        cost = algorithms.direct(few.of(pass_))
        (product,) = cost.stages
        assert product == Stage(
            "few_positions", 2 * few.macs, few.inputs + few.weights + few.outputs
        )
        assert cost.workspace_bytes == (0 if pass_ == "forward" else few.inputs)
    # A register of inputs is computed whole.
    (whole,) = algorithms.direct(replace(few, lanes=8)).stages
    assert whole.flops == 2 * 16 * 504 * 1000
    some = conv2d.problem((1, 512, 1, 200), 1000, 1)
    assert algorithms.direct(some.of("input_gradient")).workspace_bytes == 64 * 4 * 512
    assert algorithms.direct(some.of("weight_gradient")).workspace_bytes == some.inputs
    many = conv2d.problem((1, 512, 1, 65), 1000, 1)
    assert stages(algorithms.direct(many))["pack"].bytes_moved > many.weights
    planes = replace(few, channels_last=False)
    assert stages(algorithms.direct(planes))["pack"].bytes_moved > few.weights
    # MKL's share is another with few rows.
    assert [s.name for s in algorithms.matrix_product(few).stages] == ["few_positions"]
    assert [s.name for s in algorithms.matrix_product(many).stages] == ["product"]


def test_pytorchs_own_clears_fresh_pages_of_a_large_result():
    small, large = (conv2d.problem((n, 3, 112, 112), 64, 1) for n in (2, 4))
    assert stages(algorithms.onednn(small))["first_touch"].bytes_moved == 0
    assert stages(algorithms.onednn(large))["first_touch"].bytes_moved == large.outputs
    assert stages(algorithms.onednn(large.of("input_gradient")))["first_touch"].bytes_moved == 0


def test_predicted_time_adds_stages_at_their_own_limits():
    cost = AlgorithmCost(
        "im2col", (Stage("unfold", 0, 100, working_set=10), Stage("product", 50, 5))
    )
    assert cost.predicted_time(Machine(10.0, 10.0)) == 10 + 5
    assert cost.predicted_time(Machine(10.0, 10.0, overhead={"im2col": 3.0})) == 3 + 10 + 5
    assert cost.predicted_time(Machine(10.0, 10.0, 10, 50.0)) == 2 + 5
    slow = Machine(10.0, 10.0, efficiency={"im2col.product": 0.5})
    assert cost.predicted_time(slow) == 10 + 10
    inside = AlgorithmCost("im2col", (Stage("unfold", 0, 100, cached_bytes=200),))
    assert inside.predicted_time(Machine(10.0, 10.0)) == 10
    assert inside.predicted_time(Machine(10.0, 10.0, 0, 50.0)) == 10 + 4
    half = Machine(10.0, 10.0, efficiency={"im2col.unfold": 0.5})  # of the bandwidth, too
    assert cost.predicted_time(half) == 20 + 5


def test_compare_chooses_by_the_problem_and_by_the_machine():
    deep, shallow = (16, 256, 14, 14), (16, 1, 14, 14)
    assert conv2d.compare(deep, 256, 3, padding=1, machine=MACHINE).fastest == "winograd_4x4"
    assert conv2d.compare(shallow, 1, 3, padding=1, machine=MACHINE).fastest == "direct"
    assert conv2d.compare((1, 64, 56, 56), 64, 11, padding=5, machine=MACHINE).fastest == "fft"
    poor = Machine(200e9, 20e9, efficiency={"winograd_4x4": 0.2, "winograd_2x2": 0.2, "fft": 0.1})
    assert conv2d.compare(deep, 256, 3, padding=1, machine=poor).fastest == "direct"


def test_compare_is_sorted_and_complete():
    table = conv2d.compare((2, 8, 16, 16), 8, 3, 2, "same", machine=MACHINE)
    seconds = [row.seconds for row in table.rows]
    assert seconds == sorted(seconds)
    assert {row.algorithm for row in table.rows} | set(table.not_applicable) == set(
        algorithms.ALGORITHMS
    )
    assert table["direct"].speedup == 1.0
    assert table["im2col"].speedup == table["direct"].seconds / table["im2col"].seconds
    lines = str(table).splitlines()
    assert len(lines) == 1 + len(algorithms.ALGORITHMS)
    assert lines[-1] == "fft: stride must be 1, got (2, 2)"


@pytest.mark.parametrize(
    ("algorithm", "window", "reason"),
    [
        ("winograd_4x4", {"kernel_size": 5}, "kernel_size must be 3, got (5, 5)"),
        ("winograd_2x2", {"kernel_size": 5}, None),
        ("winograd_2x2", {"kernel_size": 7}, "kernel_size must be 3 or 5, got (7, 7)"),
        ("winograd_4x4", {"dilation": 2}, "dilation must be 1, got (2, 2)"),
        ("winograd_4x4", {"stride": 2}, None),
        ("winograd_2x2", {"stride": (1, 2)}, "stride must be 1 or 2, got (1, 2)"),
        ("winograd_2x2", {"stride": 2, "kernel_size": 5}, "stride must be 1, got (2, 2)"),
        ("fft", {"stride": 2}, "stride must be 1, got (2, 2)"),
        ("implicit_gemm", {}, "kernel_size must be 1, got (3, 3)"),
        (
            "implicit_gemm",
            {"kernel_size": 1, "padding": ((0, 1), (0, 0))},
            "padding must be 0, got ((0, 1), (0, 0))",
        ),
        ("fft", {"dilation": 2}, None),
        ("winograd_4x4", {"groups": 2}, None),
        ("im2col", {"stride": 2, "dilation": 2}, None),
    ],
)
def test_why_not(algorithm, window, reason):
    case = conv2d.problem(
        **({"input_shape": (1, 4, 9, 9), "out_channels": 4, "kernel_size": 3} | window)
    )
    assert algorithms.why_not(algorithm, case) == reason


def test_refuses():
    case = conv2d.problem((1, 4, 9, 9), 4, 3)
    with pytest.raises(ValueError, match=r"^algorithm must be one of 'direct', .* got 'strassen'$"):
        algorithms.why_not("strassen", case)
    with pytest.raises(ValueError, match=r"^pass_ must be one of 'forward', .* got 'backward'$"):
        conv2d.problem((1, 4, 9, 9), 4, 3, pass_="backward")
