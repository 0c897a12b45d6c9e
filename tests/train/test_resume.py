"""A run that was interrupted ends, bit for bit, as one that was not, however it was set up."""

import os
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from lamina.errors import InputError
from lamina.train import TrainConfig, load_run, resume, train
from lamina.train.checkpoints import checkpoints
from lamina.train.health import HealthMonitor
from lamina.train.state import under_names_of

MODELS = '''
import torch
from lamina import nn


class Net(torch.nn.Module):
    """Every layer that draws numbers, by a seed of its own or by PyTorch's generator."""

    def __init__(self, num_classes, seed):
        super().__init__()
        seeds = {} if seed is None else {"seed": seed}
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.channels = nn.Dropout2d(0.2, **seeds)
        self.path = nn.DropPath(0.3, **seeds)
        self.drop = nn.Dropout(0.3, **seeds)
        self.shared = self.drop
        self.dense = nn.Linear(8 * 144, num_classes)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = x + self.path(self.channels(x))
        return self.dense(self.shared(self.drop(x.flatten(1))))


class Counting(torch.nn.Module):
    """State of somebody else's: a buffer that is not saved, and extra state that is no tensor."""

    def __init__(self, num_classes):
        super().__init__()
        self.dense = nn.Linear(432, num_classes)
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.scale = 1.0

    def get_extra_state(self):
        return {"scale": self.scale}

    def set_extra_state(self, state):
        self.scale = state["scale"]

    def forward(self, x):
        if self.training:
            self.calls += 1
            self.scale *= 1.1
        return self.dense(x.flatten(1)) * self.scale / (1 + self.calls)


def seeded(num_classes):
    return Net(num_classes, seed=7)


def unseeded(num_classes):
    return Net(num_classes, seed=None)


def keras_inside(num_classes):
    import os

    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from lamina import layers

    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.theirs = keras.layers.Dropout(0.3, seed=3)
            self.ours = layers.SpatialDropout2D(0.3, seed=4, data_format="channels_first")
            self.dense = nn.Linear(432, num_classes)

        def forward(self, x):
            x = self.ours(x, training=self.training)
            return self.dense(self.theirs(x.flatten(1), training=self.training))

    return Mixed()
'''


