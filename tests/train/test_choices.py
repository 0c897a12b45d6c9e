"""A run keeps to the algorithms that it began with, and the next one chooses alike."""

import json
from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lamina import set_numerics
from lamina.errors import InputError
from lamina.ops.runtime import native
from lamina.ops.runtime.numerics import get_numerics
from lamina.ops.tuning import calibration
from lamina.train import TrainConfig, predict, resume, train
from lamina.train.checkpoints import checkpoints
from lamina.train.choices import Choices
from lamina.train.data import load_data

MODEL = """
from lamina import nn


def net(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.GlobalAvgPool2d(keepdims=False), nn.Linear(16, num_classes),
    )
"""


def favouring(algorithm):
    """Figures of a machine on which one algorithm of convolution is far ahead."""
    slow = dict.fromkeys(("onednn", "direct", "winograd_2x2", "winograd_4x4"), 1.0)
    return {
        pass_: replace(machine, overhead={**slow, algorithm: 0.0})
        for pass_, machine in calibration.SHIPPED.machines.items()
    }


class Busy:
    """A clock that says what it is told, and how often it was asked."""

    def __init__(self):
        self.figures, self.asked = favouring("direct"), 0

    def __call__(self):
        self.asked += 1
        return self.figures


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """A machine on which nothing was measured yet."""
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "_known", {})
    monkeypatch.setattr(native, "kernels", native.kernels or object())
    busy = Busy()
    monkeypatch.setattr(calibration, "measure", busy)
    return busy


@pytest.fixture
def config(tmp_path):
    (tmp_path / "mine.py").write_text(MODEL)
    return TrainConfig(model=f"{tmp_path / 'mine.py'}:net", epochs=2, batch_size=256)


def another_process():
    calibration._known.clear()


def weights(run):
    return load_file(checkpoints(run)[0] / "weights.safetensors")


def same(first, second):
    return all(torch.equal(first[name], tensor) for name, tensor in second.items())


class Witness(pl.Callback):
    def on_train_start(self, trainer, module):
        self.figures, self.threads = calibration.current().machines, torch.get_num_threads()
        self.numerics = get_numerics()


class Lost(pl.Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            raise ConnectionError


@pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")
def test_the_same_command_gives_the_same_weights_whatever_was_measured_in_between(
    clock, config, tmp_path, silent
):
    train(config, tmp_path / "first", console=silent)
    assert clock.asked == 1
    clock.figures = favouring("winograd_2x2")
    another_process()
    train(config, tmp_path / "second", console=silent)
    assert clock.asked == 1
    assert same(weights(tmp_path / "first"), weights(tmp_path / "second"))
    calibration.calibrate()  # on demand alone
    train(config, tmp_path / "third", console=silent)
    assert not same(weights(tmp_path / "first"), weights(tmp_path / "third")), "the test is blind"


@pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")
def test_a_run_goes_on_by_the_choices_that_it_began_with(clock, config, tmp_path, silent):
    train(config, tmp_path / "whole", console=silent)
    with pytest.raises(ConnectionError):
        train(config, tmp_path / "lost", console=silent, callbacks=[Lost()])
    clock.figures = favouring("winograd_2x2")
    calibration.calibrate()
    witness = Witness()
    resume(tmp_path / "lost", model=config.model, console=silent, callbacks=[witness])
    assert witness.figures == favouring("direct")
    assert calibration.current().machines == favouring("winograd_2x2"), "afterwards as before"
    assert same(weights(tmp_path / "lost"), weights(tmp_path / "whole"))


def test_a_run_goes_on_with_its_threads_and_numerics(clock, config, tmp_path, silent):
    set_numerics("strict")
    try:
        train(config, tmp_path / "run", console=silent)
    finally:
        set_numerics("fast")
    before, witness = torch.get_num_threads(), Witness()
    torch.set_num_threads(before + 1)
    try:
        resume(tmp_path / "run", model=config.model, console=silent, callbacks=[witness])
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    path = tmp_path / "run" / "config.json"
    stated = Choices.from_dict(json.loads(path.read_text())["choices"])
    assert (stated.numerics, stated.conditions["threads"]) == ("strict", before)
    with pytest.raises(ConnectionError):
        train(config, tmp_path / "lost", console=silent, callbacks=[Lost()])
    torch.set_num_threads(before + 1)
    try:
        resume(tmp_path / "lost", model=config.model, console=silent, callbacks=[witness])
    finally:
        torch.set_num_threads(before)
    assert (witness.threads, witness.numerics) == (before, "fast")


def test_a_failed_measurement_is_said_once_and_not_tried_by_the_next_process(
    clock, config, tmp_path, silent, digit
):
    clock.figures = None
    with pytest.warns(RuntimeWarning, match="too busy to time convolutions") as said:
        train(config, tmp_path / "first", console=silent)
    assert len([w for w in said if "too busy" in str(w.message)]) == 1
    another_process()
    train(config, tmp_path / "second", console=silent)
    predict(tmp_path / "second", [digit], model=config.model)
    assert clock.asked == 1
    assert calibration.current().failed is not None
    assert calibration.current().machines == calibration.SHIPPED.machines


@pytest.fixture
def digit(tmp_path):
    Image.fromarray(load_data("digits").images[0, ..., 0]).save(tmp_path / "zero.png")
    return tmp_path / "zero.png"


def test_predicting_measures_nothing(clock, config, tmp_path, silent, digit):
    train(config, tmp_path / "run", console=silent)
    for file in calibration.folder().iterdir():
        file.unlink()
    another_process()
    predict(tmp_path / "run", [digit], model=config.model)
    document = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(document | {"choices": None}))
    predict(tmp_path / "run", [digit], model=config.model)
    assert clock.asked == 1
    assert not list(calibration.folder().iterdir())


def test_a_run_of_another_machine_goes_on_by_this_machines_choices(clock, config, tmp_path, silent):
    train(config, tmp_path / "run", console=silent)
    path = tmp_path / "run" / "config.json"
    document = json.loads(path.read_text())
    document["choices"]["conditions"]["processor"] = "another"
    path.write_text(json.dumps(document))
    resume(tmp_path / "run", model=config.model, console=silent)
    assert "begun on another machine" in silent.file.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        {"numerics": "loose"},
        {"conditions": {}},
        {"conditions": {"threads": 0}},
        {"conditions": {"threads": 1e9}},
        {"conditions": {"threads": "two"}},
        {"calibration": {}},
        {"calibration": {"machines": {}}},
    ],
)
def test_damaged_choices_are_one_line(clock, change):
    good = Choices.here(settle=False).to_dict()
    assert Choices.from_dict(good).to_dict() == good
    for bad in (good | change, [], "x"):
        with pytest.raises(InputError, match="choices of the run are damaged"):
            Choices.from_dict(bad)
