"""The bounds hold on real float32 arithmetic, and are not so loose as to say nothing."""

import math

import pytest
import torch

from lamina.theory import numerics, winograd


def test_gamma():
    assert numerics.gamma(1, "float64") == pytest.approx(2.0**-53)
    assert numerics.gamma(2**24) == math.inf
    with pytest.raises(ValueError, match=r"^dtype must be one of 'float64', .* got 'int8'$"):
        numerics.gamma(1, "int8")


@pytest.mark.parametrize("terms", [1, 7, 576, 4608])
def test_dot_error_bound_holds_for_a_running_sum(terms):
    generator = torch.Generator().manual_seed(terms)
    x, w = torch.randn(2, terms, generator=generator)
    running = (x * w).cumsum(0)[-1].item()  # one accumulator, in order
    exact = (x.double() * w.double()).sum().item()
    magnitude = (x.double() * w.double()).abs().sum().item()
    assert abs(running - exact) <= numerics.dot_error_bound(terms, magnitude)


def test_more_accumulators_tighten_the_bound():
    bounds = [numerics.dot_error_bound(4096, 1.0, n) for n in (1, 8, 64)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[1] == pytest.approx(numerics.gamma(4096 // 8 + 3))


def winograd_tiles(matrices, d, g):
    """Tiles d (P, C, t, t) and filters g (M, C, r, r) in float32 -> (P, M, m, m)."""
    a, w, b = (
        torch.tensor([[float(x) for x in row] for row in matrix], dtype=torch.float32)
        for matrix in matrices
    )
    u, v = w @ g @ w.T, b @ d @ b.T
    return a @ torch.einsum("mcij,pcij->pmij", u, v) @ a.T


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_winograd_error_bound_holds(tile, spread):
    """Also with values over six decades, where the transforms swallow the small ones."""
    generator = torch.Generator().manual_seed(tile)
    d, g = (
        torch.randn(shape, generator=generator)
        * 10 ** (spread * torch.empty(shape).uniform_(-1, 1, generator=generator))
        for shape in ((6, 32, tile + 2, tile + 2), (5, 32, 3, 3))
    )
    exact = torch.nn.functional.conv2d(d.double(), g.double())
    ours = winograd_tiles(winograd.transforms(tile, 3), d, g)
    error = (ours.double() - exact).abs().max().item()
    bound = numerics.winograd_error_bound(tile, 32, d.abs().max().item(), g.abs().max().item())
    assert 0 < error <= bound


@pytest.mark.parametrize(("tile", "channels"), [(2, 1), (4, 1), (4, 4)])
def test_winograd_amplification_is_attained_by_the_worst_signs(tile, channels):
    """Signs that add up every term reach the magnitude itself, so no smaller factor would hold."""
    matrices = winograd.transforms(tile, 3)
    absolute = [torch.tensor([[abs(float(x)) for x in r] for r in m]) for m in matrices]
    ones_g, ones_d = torch.ones(1, channels, 3, 3), torch.ones(1, channels, tile + 2, tile + 2)
    a, w, b = absolute
    swollen = a @ torch.einsum("mcij,pcij->pmij", w @ ones_g @ w.T, b @ ones_d @ b.T) @ a.T
    factor = swollen.max().item() / (9 * channels)
    assert numerics.winograd_amplification(tile) == pytest.approx(factor, rel=1e-5)


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("pass_", ["forward", "input_gradient", "weight_gradient"])
@pytest.mark.parametrize("stride", [1, 2])
def test_winograd_bound_is_of_the_size_of_what_it_bounds(tile, pass_, stride):
    """Numbers of magnitude 1 through the absolute matrices reach the bound's magnitude."""
    of_input = pass_ == "input_gradient"
    matrices = winograd.window_transforms(tile, 3, stride, of_input=of_input)
    if pass_ == "weight_gradient":
        matrices = winograd.weight_gradient(matrices)
    absolute = [[[abs(x) for x in row] for row in matrix] for matrix in matrices]
    a, w, b = (torch.tensor([[float(x) for x in r] for r in m]) for m in absolute)
    swollen = (a @ (w.sum(1) * b.sum(1))).max().item() ** 2
    bound = numerics.winograd_error_bound(tile, 10, 2.0, 3.0, stride=stride, pass_=pass_)
    unit = numerics.UNIT_ROUNDOFF["float32"]
    assert 10 * unit < bound / (swollen * 10 * 2.0 * 3.0) < 60 * unit


def test_fft_error_bound_holds():
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(8, 20, 24, generator=generator), torch.randn(8, 5, 5, generator=generator)
    size = (24, 28)

    def correlate(x, w):
        spectrum = (torch.fft.rfft2(x, size) * torch.fft.rfft2(w, size).conj()).sum(0)
        return torch.fft.irfft2(spectrum, size)

    error = (correlate(x, w).double() - correlate(x.double(), w.double())).abs().max().item()
    norms = x.double().flatten(1).norm(dim=1) * w.double().flatten(1).norm(dim=1)
    bound = numerics.fft_error_bound(math.prod(size), 25, 8, norms.sum().item())
    assert 0 < error <= bound


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (30.0, 1.0), (1000.0, 0.01)])
def test_variance_error_bounds_hold(mean, deviation):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1000, generator=generator) * deviation + mean
    exact = x.double().var(correction=0).item()
    true_mean, true_deviation = x.double().mean().item(), math.sqrt(exact)
    two_pass = ((x - x.mean()) ** 2).mean().item()
    one_pass = ((x**2).mean() - x.mean() ** 2).item()
    for value, method in ((two_pass, "two_pass"), (one_pass, "one_pass")):
        bound = numerics.variance_error_bound(1000, true_mean, true_deviation, method)
        assert abs(value - exact) / exact <= bound


def pairwise_mean(x):
    count = len(x)
    while len(x) > 1:
        x = x[::2] + x[1::2]
    return x[0] / count


def test_pairwise_sums_keep_a_variance_that_one_pass_loses():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1024, generator=generator) * 0.01 + 1000
    exact = x.double().var(correction=0).item()
    true_mean, true_deviation = x.double().mean().item(), math.sqrt(exact)
    two_pass = pairwise_mean((x - pairwise_mean(x)) ** 2).item()
    one_pass = (pairwise_mean(x**2) - pairwise_mean(x) ** 2).item()
    bound = numerics.variance_error_bound(
        1024, true_mean, true_deviation, "two_pass", accumulators=1024
    )
    assert abs(two_pass - exact) / exact <= bound < 0.01
    assert abs(one_pass - exact) / exact > 1


def test_refuses_a_deviation_of_zero():
    with pytest.raises(ValueError, match=r"^deviation must be a finite number above 0, got 0.0$"):
        numerics.variance_error_bound(10, 1.0, 0.0)
