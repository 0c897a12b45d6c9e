"""A run from configuration to report: what it leaves, how it resumes, how it stops."""

import csv
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from safetensors.torch import load_file

from lamina.errors import InputError, RunError
from lamina.train import TrainConfig, files, resume, train
from lamina.train.checkpoints import checkpoints
from lamina.train.classifier import NonFiniteLossError


class StopAt(pl.Callback):
    """Stop a run as a lost machine would: within an epoch, after some of its steps."""

    def __init__(self, epoch, batch=3):
        self.epoch, self.batch = epoch, batch

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if (trainer.current_epoch + 1, batch_idx) == (self.epoch, self.batch):
            raise ConnectionError("the machine is gone")


class Poison(pl.Callback):
    """Make the weights NaN at the start of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch + 1 == self.epoch:
            with torch.no_grad():
                next(module.model.parameters()).fill_(torch.nan)


def weights(run):
    return load_file(checkpoints(run)[0] / "weights.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def metrics(run):
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_the_demo_reaches_what_it_promises(tmp_path, silent):
    result = train(TrainConfig(), tmp_path / "demo", console=silent)
    assert result.accuracy >= 0.98
    assert result.parameters == 17_546
    shown = silent.file.getvalue()
    for kind in (
        *("conv2d", "batch_norm2d", "max_pool2d", "separable_conv2d"),
        *("dropout", "global_avg_pool2d", "dense"),
    ):
        assert kind in shown, kind
    # By hand: 9·32·64 + 9·32·32·64 + (9 + 64)·32·16 + (9 + 64)·64·16 + 64·10.
    assert "721,024" in shown
    assert f"test accuracy {100 * result.accuracy:.2f} %" in shown


def test_a_run_folder_holds_everything_that_was_promised(finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert names == {
        *("config.json", "metrics.csv", "result.json", "report.html"),
        *("explain-1.html", "explain-2.html", "explain-3.html"),
        *("checkpoints", "tensorboard"),
    }
    assert [path.name for path in checkpoints(finished_run)] == ["epoch-0003", "epoch-0002"]
    assert [row["epoch"] for row in metrics(finished_run)] == ["1", "2", "3"]
    assert list((finished_run / "tensorboard").glob("events.out.tfevents.*"))
    assert json.loads((finished_run / "result.json").read_text())["epochs"] == 3
    suffixes = {path.suffix for path in finished_run.rglob("*") if path.is_file()}
    assert not suffixes & {".pt", ".pth", ".pkl", ".ckpt"}, "a pickle can run code"


def test_tensorboard_has_a_point_per_epoch(finished_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished_run / "tensorboard")).Reload()
    points = [(event.step, event.value) for event in events.Scalars("loss/validation")]
    expected = [(int(r["epoch"]), float(r["validation_loss"])) for r in metrics(finished_run)]
    assert points == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    finished_run, tmp_path, silent
):
    train(TrainConfig(epochs=3, workers=2), tmp_path / "again", console=silent)
    assert same(weights(finished_run), weights(tmp_path / "again"))
    assert metrics(finished_run) == metrics(tmp_path / "again")
    train(TrainConfig(epochs=1, seed=1), tmp_path / "other", console=silent)
    assert metrics(finished_run)[0] != metrics(tmp_path / "other")[0]


def test_a_resumed_run_ends_exactly_as_one_that_was_never_interrupted(
    finished_run, tmp_path, silent
):
    out = tmp_path / "run"
    with pytest.raises(ConnectionError):
        train(TrainConfig(epochs=3), out, console=silent, callbacks=[StopAt(epoch=3)])
    assert checkpoints(out)[0].name == "epoch-0002"
    torch.rand(100)  # whatever else the process has drawn does not matter
    result = resume(out, console=silent)
    assert result.epochs == 3
    assert same(weights(out), weights(finished_run))
    assert metrics(out) == metrics(finished_run)


def test_a_damaged_checkpoint_is_said_and_the_older_one_leads_to_the_same_end(
    run_copy, finished_run, silent
):
    newest = checkpoints(run_copy)[0] / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:-4] + b"\0\0\0\1")
    resume(run_copy, console=silent)
    shown = silent.file.getvalue()
    assert "damaged checkpoint" in shown
    assert "falling back on the older checkpoint" in shown
    assert same(weights(run_copy), weights(finished_run))
    assert metrics(run_copy) == metrics(finished_run)


def test_a_finished_run_is_only_reported_again(run_copy, finished_run, silent):
    (run_copy / "report.html").unlink()
    result = resume(run_copy, console=silent)
    assert asdict(result) | {"run": ""} == json.loads(
        (finished_run / "result.json").read_text()
    ) | {"run": ""}
    assert (run_copy / "report.html").is_file()
    assert same(weights(run_copy), weights(finished_run))


def test_a_run_on_changed_data_is_not_resumed(run_copy, silent):
    config = json.loads((run_copy / "config.json").read_text())
    config["data"]["mean"] = [0.5]
    (run_copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="'digits' has changed since"):
        resume(run_copy, console=silent)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_good_checkpoint(tmp_path, silent):
    out = tmp_path / "run"
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan at epoch 2, step 20") as caught:
        train(TrainConfig(epochs=3), out, console=silent, callbacks=[Poison(epoch=2)])
    assert "\n" not in str(caught.value)
    assert [path.name for path in checkpoints(out)] == ["epoch-0001"]
    assert all(tensor.isfinite().all() for tensor in weights(out).values())


def test_a_run_that_fails_before_its_first_checkpoint_leaves_nothing(tmp_path, silent):
    with pytest.raises(NonFiniteLossError):
        train(TrainConfig(epochs=1), tmp_path / "run", console=silent, callbacks=[Poison(epoch=1)])
    assert not (tmp_path / "run").exists()


def test_a_folder_of_images_and_a_model_of_ones_own(image_folder, model_file, tmp_path, silent):
    config = TrainConfig(
        data=str(image_folder), model=f"{model_file}:net", epochs=4, batch_size=8, lr=1e-2
    )
    result = train(config, tmp_path / "run", console=silent)
    assert result.accuracy == 1.0
    assert "Total (complete)" in silent.file.getvalue()
    # The run names code: it is not run again unless the caller names it again.
    (model_file.parent / "was_run").unlink()
    with pytest.raises(InputError, match=f"say --model {re.escape(config.model)} to run it"):
        resume(tmp_path / "run", console=silent)
    assert not (model_file.parent / "was_run").exists()
    assert resume(tmp_path / "run", model=config.model, console=silent).accuracy == 1.0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{file}:Raising", r"model: fails for images of shape \(1, 1, 8, 8\): no$"),
        ("{file}:frozen", "expected parameters to train"),
        ("torch.nn:Identity", r"expected an output of shape \(1, 10\) .* got \(1, 1, 8, 8\)"),
        ("torch.nn:Threshold", "the factory raised TypeError"),
        ("digits_cn", "did you mean 'digits_cnn'"),
    ],
)
def test_a_model_that_cannot_serve_is_refused_before_anything_is_written(
    model_file, tmp_path, silent, model, message
):
    config = TrainConfig(model=model.format(file=model_file))
    with pytest.raises(InputError, match=message) as caught:
        train(config, tmp_path / "run", console=silent)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


MODELS = """
import torch
from lamina import nn


