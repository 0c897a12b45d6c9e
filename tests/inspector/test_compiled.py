"""Books of a compiled model are those of its layers, and say that it runs otherwise."""

from __future__ import annotations

import torch
from torch import nn

import lamina
from tests.models.torchvision_definitions import BasicBlock


def network() -> nn.Module:
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return nn.Sequential(nn.Conv2d(3, 8, 3), BasicBlock(8, 8), head).eval()


def books(account: lamina.Account) -> list[tuple[object, ...]]:
    return [(row.name, row.kind, row.output_shapes, row.forward.macs) for row in account.rows]


def test_an_optimised_model_has_the_same_books_and_says_what_runs() -> None:
    plain, ours = network(), lamina.optimize(network())
    before = lamina.inspect(ours, input_size=(1, 3, 12, 12))
    with torch.no_grad():
        ours(torch.zeros(1, 3, 12, 12))
    account = lamina.inspect(ours, input_size=(1, 3, 12, 12))
    expected = lamina.inspect(plain, input_size=(1, 3, 12, 12))
    assert books(account) == books(before) == books(expected)
    (note,) = set(account.notes) - set(expected.notes)
    assert note.startswith("lamina.optimize: Sequential: inference: 10 calls run as ")
    assert note in str(account) and note in account.to_html()


def test_a_compiled_model_has_those_of_the_model_inside() -> None:
    plain = network()
    compiled = torch.compile(plain, backend="eager")
    account = lamina.inspect(compiled, input_size=(1, 3, 12, 12))
    expected = lamina.inspect(plain, input_size=(1, 3, 12, 12))
    assert books(account) == books(expected) and account.model == "Sequential"
    assert any(note.startswith("torch.compile") for note in account.notes)
