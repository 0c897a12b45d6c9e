"""Which epoch a run ends with, when it stops, how it is extended, and how its steps are taken."""

from __future__ import annotations

import io
import json
import math
import shutil

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file

from lamina.errors import InputError
from lamina.report.training import EpochMetrics
from lamina.settings import TrainConfig
from lamina.train import resume, train
from lamina.train.callbacks import best_epoch
from lamina.train.checkpoints import answering, checkpoints, newest_good
from lamina.train.predict import load_run
from lamina.train.schedules import make_optimizer, make_schedule, share


def row(epoch, accuracy, loss=1.0):
    return EpochMetrics(epoch, epoch, 0.1, 1.0, 0.5, loss, accuracy, 1.0)


def weights(path):
    return load_file(path / "weights.safetensors")


def console():
    return Console(file=io.StringIO(), width=200)


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


class Validated(pl.Callback):
    """Says what came of each validation: accuracies as they are planted."""

    def __init__(self, accuracies):
        self.accuracies = accuracies

    def on_validation_epoch_end(self, trainer, module):
        wanted = self.accuracies[trainer.current_epoch]
        module.validation_tally.sums = torch.tensor([100.0, 100 * wanted, 100.0]).double()


def test_the_best_is_the_most_accurate_then_the_least_loss():
    assert best_epoch([row(1, 0.5), row(2, 0.9, 0.4), row(3, 0.9, 0.3), row(4, 0.7)]) == 3
    assert best_epoch([row(1, 0.5, math.nan), row(2, 0.5, 9.0)]) == 2


def test_the_best_epochs_weights_answer(tmp_path):
    planted = Validated([0.2, 0.9, 0.3, 0.4])
    out = tmp_path / "run"
    result = train(
        TrainConfig(epochs=4, select="best"), out, console=console(), callbacks=[planted]
    )
    (best,) = checkpoints(out, "best")
    assert best.name == "epoch-0002" and answering(out, "best", pytest.fail) == best
    assert [path.name for path in checkpoints(out)] == ["epoch-0004", "epoch-0003"]
    model, _ = load_run(out)
    assert same(weights(best), model.state_dict())
    assert json.loads((out / "result.json").read_text())["accuracy"] == result.accuracy
    last = train(TrainConfig(epochs=4), tmp_path / "last", console=console())
    assert same(weights(newest_good(out, print)), weights(newest_good(tmp_path / "last", print)))
    assert last.loss != result.loss


def test_a_damaged_best_falls_back_loudly(tmp_path):
    out = tmp_path / "run"
    planted = Validated([0.9, 0.2])
    train(TrainConfig(epochs=2, select="best"), out, console=console(), callbacks=[planted])
    (best,) = checkpoints(out, "best")
    (best / "weights.safetensors").write_bytes(b"x")
    lines = []
    assert answering(out, "best", lines.append).name == "epoch-0002"
    assert "falling back on the newest" in lines[0]


def test_patience_ends_a_run_and_a_resumed_one_stays_ended(tmp_path):
    planted = Validated([0.2, 0.6, 0.5, 0.5, 0.9, 0.9])
    out = tmp_path / "run"
    config = TrainConfig(epochs=6, patience=2)
    result = train(config, out, console=console(), callbacks=[planted])
    assert result.epochs == 4
    again = resume(out, console=console())
    assert again.epochs == 4 and again.accuracy == result.accuracy
    with pytest.raises(InputError, match=r"at its end; .* has 4 of them, got 9"):
        resume(out, epochs=9, console=console())


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    out = tmp_path_factory.mktemp("extended") / "run"
    train(TrainConfig(epochs=1, batch_size=256), out, console=console())
    return out


