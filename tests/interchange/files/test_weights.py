"""Files of weights: what is read is what was written; what a stranger made of one is refused."""

import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from lamina.errors import InputError
from lamina.interchange.files.keras_weights import load_keras_weights
from lamina.interchange.files.reading import read_model
from lamina.interchange.files.weights import fit, read_pt, read_safetensors
from lamina.interchange.files.writers import Work, write
from tests.interchange.files.networks import keras_net, net

MARK = "a file that nothing may write"


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def written(folder, suffix):
    path = folder / f"model{suffix}"
    write(Work(net(), [], None, None), path)
    return path


READERS = {".pt": read_pt, ".pth": read_pt, ".safetensors": read_safetensors}


@pytest.mark.parametrize("suffix", READERS)
def test_weights_come_back_bit_by_bit(tmp_path, suffix):
    module = net()
    state = READERS[suffix](written(tmp_path, suffix))
    assert state.keys() == module.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_a_state_dict_under_a_usual_name(tmp_path):
    torch.save({"epoch": 3, "state_dict": net().state_dict()}, tmp_path / "a.pt")
    assert "stem.weight" in read_pt(tmp_path / "a.pt")


def test_a_member_that_climbs_out_of_its_folder_stays_in_its_file(tmp_path):
    path = written(tmp_path, ".pt")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../climbed.txt", "out")
    (tmp_path / "in").mkdir()
    path.rename(tmp_path / "in" / "model.pt")
    with pytest.raises(InputError, match="not in a subdirectory"):
        read_pt(tmp_path / "in" / "model.pt")
    assert not (tmp_path / "climbed.txt").exists()


def test_a_pickled_object_is_not_run(tmp_path):
    for name, value in (("a.pt", {"x": Evil(tmp_path / MARK)}), ("b.pt", net())):
        torch.save(value, tmp_path / name)
        with pytest.raises(InputError, match="holds a pickled object") as caught:
            read_pt(tmp_path / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Evil(tmp_path / MARK)))
    with pytest.raises(InputError, match=r"no file of torch.save"):
        read_pt(tmp_path / "c.pt")
    assert not (tmp_path / MARK).exists()


def test_a_file_that_unpacks_past_the_limit(tmp_path):
    torch.save({"x": torch.zeros(10_000)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert (tmp_path / "b.pt").stat().st_size < 4_000
    with pytest.raises(InputError, match=r"unpacks to 4\d,\d+ bytes, allowed are 10,000"):
        read_pt(tmp_path / "b.pt", largest=10_000)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": torch.zeros(1).expand(2**40)}, "'x' claims 1,099,511,627,776 elements"),
        ({"x": torch.eye(3).to_sparse()}, "only strided tensors"),
        ({"x": 3}, "'x' is a int"),
        ([torch.zeros(2)], "expected tensors by name, got list"),
        ({}, "expected tensors by name, got dict"),
    ],
)
def test_what_is_no_state_dict(tmp_path, value, message):
    torch.save(value, tmp_path / "a.pt")
    with pytest.raises(InputError, match=message):
        read_pt(tmp_path / "a.pt")


def test_a_shape_that_differs_is_named_with_the_likely_trap():
    state = net().state_dict()
    turned = {**state, "stem.weight": state["stem.weight"].permute(2, 3, 1, 0)}
    message = (
        r"'stem.weight' is \(3, 3, 3, 6\), the model's is \(6, 3, 3, 3\); likely a convolution"
    )
    with pytest.raises(InputError, match=message):
        fit(net(), turned, "a.pt")
    turned = {**state, "head.weight": state["head.weight"].T}
    with pytest.raises(InputError, match=r"'head.weight' is \(6, 4\).*likely a dense weight"):
        fit(net(), turned, "a.pt")
    with pytest.raises(InputError, match=r"no .head.bias."):
        fit(net(), {name: value for name, value in state.items() if name != "head.bias"}, "a.pt")
    with pytest.raises(InputError, match="which has 'more'"):
        fit(net(), {**state, "more": torch.zeros(1)}, "a.pt")
    other = nn.Sequential(nn.Conv2d(3, 5, 3))
    with pytest.raises(InputError, match=r"is \(6, 3, 3, 3\), the model's is \(5, 3, 3, 3\)$"):
        fit(other, {"0.weight": state["stem.weight"], "0.bias": torch.zeros(5)}, "a.pt")


