"""From the second call on without Python: the same numbers, whatever has changed since."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import lamina
from lamina.graph.running import contest, runner
from lamina.ops.runtime import native
from lamina.ops.tuning import choice

pytestmark = pytest.mark.skipif(native.kernels is None, reason="there are no kernels to record")


class Net(nn.Module):
    """Kernels, an op of PyTorch's between them, and two results of which one is another's view."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.wide = nn.Conv2d(16, 32, 3, padding=1)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.erf(self.stem(x))
        x = self.wide(x).relu()
        return self.head(x.mean((2, 3))), x[:, 2:7]


@pytest.fixture(autouse=True)
def without_gradients(monkeypatch):
    """And with our kernels in every contest: PyTorch's ops are not recorded."""
    monkeypatch.setattr(choice, "_DOUBT", float("inf"))
    monkeypatch.setattr(contest, "fastest", lambda key, ways, arguments: _of_ours(ways))
    with torch.no_grad():
        yield


def _of_ours(ways):
    return next(name for name in ways if name not in ("onednn", "pytorch", "im2col", "fft"))


@pytest.fixture
def nets():
    torch.manual_seed(0)
    plain = Net().eval()
    nn.init.normal_(plain.stem[1].running_mean)
    return lamina.optimize(plain, copy=True), plain


def assert_same(ours, plain, x):
    for got, expected in zip(ours(x), plain(x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def images(n=2, pixels=24):
    return torch.randn(n, 3, pixels, pixels)


def recorded(ours, x):
    for _ in range(3):
        ours(x)
    (graph,) = ours.lamina_report.graphs
    assert graph.native >= 2
    assert f"{graph.native} of them without Python between" in str(ours.lamina_report)
    return ours


def test_what_changes_afterwards_counts(nets):
    ours, plain = nets
    recorded(ours, images())
    for change in (
        lambda m: m.wide.weight.mul_(2),
        lambda m: m.wide.weight.data.add_(0.1),
        lambda m: m.stem[1].running_var.data.mul_(3),
        lambda m: m.load_state_dict({k: v * 0.5 for k, v in m.state_dict().items()}),
        lambda m: setattr(m.wide.weight, "data", m.wide.weight.data.transpose(2, 3)),
        lambda m: m.to(memory_format=torch.channels_last),
        lambda m: setattr(m.wide, "bias", None),
        lambda m: m.wide.register_forward_hook(lambda module, args, y: y + 1),
    ):
        change(ours), change(plain)
        x = images()
        for _ in range(3):
            assert_same(ours, plain, x)


def test_results_are_each_calls_own(nets):
    ours, _ = nets
    x = images()
    recorded(ours, x)
    first = ours(x)
    kept = [y.clone() for y in first]
    ours(images())
    first[1].add_(1)
    assert torch.equal(first[0], kept[0]) and torch.equal(first[1], kept[1] + 1)
    assert all(torch.equal(a, b) for a, b in zip(ours(x), kept, strict=True))


def test_each_size_has_calls_of_its_own_and_they_are_not_kept_for_ever(nets, monkeypatch):
    ours, plain = nets
    monkeypatch.setattr(runner, "_SHAPES", 3)
    for _ in range(3):
        for n, pixels in ((1, 16), (2, 24), (3, 24), (2, 33), (5, 16)):
            assert_same(ours, plain, images(n, pixels))


def test_layouts_and_strides_of_the_input(nets):
    ours, plain = nets
    x = images()
    recorded(ours, x)
    for other in (
        x.to(memory_format=torch.channels_last),
        x.flip(3),
        torch.randn(2, 3, 48, 48)[:, :, ::2, ::2],
        torch.randn(3, 24, 24).expand(2, 3, 24, 24),
    ):
        for _ in range(3):
            assert_same(ours, plain, other)


def test_inputs_that_share_memory_are_not_recorded():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 8, 3)

        def forward(self, x, y):
            return self.conv(x) - self.conv(y)

    torch.manual_seed(0)
    plain = Two().eval()
    ours = lamina.optimize(plain, copy=True)
    both = torch.randn(3, 4, 9, 9)
    for x, y in ((both[:2], both[1:]), (both[:2], torch.randn(2, 4, 9, 9))):
        for _ in range(4):
            torch.testing.assert_close(ours(x, y), plain(x, y), rtol=1e-4, atol=1e-5)


def test_chance_is_drawn_anew():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 64, 1)

        def forward(self, x):
            y = torch.nn.functional.dropout(self.conv(x), 0.5, training=True)
            return y, torch.rand_like(y)

    ours = lamina.optimize(Noisy().eval())
    x = torch.ones(2, 4, 32, 32)
    seen = [tuple(float(y.sum()) for y in ours(x)) for _ in range(5)]
    assert len({a for a, _ in seen}) == len({b for _, b in seen}) == 5


def test_who_watches_sees_every_op(nets):
    ours, plain = nets
    x = images()
    recorded(ours, x)
    counts = []
    for model in (ours, plain):
        with FlopCounterMode(display=False) as counter:
            model(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_small_images_are_the_same_bit_for_bit_in_every_call(small_calls):
    """In eager calls they go to PyTorch's ops, whose rounding is another."""
    torch.manual_seed(0)
    layers = [nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.AvgPool2d(3, 2, 1), nn.SiLU()]
    plain = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)).eval()
    nn.init.normal_(plain[0].running_mean)
    ours, x = lamina.optimize(plain, copy=True), torch.randn(2, 8, 9, 9)
    first, *later = (ours(x) for _ in range(4))
    assert all(torch.equal(first, y) for y in later)
    torch.testing.assert_close(first, plain(x), rtol=1e-5, atol=1e-6)


def test_without_kernels_pytorch_computes(nets, monkeypatch):
    _, plain = nets
    monkeypatch.setattr(native, "kernels", None)
    ours, x = lamina.optimize(plain, copy=True), images()
    for _ in range(4):
        assert_same(ours, plain, x)
    assert ours.lamina_report.graphs[0].problem.startswith("kernels ")


def test_threads_have_memory_of_their_own(nets):
    ours, _ = nets
    xs = [images() for _ in range(4)]
    recorded(ours, xs[0])
    expected = [ours(x)[1].clone() for x in xs]
    wrong = []

    def work(x, y):
        with torch.no_grad():
            for _ in range(30):
                if not torch.equal(ours(x)[1], y):
                    wrong.append(x)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(xs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_numerics_and_threads_are_part_of_what_was_recorded(nets):
    ours, plain = nets
    x = images()
    recorded(ours, x)
    before, threads = lamina.ops.get_numerics(), torch.get_num_threads()
    try:
        lamina.set_numerics("strict")
        torch.set_num_threads(1)
        for _ in range(3):
            assert_same(ours, plain, x)
    finally:
        lamina.set_numerics(before)
        torch.set_num_threads(threads)