def one_pixel(num_classes):  # in training, one image is one value per channel
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.GlobalAvgPool2d(), nn.BatchNorm2d(8), nn.Flatten(),
        nn.Linear(8, num_classes),
    )


class FullBatches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(64, 10)

    def forward(self, x):
        if self.training and len(x) < 64:
            raise RuntimeError("too few\\nimages")
        return self.dense(x.flatten(1))
"""


@pytest.mark.parametrize("name", ["one_pixel", "FullBatches"])
def test_a_model_that_cannot_train_on_one_image_is_reported_all_the_same(tmp_path, silent, name):
    (tmp_path / "models.py").write_text(MODELS)
    config = TrainConfig(model=f"{tmp_path / 'models.py'}:{name}", epochs=1)
    train(config, tmp_path / "run", console=silent)
    assert (tmp_path / "run" / "report.html").is_file()
    accounts = "From input to output" in (tmp_path / "run" / "report.html").read_text()
    assert accounts == (name == "one_pixel")
    assert ("without accounts of the layers" in silent.file.getvalue()) == (not accounts)


def test_a_batch_that_the_model_refuses_is_one_line_and_leaves_nothing(tmp_path, silent):
    (tmp_path / "models.py").write_text(MODELS)
    config = TrainConfig(model=f"{tmp_path / 'models.py'}:one_pixel", epochs=1, batch_size=1)
    with pytest.raises(
        RunError, match=r"for a batch of shape \(1, 1, 8, 8\): batch_norm: trai"
    ) as c:
        train(config, tmp_path / "run", console=silent)
    assert "\n" not in str(c.value)
    assert not (tmp_path / "run").exists()


def test_an_out_folder_with_files_in_it_is_not_touched(tmp_path, silent):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="out: expected a new or empty folder"):
        train(TrainConfig(), tmp_path, console=silent)
    with pytest.raises(InputError, match=r"out: expected a folder, .* is a file"):
        train(TrainConfig(), tmp_path / "mine.txt", console=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(
    finished_run, tmp_path, silent
):
    out = tmp_path / "run"
    shutil.copytree(finished_run, out)
    for name in ("checkpoints", "metrics.csv", "report.html", "result.json"):
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=f"; --resume {re.escape(str(out))} continues the run"):
        train(TrainConfig(), out, console=silent)
    resume(out, console=silent)
    assert same(weights(out), weights(finished_run))
    assert metrics(out) == metrics(finished_run)


def test_images_may_have_moved_since(image_folder, tmp_path, silent, monkeypatch):
    monkeypatch.chdir(image_folder.parent)
    config = TrainConfig(data=image_folder.name, epochs=2, batch_size=8)
    train(config, tmp_path / "whole", console=silent)
    with pytest.raises(ConnectionError):
        train(config, tmp_path / "run", console=silent, callbacks=[StopAt(epoch=2, batch=1)])
    stated = json.loads((tmp_path / "run" / "config.json").read_text())["config"]["data"]
    assert stated == str(image_folder)
    monkeypatch.chdir("/")
    moved = image_folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="data: expected digits, a folder of images or a"):
        resume(tmp_path / "run", console=silent)
    resume(tmp_path / "run", data=str(moved), workers=1, console=silent)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    resume(tmp_path / "run", console=silent)  # it remembers where they are


@pytest.mark.parametrize("file", ["metrics.csv", "manifest.json", "report.html"])
def test_a_disk_that_is_full_leaves_the_checkpoints_and_goes_on_later(
    finished_run, tmp_path, silent, monkeypatch, file
):
    out, real = tmp_path / "run", files.os.fsync
    written = []

    def full(descriptor):
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        written.append(name)
        if file in name and written.count(name) == (1 if "report" in file else 2):
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            train(TrainConfig(epochs=3), out, console=silent)
    assert [path.name for path in checkpoints(out)] in (
        ["epoch-0001"],
        ["epoch-0003", "epoch-0002"],
    )
    resume(out, console=silent)
    assert same(weights(out), weights(finished_run))


def test_an_empty_out_folder_is_used(tmp_path, silent):
    train(TrainConfig(epochs=1), tmp_path, console=silent)
    assert (tmp_path / "report.html").is_file()