def test_keras_weights_come_back(tmp_path):
    model, other = keras_net(), keras_net()
    model.save_weights(tmp_path / "a.weights.h5")
    for weight in other.weights:
        weight.assign(np.zeros(weight.shape))
    load_keras_weights(other, tmp_path / "a.weights.h5")
    pairs = zip(model.get_weights(), other.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_keras_weights_of_another_shape(tmp_path):
    keras_net().save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        stem = file["layers/conv2d/vars"] if "layers/conv2d" in file else file["layers/stem/vars"]
        kernel = stem["0"][...]
        del stem["0"]
        stem["0"] = kernel.transpose(3, 2, 0, 1)
    model = keras_net()
    before = model.get_weights()
    with pytest.raises(
        InputError, match=r"layer 'stem': the file has \(6, 3, 3, 3\), the model \(3"
    ):
        load_keras_weights(model, tmp_path / "a.weights.h5")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(x=h5py.ExternalLink("/etc/passwd", "/")), "hold a link"),
        (
            lambda f: f.create_dataset("x", (4,), "i1", external=[("/etc/hostname", 0, 4)]),
            "lie elsewhere",
        ),
        (
            lambda f: f.create_dataset("x", (2**40,), "i1", chunks=True, compression="gzip"),
            "unpack to 1,099",
        ),
    ],
)
def test_keras_weights_stay_in_their_file(tmp_path, change, message):
    model = keras_net()
    model.save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        change(file)
    with pytest.raises(InputError, match=message):
        load_keras_weights(model, tmp_path / "a.weights.h5")
    (tmp_path / "a.weights.h5").write_bytes(b"\x89HDF nothing")
    with pytest.raises(InputError, match="cannot be read"):
        load_keras_weights(model, tmp_path / "a.weights.h5")


HERE = "tests/interchange/files/networks.py"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("model.kears", {}, "expected a file that ends in .keras"),
        ("gone.pt", {"model": "digits_cnn"}, "no file 'gone.pt'"),
        ("w.pt", {}, "holds weights alone; name the code"),
        ("w.pt", {"model": f"{HERE}:keras_net"}, "is a Keras model"),
        ("m.onnx", {}, ".onnx files are written, not read"),
        ("m.py", {}, "name a factory in it, m.py:factory"),
        ("m.pt2", {}, "PyTorch unpickles 'm.pt2'.*--allow-custom-code"),
        ("m.pt2", {"allow_custom_code": True}, "no .pt2 file"),
        ("digits_cnn", {"model": "digits_cnn"}, "speaks of a file of weights"),
        ("m.pt2", {"model": "digits_cnn"}, "has its model in it"),
    ],
)
def test_what_cannot_be_a_source(tmp_path, monkeypatch, source, options, message):
    for name in ("w.pt", "m.onnx", "m.py", "m.pt2"):
        (tmp_path / name).write_bytes(b"x")
    here = os.path.abspath(HERE)  # noqa: PTH100
    options = {k: v.replace(HERE, here) if isinstance(v, str) else v for k, v in options.items()}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        read_model(source, **options)
    assert "\n" not in str(caught.value)


def test_a_name_beside_the_weights_is_enough(tmp_path):
    from lamina import models

    model = models.get("digits_cnn")
    write(Work(model, [], None, "digits_cnn"), tmp_path / "d.safetensors")
    again = read_model(str(tmp_path / "d.safetensors"))
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
