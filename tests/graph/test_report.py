"""What is said of a compiled graph: which calls were joined, what serves each, and why."""

from __future__ import annotations

import torch
from torch import nn

import lamina
from lamina.optimiser import optimize
from tests.graph.test_dynamo import assert_infers_alike, drawn


def test_a_separable_layer_of_ours_takes_what_follows_it() -> None:
    torch.manual_seed(0)
    separable = lamina.nn.SeparableConv2d(4, 8, 3, padding=1, bias=False)
    plain = drawn(nn.Sequential(separable, nn.BatchNorm2d(8), nn.ReLU())).eval()
    ours = optimize(plain, copy=True)
    assert_infers_alike(ours, plain, torch.randn(2, 4, 8, 8))
    (row,) = ours.lamina_report.rows
    assert row.what == "depthwise_conv2d + pointwise_conv2d + batch_norm + relu"


def test_verbose_says_what_serves_every_call_and_why(monkeypatch, capsys) -> None:
    model = optimize(nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4)).eval())
    with torch.no_grad():
        model(torch.zeros(1, 4, 8, 8))
        assert not capsys.readouterr().err
        monkeypatch.setenv("LAMINA_VERBOSE", "1")
        optimize(model, copy=True)(torch.zeros(1, 4, 8, 9))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "lamina: inference: captured"
    assert "lamina: 1: group_norm -> torch.group_norm - lamina has no group_norm" in said
    assert any(line.startswith("lamina: 0: 1×4×8×9: ") for line in said)