class Lost(pl.Callback):
    """The machine is lost within an epoch, after its first step."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.current_epoch + 1 == self.epoch:
            raise ConnectionError("the machine is gone")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with three classes of images and the models."""
    root = tmp_path_factory.mktemp("resume")
    draw = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (root / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = draw.integers(0, 256, size=(12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{number}.png")
    (root / "models.py").write_text(MODELS)
    return root


def outcome(run):
    """All weights, and every number of the history but the times."""
    rows = [line.rpartition(",")[0] for line in (run / "metrics.csv").read_text().splitlines()]
    return load_file(checkpoints(run)[0] / "weights.safetensors"), rows


def check(config, where, epoch, console):
    """Compare a run that is lost in an epoch and resumed with one that is not."""
    train(config, where / "whole", console=console)
    with pytest.raises(ConnectionError):
        train(config, where / "lost", console=console, callbacks=[Lost(epoch)])
    torch.rand(7)
    resume(where / "lost", model=config.model, console=console)
    (ours, rows), (expected, expected_rows) = outcome(where / "lost"), outcome(where / "whole")
    ours = under_names_of(ours, expected)
    assert rows == expected_rows
    assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("model", ["seeded", "unseeded"])
def test_an_optimised_model_ends_so_too(place, tmp_path, quiet, model):
    """Whoever resumes compiles anew, and chooses the same algorithms."""
    config = TrainConfig(
        data=str(place / "images"),
        model=f"{place / 'models.py'}:{model}",
        optimize="on",
        epochs=3,
        batch_size=7,
    )
    check(config, tmp_path, 2, quiet)


@settings(max_examples=10)
@given(
    model=st.sampled_from(["seeded", "unseeded", "Counting"]),
    workers=st.integers(0, 2),
    augment=st.sampled_from(["none", "light", "standard", "strong"]),
    seed=st.integers(0, 2**32 - 1),
    epochs=st.integers(2, 4),
    batch_size=st.integers(2, 24),
    lr=st.floats(1e-4, 1e-1),
    weight_decay=st.floats(0, 0.1),
    label_smoothing=st.floats(0, 0.5),
    optimizer=st.sampled_from(["adamw", "sgd", "rmsprop"]),
    schedule=st.sampled_from(["one-cycle", "cosine", "step", "constant"]),
    clip=st.none() | st.floats(0.1, 10),
    accumulate=st.integers(1, 3),
    lost=st.floats(0, 1),
)
def test_it_ends_as_if_nothing_had_happened(
    place, tmp_path_factory, quiet, model, lost, **settings
):
    config = TrainConfig(
        data=str(place / "images"), model=f"{place / 'models.py'}:{model}", **settings
    )
    epoch = 2 + round(lost * (config.epochs - 2))
    check(config, tmp_path_factory.mktemp("drawn"), epoch, quiet)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_draw_the_resumed_epochs_order(place, tmp_path, silent, workers):
    config = TrainConfig(
        data=str(place / "images"),
        model=f"{place / 'models.py'}:unseeded",
        epochs=2,
        batch_size=4,
        workers=workers,
    )
    check(config, tmp_path, 2, silent)


@pytest.mark.parametrize("model", ["seeded", "Counting", "keras_inside"])
def test_what_counts_calls_goes_on_counting(place, tmp_path, silent, model):
    target = f"{place / 'models.py'}:{model}"
    config = TrainConfig(data=str(place / "images"), model=target, epochs=3, batch_size=4)
    check(config, tmp_path, 3, silent)
    network, _ = load_run(tmp_path / "lost", model=target)
    if model == "Counting":
        assert network.scale == pytest.approx(1.1 ** (3 * 5))


RANKS = """
import sys
from pathlib import Path
import lightning.pytorch as pl
from rich.console import Console
from lamina.train import TrainConfig, resume, train


class Lost(pl.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1:
            raise ConnectionError("the machine is gone")


place, root = Path(sys.argv[1]), Path(sys.argv[2])
console = Console(quiet=True)
for workers in (0, 2):
    config = TrainConfig(
        data=str(place / "images"), model=f"{place / 'models.py'}:seeded", epochs=3, batch_size=2,
        workers=workers,
    )
    train(config, root / f"whole-{workers}", console=console)
    try:
        train(config, root / f"lost-{workers}", console=console, callbacks=[Lost()])
    except ConnectionError:
        pass
    resume(root / f"lost-{workers}", model=config.model, console=console)
"""


def test_two_ranks_end_as_if_nothing_had_happened(place, tmp_path, silent):
    (tmp_path / "program.py").write_text(RANKS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(tmp_path / "program.py", place, tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for workers in (0, 2):
        (ours, rows), (expected, expected_rows) = (
            outcome(tmp_path / f"{name}-{workers}") for name in ("lost", "whole")
        )
        assert rows == expected_rows
        assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())
    with pytest.raises(InputError, match="expected 2 processes, as the run was begun with, got 1"):
        resume(tmp_path / "whole-0", model=f"{place / 'models.py'}:seeded", console=silent)


def test_another_models_buffers_are_refused(place, tmp_path, silent):
    models = Path(tmp_path / "models.py")
    models.write_text(MODELS)
    config = TrainConfig(
        data=str(place / "images"), model=f"{models}:Counting", epochs=1, batch_size=8
    )
    train(config, tmp_path / "run", console=silent)
    models.write_text(MODELS.replace("torch.zeros(())", "torch.zeros(1)"))
    with pytest.raises(InputError, match="begun with another model: 'calls' differs"):
        resume(tmp_path / "run", model=config.model, console=silent)


def test_a_resumed_runs_findings_are_those_of_the_whole_run(place, tmp_path, silent):
    class Findings(pl.Callback):
        def on_train_end(self, trainer, module):
            (monitor,) = (c for c in trainer.callbacks if isinstance(c, HealthMonitor))
            self.losses, self.health = monitor.losses, monitor._observer.health()

    config = TrainConfig(
        data=str(place / "images"), model=f"{place / 'models.py'}:seeded", epochs=4, batch_size=2
    )
    whole, resumed = Findings(), Findings()
    train(config, tmp_path / "whole", console=silent, callbacks=[whole])
    with pytest.raises(ConnectionError):
        train(config, tmp_path / "lost", console=silent, callbacks=[Lost(4)])
    resume(tmp_path / "lost", model=config.model, console=silent, callbacks=[resumed])
    assert len(whole.losses) == 2  # the first step and the last
    assert resumed.losses == whole.losses
    assert resumed.health == whole.health