class Cut(pl.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("cut off")


def test_an_extended_run_that_is_cut_off_ends_alike(short, tmp_path):
    whole, cut = (shutil.copytree(short, tmp_path / name) for name in ("whole", "cut"))
    rates = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    result = resume(whole, epochs=3, console=console(), callbacks=[Watch()])
    assert result.epochs == 3
    assert max(rates) == pytest.approx(5e-3, rel=0.05)  # a cycle of its own
    assert rates[-2] < 1e-6  # of the last step
    with pytest.raises(RuntimeError, match="cut off"):
        resume(cut, epochs=3, console=console(), callbacks=[Cut(2)])
    resume(cut, console=console())
    assert same(weights(newest_good(whole, print)), weights(newest_good(cut, print)))
    longer = resume(whole, epochs=4, console=console())
    assert longer.epochs == 4


def test_fewer_epochs_are_refused(short):
    with pytest.raises(InputError, match=r"epochs: expected more than its 1 .* got 0"):
        resume(short, epochs=0, console=console())


@given(
    schedule=st.sampled_from(["cosine", "step", "constant"]),
    steps=st.integers(1, 200),
    data=st.data(),
)
def test_a_share_rises_then_never(schedule, steps, data):
    warm = data.draw(st.integers(0, steps))
    shares = [share(schedule, step, steps=steps, warm=warm) for step in range(steps + 1)]
    assert all(0 <= one <= 1 for one in shares)
    assert shares[:warm] == sorted(shares[:warm])
    assert shares[warm:] == sorted(shares[warm:], reverse=True)
    assert shares[warm] == 1.0
    end = {"cosine": 0.0, "step": 0.01, "constant": 1.0}[schedule]
    if warm < steps:
        assert shares[-1] == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "step", "constant"])
def test_every_optimiser_learns_by_every_schedule(optimizer, schedule):
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    x = torch.randn(256, 8)
    y = x @ torch.randn(8, 1)
    config = TrainConfig(optimizer=optimizer, schedule=schedule, lr=0.05)
    groups = [{"params": list(model.parameters()), "lr": config.lr, "weight_decay": 0.0}]
    moved = make_optimizer(groups, config)
    rates = make_schedule(moved, config, 200, 20)
    first = float((model(x) - y).square().mean())
    for _ in range(199):
        moved.zero_grad()
        (model(x) - y).square().mean().backward()
        moved.step()
        rates.step()
    assert float((model(x) - y).square().mean()) < first / 20


def test_one_cycle_has_no_other_warm_up():
    with pytest.raises(InputError, match="warmup: expected 0 with one-cycle"):
        TrainConfig(warmup=2.0)


def test_a_step_of_several_batches_is_that_of_one_of_their_size(tmp_path):
    """Without norms or chance a step on 2 × 32 images is one on 64."""
    (tmp_path / "plain.py").write_text(
        "import torch\n\n\ndef build(num_classes):\n    torch.manual_seed(1)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))\n"
    )
    model = f"{tmp_path / 'plain.py'}:build"
    same_for_both = {"model": model, "epochs": 1, "augment": "none", "schedule": "constant"}
    ends = []
    for name, size, batches in (("one", 64, 1), ("two", 32, 2)):
        config = TrainConfig(batch_size=size, accumulate=batches, optimizer="sgd", **same_for_both)
        out = tmp_path / name
        stop = Count(19)  # full batches of both sizes
        train(config, out, console=console(), callbacks=[stop])
        ends.append(stop.weights)
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Count(pl.Callback):
    """Keeps the weights after so many steps."""

    def __init__(self, steps):
        self.steps, self.weights = steps, None

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == self.steps and self.weights is None:
            self.weights = [p.detach().clone() for p in module.model.parameters()]


def test_gradients_are_clipped_together(tmp_path):
    norms = []

    class Watch(pl.Callback):
        def on_train_start(self, trainer, module):
            def note(*_):
                gradients = [p.grad.flatten() for p in module.model.parameters()]
                norms.append(float(torch.cat(gradients).norm()))

            trainer.optimizers[0].register_step_post_hook(note)

    config = TrainConfig(epochs=1, batch_size=256, clip=0.1)
    train(config, tmp_path / "run", console=console(), callbacks=[Watch()])
    assert norms and max(norms) <= 0.1 * (1 + 1e-4)
