"""Two processes that train together: one result, one writer, one decision."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from lamina.errors import RunError
from lamina.train import ranks
from lamina.train.checkpoints import checkpoints

PROGRAM = """
import sys
from pathlib import Path
import lightning.pytorch as pl
import torch
from rich.console import Console
from lamina.train import TrainConfig, train
from lamina.train.classifier import NonFiniteLossError
from lamina.train.ranks import rank
from lamina.train.state import random_state

root = Path(sys.argv[1])
quiet = Console(quiet=True)


class PoisonOneRank(pl.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 2 and rank() == 1:
            batch[0].fill_(torch.nan)


class Witness(pl.Callback):
    def on_train_epoch_end(self, trainer, module):
        weights = torch.cat([p.detach().flatten() for p in module.model.parameters()])
        torch.save({"weights": weights}, root / f"weights-{rank()}.pt")


train(TrainConfig(epochs=1), root / "good", console=quiet, callbacks=[Witness()])
try:
    train(TrainConfig(epochs=2), root / "bad", console=quiet, callbacks=[PoisonOneRank()])
except NonFiniteLossError as error:
    (root / f"stopped-{rank()}").write_text(str(error))
"""


def test_two_ranks_agree_on_weights_and_on_stopping(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, tmp_path / "program.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (
        torch.load(tmp_path / f"weights-{rank}.pt", weights_only=True)["weights"] for rank in (0, 1)
    )
    assert torch.equal(first, second)
    [checkpoint] = checkpoints(tmp_path / "good")
    assert load_file(checkpoint / "weights.safetensors")["dense.bias"].tolist() == (
        first[-10:].tolist()
    )
    assert len(json.loads((checkpoint / "state.json").read_text())["random_state"]) == 2
    # One rank's loss was NaN; both stop at that step, and the checkpoint before it stands.
    assert "the loss is nan at epoch 2, step 12" in (tmp_path / "stopped-0").read_text()
    assert (tmp_path / "stopped-0").read_text() == (tmp_path / "stopped-1").read_text()
    assert [path.name for path in checkpoints(tmp_path / "bad")] == ["epoch-0001"]


LOST = """
import os, signal, sys
from pathlib import Path
import lightning.pytorch as pl
from rich.console import Console
from lamina.train import TrainConfig, train
from lamina.train.ranks import rank, restarted


class DieOnce(pl.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if not restarted() and rank() == 1 and (trainer.current_epoch, batch_idx) == (1, 3):
            Path(sys.argv[1] + ".died").touch()
            os.kill(os.getpid(), signal.SIGKILL)


callbacks = [DieOnce()] if sys.argv[2] == "dies" else []
train(TrainConfig(epochs=2), Path(sys.argv[1]), console=Console(quiet=True), callbacks=callbacks)
"""


def test_a_rank_that_is_killed_costs_nothing_but_time(tmp_path):
    (tmp_path / "program.py").write_text(LOST)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name in ("dies", "lives"):
        done = subprocess.run(
            [*command, "--max-restarts=3", tmp_path / "program.py", tmp_path / name, name],
            capture_output=True,
            text=True,
            timeout=400,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert (tmp_path / f"{name}.died").exists() == (name == "dies")
    lost, whole = (
        load_file(checkpoints(tmp_path / name)[0] / "weights.safetensors")
        for name in ("dies", "lives")
    )
    assert all(torch.equal(lost[name], tensor) for name, tensor in whole.items())
    assert (tmp_path / "dies" / "report.html").is_file()


class Store:
    """As one that both ranks have reached."""

    def set_timeout(self, timeout):
        pass

    def add(self, key, count):
        return 2


def test_ranks_that_do_not_find_each_other_try_again_and_then_say_so(monkeypatch):
    attempts, prefixes, settled = [], [], []

    def failing(backend, *, store, rank, world_size, timeout):
        attempts.append((backend, timeout.total_seconds()))
        if len(attempts) < succeeds_at:
            raise torch.distributed.DistNetworkError("connection refused\nand more")

    c10d = torch.distributed.distributed_c10d
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(ranks, "rendezvous", lambda *_, **__: iter([(Store(), 0, 2)]))
    monkeypatch.setattr(ranks, "PrefixStore", lambda name, store: prefixes.append(name) or store)
    monkeypatch.setattr(torch.distributed, "init_process_group", failing)
    monkeypatch.setattr(c10d, "_set_pg_timeout", settled.append)
    succeeds_at = 3
    ranks.join("gloo", patience=1.0)
    assert attempts == [("gloo", 1.0), ("gloo", 2.0), ("gloo", 4.0)]
    assert prefixes == ["attempt 0", "attempt 1", "attempt 2"]
    assert settled == [ranks.TIMEOUT]
    succeeds_at = 99
    with pytest.raises(RunError, match=r"rank 0 of 2 did not find .* \(connection refused\); tor"):
        ranks.join("gloo", patience=1.0)
    assert len(attempts) == 3 + ranks.ATTEMPTS
