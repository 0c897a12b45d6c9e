"""The benchmark of other people's networks: its bookkeeping, on a network of ours; no downloads."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lamina.report.table import to_text

ZOO = Path(__file__).parents[2] / "benchmarks/zoo.py"


@pytest.fixture
def zoo():
    spec = importlib.util.spec_from_file_location("zoo", ZOO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Shuffled(nn.Module):
    """A forward with a view that channels-last forbids."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        y = self.conv(x)
        return y.view(len(y), -1)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())


def test_a_network_has_a_row_per_case(zoo, monkeypatch):
    monkeypatch.setattr(zoo, "build", lambda name: (small(), 8))
    rows = zoo.measure("small", rounds=2)
    assert [row["case"] for row in rows] == [*zoo.CASES]
    for row in rows:
        assert row["ours_ms"] > 0 and row["torch_ms"] > 0 and row["spread_ms"] >= 0
        assert row["ratio"] == row["torch_ms"] / row["ours_ms"]
        assert row["layout"] in zoo.LAYOUTS
        trains = row["case"] == "training, 8"
        assert (row["our_error"] is None) == (row["torch_error"] is None) == trains
        assert trains or row["our_error"] < 1e-6


def test_a_layout_that_a_forward_forbids_is_left_out(zoo):
    sides = zoo.sides_of(Shuffled(), torch.randn(2, 3, 8, 8))
    assert [*sides] == ["torch nchw", "lamina"]


def test_maps_of_scores_train_as_well(zoo):
    model = nn.Conv2d(3, 5, 3)
    before = model.weight.clone()
    zoo.training_step(model, torch.randn(2, 3, 8, 8))()
    assert not torch.equal(model.weight, before)


def test_tables_have_the_geometric_means_and_the_reasons(zoo):
    case = "1 image"
    rows = [
        {"network": name, "case": case, "ratio": ratio} for name, ratio in {"a": 1, "b": 4}.items()
    ]
    rows.append({"network": "c", "case": "failed: ModuleNotFoundError: No module named 'c'"})
    networks, means = zoo.tables(rows)
    assert "No module named 'c'" in to_text(networks)
    assert means.rows[0]["ratio"] == pytest.approx(2.0) and means.rows[0]["networks"] == 2
    assert "2.00×" in to_text(means) and "nan" not in to_text(means)


def test_a_network_that_cannot_be_built_is_a_row(zoo, monkeypatch):
    said = subprocess.CompletedProcess([], 1, "", "a warning\nModuleNotFoundError: no pytorchcv\n")
    monkeypatch.setattr(zoo.subprocess, "run", lambda *_, **__: said)
    (row,) = zoo.in_a_process("resnet18", 3, None)
    assert row == {"network": "resnet18", "case": "failed: ModuleNotFoundError: no pytorchcv"}


def test_rows_come_from_the_last_line_of_a_process(zoo, monkeypatch):
    rows = [{"network": "resnet18", "case": "1 image"}]
    done = subprocess.CompletedProcess([], 0, f"a banner\n{json.dumps(rows)}\n", "")
    monkeypatch.setattr(zoo.subprocess, "run", lambda *_, **__: done)
    assert zoo.in_a_process("resnet18", 3, 2) == rows


@pytest.mark.parametrize(
    "arguments, message",
    [(["--networks", "resnet19"], "got 'resnet19'"), (["--rounds", "1"], "at least 2, got 1")],
)
def test_what_cannot_be_asked_leaves_with_2(zoo, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["zoo.py", *arguments])
    with pytest.raises(SystemExit) as left:
        zoo.main()
    assert left.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
