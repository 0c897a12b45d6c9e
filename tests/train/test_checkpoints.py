"""A checkpoint is whole or absent; damage is noticed, said, and survived."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lamina.errors import InputError
from lamina.train import checkpoints as c


def state(value):
    return {
        **dict.fromkeys(("loops", "callbacks", "lr_schedulers", "random_state", "buffers")),
        "epoch": 1,
        "global_step": 10,
        "state_dict": {"model.weight": torch.full((2, 2), float(value))},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "betas": (0.9, 0.999)}],
    }


@pytest.fixture
def run(tmp_path):
    for epoch in (1, 2):
        c.CheckpointFolder().save_checkpoint(
            state(epoch), tmp_path / "checkpoints" / f"epoch-{epoch:04d}"
        )
    return tmp_path


def test_what_is_saved_comes_back(run):
    newest = c.checkpoints(run)[0]
    back = c.CheckpointFolder().load_checkpoint(newest)
    assert torch.equal(back["state_dict"]["model.weight"], torch.full((2, 2), 2.0))
    assert back["optimizer_states"][0]["betas"] == (0.9, 0.999)
    assert torch.equal(back["optimizer_states"][0]["state"][0]["exp_avg"], torch.ones(3))
    assert list(load_file(newest / "weights.safetensors")) == ["weight"]


@pytest.mark.parametrize(
    ("owner", "call"),
    [(Path, "open"), (os, "fsync"), (Path, "replace")],
    ids=lambda part: str(part),
)
def test_a_failure_at_any_moment_leaves_a_whole_checkpoint(run, monkeypatch, owner, call):
    """Let the n-th call fail, for every n that there is, and then none."""
    target = run / "checkpoints" / "epoch-0003"
    real, failures = getattr(owner, call), 0
    for moment in range(100):
        calls = iter(range(100))

        def failing(*arguments, calls=calls, moment=moment, **named):
            if next(calls) == moment:
                raise OSError(28, "No space left on device")
            return real(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(owner, call, failing)
            try:
                c.CheckpointFolder().save_checkpoint(state(3), target)
            except OSError:
                failures += 1
            else:
                break
        good = c.newest_good(run, pytest.fail)
        assert good.name in {"epoch-0002", "epoch-0003"}
        assert c.CheckpointFolder().load_checkpoint(good)["state_dict"]
        c.CheckpointFolder().remove_checkpoint(target)
    assert failures >= 1
    assert c.newest_good(run, pytest.fail) == target
    names = sorted(path.name for path in target.parent.iterdir())
    assert names == ["epoch-0001", "epoch-0002", "epoch-0003"], "something half-written is left"


@pytest.mark.parametrize("file", ["weights.safetensors", "training.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "gone", "link"])
def test_damage_is_noticed_and_the_older_checkpoint_taken_loudly(run, file, damage):
    path = c.checkpoints(run)[0] / file
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "longer":
        path.write_bytes(data + b"\0")
    else:
        path.rename(run / "elsewhere")
        if damage == "link":
            path.symlink_to(run / "elsewhere")
    lines = []
    assert c.newest_good(run, lines.append).name == "epoch-0001"
    assert len(lines) == 2
    assert file in lines[0]
    assert "falling back on the older checkpoint" in lines[1]


def vouched(path, file, data):
    """Replace a file of a checkpoint, manifest and all, as a stranger could."""
    (path / file).write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][file] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("weights.safetensors", b"junk", "weights.safetensors: not a safetensors file"),
        ("training.safetensors", b"\xff" * 64, "training.safetensors: not a safetensors file"),
        ("state.json", b"{", "state.json: not the state of a training"),
        ("state.json", b"[" * 100_000, "state.json: not the state of a training"),
        ("state.json", b"[]", "state.json: not the state of a training"),
        ("state.json", b'{"epoch": {"$tensor": "x"}}', "not the state of a training"),
        ("state.json", b'{"epoch": 1}', "not the state of a training: no 'buffers'"),
    ],
)
def test_what_a_manifest_vouches_for_is_still_not_trusted(run, file, data, message):
    path = c.checkpoints(run)[0]
    vouched(path, file, data)
    with pytest.raises(InputError, match=message) as caught:
        c.CheckpointFolder().load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_no_file_is_read_beyond_its_limit(run, monkeypatch):
    path = c.checkpoints(run)[0]
    sparse = 2**40  # a hole: it takes no room on the disk, and would all in memory
    with (path / "weights.safetensors").open("r+b") as file:
        file.truncate(sparse)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["weights.safetensors"]["bytes"] = sparse
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"weights\.safetensors: expected at most 8,589,934,592 b"):
        c.read_verified(path)
    with (path / "manifest.json").open("r+b") as file:
        file.truncate(sparse)
    with pytest.raises(InputError, match=r"manifest\.json: expected at most 16,777,216 bytes"):
        c.read_verified(path)


@pytest.mark.parametrize("what", ["manifest.json", ".", ".."])
def test_no_link_is_followed_out_of_a_run(run, what):
    path = (c.checkpoints(run)[0] / what).resolve()
    path.rename(run / "elsewhere")
    path.symlink_to(run / "elsewhere")
    with pytest.raises(InputError, match="a link; the files of a run lie in its folder"):
        c.read_verified(run / "checkpoints" / "epoch-0002")


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b'{"format": 99}', b'{"format": 1, "files": {}}', None]
)
def test_a_damaged_manifest_vouches_for_nothing(run, manifest):
    for checkpoint in c.checkpoints(run):
        if manifest is None:
            (checkpoint / "manifest.json").unlink()
        else:
            (checkpoint / "manifest.json").write_bytes(manifest)
    with pytest.raises(InputError, match="expected a run with a whole checkpoint, it has none: "):
        c.newest_good(run, lambda line: None)


def test_a_run_without_checkpoints_says_so(tmp_path):
    with pytest.raises(InputError, match=r"it has none$"):
        c.newest_good(tmp_path, pytest.fail)


def test_the_newest_is_the_highest_epoch_and_not_the_last_name(tmp_path):
    for name in ("epoch-9999", "epoch-10000", "epoch-12", ".epoch-10001.7"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert [path.name for path in c.checkpoints(tmp_path)] == ["epoch-10000", "epoch-9999"]


def test_weights_of_another_model_are_refused_before_any_is_copied():
    model = torch.nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    good = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    for change, message in (
        ({"bias": torch.zeros(3)}, r"'bias' is torch.float32 \(3,\), expected torch.float32 \(2,"),
        ({"bias": torch.zeros(2).double()}, r"'bias' is torch.float64"),
        ({"extra": torch.zeros(1)}, "it has, and the model has not, 'extra'"),
    ):
        with pytest.raises(InputError, match=message):
            c.copy_weights(model, good | change, "here")
    with pytest.raises(InputError, match="it lacks 'bias'"):
        c.copy_weights(model, {"weight": good["weight"]}, "here")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    c.copy_weights(model, good, "here")
    assert not model.weight.any()


def test_the_manifest_states_epoch_step_and_each_file(run):
    manifest = json.loads((c.checkpoints(run)[0] / "manifest.json").read_text())
    assert (manifest["epoch"], manifest["step"]) == (1, 10)
    assert manifest["files"].keys() == {"weights.safetensors", "training.safetensors", "state.json"}
