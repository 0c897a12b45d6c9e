"""``from lamina import nn`` in the place of ``from torch import nn``."""

from __future__ import annotations

import pytest
import torch

from lamina import nn


def test_every_other_name_is_torchs() -> None:
    for name in ("Module", "ModuleDict", "ModuleList", "Identity", "CrossEntropyLoss", "Parameter"):
        assert getattr(nn, name) is getattr(torch.nn, name)
    from lamina.nn import functional, init

    assert functional is torch.nn.functional and init is torch.nn.init


def test_names_of_neither_are_refused() -> None:
    with pytest.raises(AttributeError, match=r"neither lamina\.nn nor torch\.nn has 'Conv4d'"):
        nn.Conv4d  # noqa: B018


def test_dir_lists_both() -> None:
    assert {"Conv2d", "SeparableConv2d", "Module", "CrossEntropyLoss"} <= set(dir(nn))


def test_everything_exported_says_what_it_is() -> None:
    for name in nn.__all__:
        layer = getattr(nn, name)
        if name == "Sequential":  # no layer: it holds them
            continue
        assert layer.__module__.startswith("lamina.nn.")
        for heading in ("Source:", "Example:"):
            assert heading in layer.__doc__, f"{name}: {heading}"
        assert callable(layer.output_shape) and callable(layer.cost)


def build(nn) -> torch.nn.Module:
    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.act = nn.ReLU(inplace=True)
            self.pool = nn.MaxPool2d(2)

        def forward(self, image):
            return self.pool(self.act(self.norm(self.conv(image))))

    return nn.Sequential(Block(3), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def test_a_torch_model_trains_alike_with_its_import_exchanged() -> None:
    histories = []
    for namespace in (nn, torch.nn):
        torch.manual_seed(0)
        model = build(namespace)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        images, labels = torch.randn(16, 3, 12, 12), torch.randint(0, 5, (16,))
        losses = []
        for _ in range(8):
            loss = namespace.CrossEntropyLoss()(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        histories.append((losses, model.state_dict()))
    (ours, our_state), (theirs, their_state) = histories
    assert ours == pytest.approx(theirs, rel=1e-3) and ours[-1] < ours[0]
    assert our_state.keys() == their_state.keys()
    build(torch.nn).load_state_dict(our_state)


def test_a_name_that_a_later_torch_brings_is_there(monkeypatch) -> None:
    later = type("Conv4d", (torch.nn.Module,), {})
    monkeypatch.setattr(torch.nn, "Conv4d", later, raising=False)
    assert nn.Conv4d is later and "Conv4d" in dir(nn)
