"""Two processes with half the batch each do what one with the whole batch does."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import lamina
from lamina.errors import InputError
from lamina.settings import TrainConfig
from lamina.train.checkpoints import newest_good
from lamina.train.synchronised import leave, synchronise

LAYERS = """
import sys
from pathlib import Path
import torch
from lamina.train.ranks import join
from lamina.train.synchronised import synchronise

join("gloo")
rank = torch.distributed.get_rank()
root = Path(sys.argv[1])
model, x, dy = torch.load(root / "whole.pt", weights_only=False)
assert synchronise(model) == 2
x = x[rank::2].clone().requires_grad_()
y = model(x)
y.backward(dy[rank::2])
gradients = {name: p.grad for name, p in model.named_parameters()}
for gradient in gradients.values():
    torch.distributed.all_reduce(gradient)
torch.save((y.detach(), x.grad, gradients, dict(model.named_buffers())), root / f"half-{rank}.pt")
"""

TRAINING = """
import sys
from pathlib import Path
from rich.console import Console
from lamina.train import TrainConfig, train
from lamina.train.ranks import ranks

root, model = Path(sys.argv[1]), sys.argv[2]
config = TrainConfig(model=model, epochs=2, batch_size=64 // ranks(), lr=1e-3, sync_norm=True)
train(config, root / f"of-{ranks()}", console=Console(quiet=True))
"""


def together(program, folder, *arguments):
    (folder / "program.py").write_text(program)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, folder / "program.py", folder, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_outputs_gradients_and_statistics_are_those_of_the_whole(tmp_path, momentum):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, momentum=momentum),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        lamina.nn.BatchNorm2d(5, affine=False, momentum=momentum),
    ).double()
    x = torch.randn(6, 3, 9, 9, dtype=torch.float64) * 3 + 1
    dy = torch.randn(6, 5, 5, 5, dtype=torch.float64)
    torch.save((model, x, dy), tmp_path / "whole.pt")
    together(LAYERS, tmp_path)
    x.requires_grad_()
    y = model(x)
    y.backward(dy)
    for rank in (0, 1):
        output, gradient, gradients, buffers = torch.load(tmp_path / f"half-{rank}.pt")
        torch.testing.assert_close(output, y[rank::2])
        torch.testing.assert_close(gradient, x.grad[rank::2])
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad)
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(buffers[name], buffer)


def test_a_run_of_two_processes_is_that_of_one(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef build(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),\n"
        "        nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),\n"
        "        nn.Linear(128, num_classes))\n"
    )
    model = f"{tmp_path / 'net.py'}:build"
    together(TRAINING, tmp_path, model)
    subprocess.run(
        [sys.executable, tmp_path / "program.py", tmp_path, model],
        check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    one, two = (
        [
            {key: float(value) for key, value in row.items()}
            for row in csv.DictReader((tmp_path / f"of-{count}/metrics.csv").open())
        ]
        for count in (1, 2)
    )
    for alone, helped in zip(one, two, strict=True):
        for name in ("train_loss", "validation_loss"):
            assert helped[name] == pytest.approx(alone[name], rel=2e-3), name
    first, second = (
        load_file(newest_good(tmp_path / f"of-{count}", print) / "weights.safetensors")
        for count in (1, 2)
    )
    for name in first:
        if "running" in name:
            torch.testing.assert_close(second[name], first[name], rtol=2e-2, atol=2e-2)
    results = [
        json.loads((tmp_path / f"of-{count}/result.json").read_text())["loss"] for count in (1, 2)
    ]
    assert results[1] == pytest.approx(results[0], rel=5e-3)


def test_one_process_computes_what_it_did():
    torch.manual_seed(0)
    plain, ours = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    assert synchronise(ours) == 1 == synchronise(ours)
    x = torch.randn(3, 4, 5, 5)
    assert torch.equal(ours(x), plain(x))
    assert torch.equal(ours.running_var, plain.running_var)
    assert isinstance(ours, nn.BatchNorm2d) and list(ours.state_dict()) == list(plain.state_dict())
    leave(ours)
    assert type(ours) is nn.BatchNorm2d


def test_ops_that_know_one_process_are_refused():
    with pytest.raises(InputError, match="sync_norm: expected --optimize off or auto"):
        TrainConfig(sync_norm=True, optimize="on")
