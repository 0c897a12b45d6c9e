"""A run that starts from published weights, keeps a backbone, and trains a head of its own."""

from __future__ import annotations

import io
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import nn

from lamina import models
from lamina.errors import InputError
from lamina.ops.runtime.torch_private import AnyBatchNorm
from lamina.train import TrainConfig, resume, train
from lamina.train.checkpoints import newest_good
from lamina.train.classifier import Classifier
from lamina.train.fine_tuning import freeze, head_of, stages, take_weights, thaw


def names(model):
    return [name for name, _ in model.named_parameters()]


def written(state, path):
    save_file({name: value.clone().contiguous() for name, value in state.items()}, path)
    return str(path)


def weights_of(run):
    return load_file(newest_good(run, print) / "weights.safetensors")


@pytest.mark.parametrize("prefix", ["", "module.", "module.model.", "_orig_mod."])
def test_a_head_of_other_classes_begins_anew(tmp_path, prefix):
    theirs, ours = models.get("digits_cnn", num_classes=7), models.get("digits_cnn")
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    state = {f"{prefix}{name}": value for name, value in theirs.state_dict().items()}
    taken = take_weights(ours, 10, written(state, tmp_path / "w.safetensors"))
    head = head_of(ours, 10)
    assert taken.begun == (f"{head}.weight", f"{head}.bias")
    assert set(taken.left) == set(taken.begun)
    for name, value in ours.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        same = before[name] if name in taken.begun else theirs.state_dict()[name]
        assert torch.equal(value, same), name


def test_a_head_of_as_many_classes_is_taken(tmp_path):
    theirs, ours = models.get("digits_cnn"), models.get("digits_cnn")
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "w.pt")
    taken = take_weights(ours, 10, str(tmp_path / "w.pt"))
    assert not taken.begun and not taken.left
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_unknown_names_of_a_pt_file_are_matched_by_order(tmp_path, name):
    theirs, ours = models.get(name, num_classes=5), models.get(name, num_classes=3)
    state = {f"t{at}.{key}": value for at, (key, value) in enumerate(theirs.state_dict().items())}
    torch.save(state, tmp_path / "w.pt")
    assert_body_is(take_weights(ours, 3, str(tmp_path / "w.pt")), ours, theirs)


def assert_body_is(taken, ours, theirs):
    assert len(taken.begun) == 2
    for key, value in ours.state_dict().items():
        if key not in taken.begun and not key.endswith("num_batches_tracked"):
            assert torch.equal(value, theirs.state_dict()[key]), key


TIMMS = {
    "expanded": ("conv_pw", "bn1", "conv_dw", "bn2", "se", "conv_pwl", "bn3"),
    "plain": ("conv_dw", "bn1", "se", "conv_pw", "bn2"),
}
STAGES = {
    "mobilenet_v2": [1, 2, 3, 4, 3, 3, 1],
    "efficientnet_b0": [1, 2, 2, 3, 3, 4, 1],
    "mobilenet_v3_large": [1, 2, 3, 4, 2, 3],
}


def timms_names(name, layers):
    """Timm's names for torchvision's layers, ``{layer: tensors}`` in order, by timm's rules."""
    rest = list(layers)
    names = dict(zip(rest[:2], ("conv_stem", "bn1"), strict=True))
    at = 2
    for stage, blocks in enumerate(STAGES[name]):
        for block in range(blocks):
            parts = TIMMS["plain" if stage == 0 else "expanded"]
            for part in parts:
                pair = [part] if part != "se" else ["se.conv_reduce", "se.conv_expand"]
                if part == "se" and "fc1" not in rest[at]:
                    continue
                for one in pair:
                    names[rest[at]] = f"blocks.{stage}.{block}.{one}"
                    at += 1
    ends = ["conv_head", "bn2", "classifier"]
    if name == "mobilenet_v3_large":
        ends = ["blocks.6.0.conv", "blocks.6.0.bn1", "conv_head", "classifier"]
    names |= dict(zip(rest[at:], ends, strict=True))
    return names


@pytest.mark.parametrize("name", STAGES)
def test_timms_names_are_matched_by_the_layers_order(tmp_path, name):
    theirs, ours = models.get(name, num_classes=5), models.get(name, num_classes=3)
    layers = dict.fromkeys(key.rpartition(".")[0] for key in theirs.state_dict())
    names = timms_names(name, layers)
    state = {}
    for key, value in theirs.state_dict().items():
        layer, _, tensor = key.rpartition(".")
        if names[layer] == "conv_head":
            value = (
                value.reshape(*value.shape, *[1] * (4 - value.dim())) if value.dim() > 1 else value
            )
        state[f"{names[layer]}.{tensor}"] = value
    file = written(state, tmp_path / "model.safetensors")  # which keeps no order
    assert_body_is(take_weights(ours, 3, file), ours, theirs)


