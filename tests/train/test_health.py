"""The health monitor in a Trainer of one's own: what it sees, what it costs, what it leaves."""

from time import perf_counter

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lamina.inspector import inspect
from lamina.train import HealthMonitor, TrainConfig, train
from lamina.train.data import load_data


class Plain(pl.LightningModule):
    def __init__(self, net, lr=1e-2):
        super().__init__()
        self.net, self.lr, self.seconds = net, lr, []

    def training_step(self, batch, _):
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Start(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        pl_module.start = perf_counter()


class Stop(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pl_module.seconds.append(perf_counter() - pl_module.start)


def fit(module, callbacks, steps=12, batch=32, shape=(1, 8, 8)):
    torch.manual_seed(0)
    data = TensorDataset(torch.rand(steps * batch, *shape), torch.randint(4, (steps * batch,)))
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, batch))


def net(bias=0.0):
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)
    )
    nn.init.constant_(layers[1].bias, bias)
    return layers


def test_a_healthy_run_is_silent_and_fills_the_account():
    module = Plain(net())
    monitor = HealthMonitor(module.net, every=5)
    fit(module, [monitor])
    assert len(monitor.losses) == 4  # of steps 1, 6, 11 and the last, 12
    assert monitor.diagnoses() == []
    account = inspect(module.net, (1, 1, 8, 8))
    monitor.add_to(account)
    rows = {row.label: row.health for row in account.rows}
    assert rows["0"].gradient_norm > 0 and 0 < rows["4"].update_ratio < 0.1
    assert rows["2"].dead == 0.0
    assert rows["1"].statistics_gap < 3


def test_a_planted_fault_is_found_under_the_names_of_the_module():
    module = Plain(net(bias=-50.0))
    monitor = HealthMonitor(every=4)
    fit(module, [monitor])
    assert ("dead_channels", "net.2") in [(f.rule, f.where) for f in monitor.diagnoses()]


def test_watching_does_not_change_the_training():
    plain, watched = Plain(net()), Plain(net())
    fit(plain, [])
    fit(watched, [HealthMonitor(watched.net, every=1)])
    for left, right in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(left, right)
    assert not nn.modules.module._global_forward_hooks


def test_it_costs_under_a_twentieth_of_a_step():
    layers = nn.Sequential(*[nn.Conv2d(1 if not i else 32, 32, 3, padding=1) for i in range(4)])
    module = Plain(
        nn.Sequential(layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
    )
    every = 5
    # What the monitor does at a step's ends counts as well.
    callbacks = [Start(), HealthMonitor(module.net, every=every), Stop()]
    fit(module, callbacks, steps=25, batch=8, shape=(1, 24, 24))
    watched = sorted(module.seconds[every::every])
    others = sorted(s for i, s in enumerate(module.seconds[1:], start=1) if i % every)
    # The quartile, as another process may slow any step; at the default of one step in 50.
    extra = watched[len(watched) // 4] - others[len(others) // 4]
    assert extra / 50 < 0.05 * others[len(others) // 4]


def test_a_failing_step_leaves_no_hook():
    module = Plain(nn.Sequential(nn.Flatten(), nn.Linear(3, 4)))
    with pytest.raises(RuntimeError):
        fit(module, [HealthMonitor(module.net)])
    assert not nn.modules.module._global_forward_hooks
    assert torch.overrides._get_current_function_mode() is None


def test_every():
    with pytest.raises(ValueError, match="every must be 1 or more, got 0"):
        HealthMonitor(every=0)


MODEL = """
from lamina import nn


def net(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16, momentum=MOMENTUM),
        nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32, momentum=MOMENTUM), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 64, num_classes),
    )
"""


def planted(tmp_path, silent, *, noise, epochs, momentum=0.1, **settings):
    """Train on 40 digits of each class, or on noise, and return the findings."""
    data, draw = load_data("digits"), np.random.default_rng(0)
    for digit in range(10):
        (tmp_path / "images" / str(digit)).mkdir(parents=True)
        for number, index in enumerate(np.flatnonzero(data.labels == digit)[:40]):
            pixels = draw.integers(0, 256, size=(8, 8)) if noise else data.images[index, ..., 0]
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(tmp_path / "images" / str(digit) / f"{number}.png")
    (tmp_path / "mine.py").write_text(MODEL.replace("MOMENTUM", str(momentum)))
    config = TrainConfig(
        data=str(tmp_path / "images"), model=f"{tmp_path / 'mine.py'}:net", epochs=epochs,
        augment="none", **settings,
    )  # fmt: skip
    train(config, tmp_path / "run", console=silent)
    page = (tmp_path / "run" / "report.html").read_text()
    said = {
        "over_fitting": "above validation accuracy",
        "statistics_lag": "with the batch&#x27;s statistics the same weights",
        "under_fitting": "the network is too small",
    }
    return [rule for rule, words in said.items() if words in page]


def test_statistics_that_lag_are_not_taken_for_over_fitting(tmp_path, silent):
    found = planted(
        tmp_path, silent, noise=False, epochs=5, momentum=0.002, batch_size=128, lr=1e-1
    )
    assert found == ["statistics_lag"]


def test_over_fitting_is_not_taken_for_statistics_that_lag(tmp_path, silent):
    found = planted(tmp_path, silent, noise=True, epochs=30, batch_size=16, label_smoothing=0.0)
    assert found == ["over_fitting"]


def test_a_run_that_learns_has_no_finding(tmp_path, silent):
    assert planted(tmp_path, silent, noise=False, epochs=12, batch_size=16) == []