@pytest.mark.parametrize(
    "source, said",
    [
        ("nowhere.pt", "no file 'nowhere.pt'"),
        ("model.keras", "lamina convert model.keras model.py makes a --model and its weights"),
        ("weights.bin", "expected a run or a file that ends in .safetensors, .pt, .pth"),
    ],
)
def test_what_holds_no_weights_is_refused(source, said):
    with pytest.raises(InputError, match=re.escape(said)):
        take_weights(models.get("digits_cnn"), 10, source)


def test_weights_of_another_model_tell_both_sides_names(tmp_path):
    file = written(models.get("resnet18").state_dict(), tmp_path / "w.safetensors")
    before = models.get("digits_cnn")
    state = {name: value.clone() for name, value in before.state_dict().items()}
    with pytest.raises(
        InputError, match=r"it has \S+, .* and \d+ more; the model wants \S+, "
    ) as caught:
        take_weights(before, 10, file)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(state[name], value) for name, value in before.state_dict().items())


def test_pickled_code_is_not_run(tmp_path):
    torch.save(models.get("digits_cnn"), tmp_path / "model.pt")
    with pytest.raises(InputError, match="holds a pickled object"):
        take_weights(models.get("digits_cnn"), 10, str(tmp_path / "model.pt"))


@given(count=st.integers(0, 40))
def test_stages_thaw_from_the_end(count):
    model = models.get("mobilenet_v2", num_classes=3)
    frozen = freeze(model, 3, "backbone")
    head = head_of(model, 3)
    assert set(names(model)) - set(frozen) == {f"{head}.weight", f"{head}.bias"}
    assert all(p.requires_grad == (n not in frozen) for n, p in model.named_parameters())
    order = list(stages(model, frozen).values())
    assert len(order) == 19
    thaw(model, frozen, count)
    kept = [name for part in order[: max(0, len(order) - count)] for name in part]
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == kept


@pytest.mark.parametrize(
    "pattern, said",
    [
        ("stem.*", "expected backbone or names of parameters such as .* which is none"),
        ("*", "leaves nothing to train"),
    ],
)
def test_a_pattern_that_freezes_nothing_or_all_is_refused(pattern, said):
    with pytest.raises(InputError, match=said):
        freeze(models.get("digits_cnn"), 10, pattern)


def test_a_frozen_backbone_keeps_weights_and_statistics(tmp_path, finished_run, silent):
    out = tmp_path / "run"
    more = {"weights": str(finished_run), "freeze": "backbone", "head_lr": 1e-2}
    train(TrainConfig(epochs=2, **more), out, console=silent)
    assert re.search(r"weights: \d+ tensors of", silent.file.getvalue())
    before, after = weights_of(finished_run), weights_of(out)
    head = head_of(models.get("digits_cnn"), 10)
    for name, value in after.items():
        moved = not torch.equal(value, before[name])
        assert moved == (f".{head}." in f".{name}"), name


def test_what_thaws_trains_with_its_own_rate(tmp_path, finished_run):
    seen = []

    import lightning.pytorch as pl

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            trains = sum(p.requires_grad for p in module.model.parameters())
            rates = {group["lr"] for group in trainer.optimizers[0].param_groups}
            norms = [n for n in module.model.modules() if isinstance(n, AnyBatchNorm)]
            # Lightning has put all in evaluation and back meanwhile.
            seen.append((trains, sum(norm.training for norm in norms), len(rates)))

    config = TrainConfig(
        epochs=4,
        weights=str(finished_run),
        freeze="backbone",
        unfreeze_every=1,
        head_lr=2e-2,
    )
    console = Console(file=io.StringIO())
    train(config, tmp_path / "run", console=console, callbacks=[Watch()])
    trained = [trains for trains, _, _ in seen]
    assert trained[0] == 2 and trained == sorted(set(trained))
    norms = [count for _, count, _ in seen]
    assert norms[0] == 0 and norms == sorted(norms) and norms[-1] > 0
    assert all(rates == 2 for _, _, rates in seen)


def test_a_fine_tuning_that_was_cut_off_ends_with_the_same_weights(tmp_path, finished_run, silent):
    import lightning.pytorch as pl

    class Stop(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 2:
                raise RuntimeError("cut off")

    config = TrainConfig(
        epochs=3, weights=str(finished_run), freeze="backbone", unfreeze_every=1, head_lr=2e-2
    )
    train(config, tmp_path / "whole", console=silent)
    with pytest.raises(RuntimeError, match="cut off"):
        train(config, tmp_path / "cut", console=silent, callbacks=[Stop()])
    resume(tmp_path / "cut", console=silent)
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_thawing_needs_something_frozen():
    with pytest.raises(InputError, match="unfreeze_every: expected something to --freeze"):
        TrainConfig(unfreeze_every=2)


def test_every_parameter_that_trains_is_in_one_group():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    classifier = Classifier(model, TrainConfig(head_lr=1.0, lr=0.1), 10, head="3")
    (optimizer,), _ = classifier.configure_optimizers()
    rates = {
        id(p): group["initial_lr"] * 25  # of the schedule's highest
        for group in optimizer.param_groups
        for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(1.0 if name.startswith("3.") else 0.1)
