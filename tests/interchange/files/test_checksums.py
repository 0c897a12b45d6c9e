"""A file of ours with a flipped bit is refused, or read as the very numbers that were written."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lamina import interchange
from lamina.errors import InputError
from lamina.interchange.files.checksums import add_to_hdf5, remark
from lamina.interchange.files.exported import read_pt2
from lamina.interchange.files.keras_weights import load_keras_weights, save_keras_weights
from lamina.interchange.files.weights import read_pt, read_safetensors
from lamina.interchange.files.writers import Work, write
from tests.interchange.files.networks import keras_net, net


def arrays(state):
    return {name: tensor.detach().numpy() for name, tensor in state.items()}


def of_keras(model):
    return {weight.path: np.array(weight.numpy()) for weight in model.weights}


def loaded(path):
    model = keras_net()
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    load_keras_weights(model, path)
    return of_keras(model)


EXAMPLE = [torch.zeros(2, 3, 8, 8)]
# What is written, how it is read, and how many flips are drawn.
KINDS = {
    "a.keras": (keras_net, lambda path: of_keras(interchange.load_keras_file(path)), 40),
    "a.weights.h5": (keras_net, loaded, 150),
    "a.safetensors": (net, lambda path: arrays(read_safetensors(path)), 300),
    "a.pt": (net, lambda path: arrays(read_pt(path)), 300),
    "a.pt2": (net, lambda path: arrays(read_pt2(path).state_dict()), 30),
}


@pytest.fixture
def written(tmp_path):
    def make(name):
        model = KINDS[name][0]()
        write(Work(model, EXAMPLE, None, None), tmp_path / name)
        return model, tmp_path / name

    return make


def flipped(path, whole, place, bit=0):
    damaged = bytearray(whole)
    damaged[place] ^= 1 << bit
    path.write_bytes(bytes(damaged))


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_anywhere_is_noticed_or_does_nothing(written, name):
    _, path = written(name)
    _, read, count = KINDS[name]
    whole, right = path.read_bytes(), read(path)
    random = np.random.default_rng(0)
    third = count // 3  # of the head, of the tail, of everything
    places = np.concatenate(
        [
            random.integers(0, 512, third),
            random.integers(len(whole) - 512, len(whole), third),
            random.integers(0, len(whole), third),
        ]
    )
    refused = 0
    for place in places:
        flipped(path, whole, place, random.integers(8))
        try:
            found = read(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        assert found.keys() == right.keys(), place
        for key, value in found.items():
            assert np.array_equal(value, right[key]), (place, key)
    assert refused > count // 10


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_of_a_number_is_always_refused(written, name):
    model, path = written(name)
    whole = path.read_bytes()
    kernel = model.get_layer("stem").kernel if name in ("a.keras", "a.weights.h5") else None
    values = model.mix.weight.detach() if kernel is None else kernel.value.detach()
    start = whole.find(values.numpy().tobytes()[:64])
    assert start > 0
    for bit in range(0, 64 * 8, 29):
        flipped(path, whole, start + bit // 8, bit % 8)
        with pytest.raises(InputError, match=r"damaged|not what was written|CRC"):
            KINDS[name][1](path)


@pytest.mark.parametrize("name", KINDS)
def test_a_truncated_file_is_refused(written, name):
    _, path = written(name)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            KINDS[name][1](path)
        assert "\n" not in str(caught.value)


def test_the_array_is_named(written):
    _, path = written("a.weights.h5")
    named = "/layers/dense/vars/0"
    with h5py.File(path) as file:
        place = file[named].id.get_chunk_info(0).byte_offset
    flipped(path, path.read_bytes(), place + 5)
    with pytest.raises(InputError, match=f"a.weights.h5': damaged: '{named}' is not what was"):
        load_keras_weights(keras_net(), path)
    _, path = written("a.safetensors")
    whole = path.read_bytes()
    flipped(path, whole, whole.find(net().mix.weight.detach().numpy().tobytes()[:16]))
    with pytest.raises(InputError, match=r"a.safetensors': damaged: 'mix.weight' is not what was"):
        read_safetensors(path)


def test_tensorflow_opens_the_file_and_notices_the_flip(written, tmp_path):
    model, path = written("a.weights.h5")
    model.save(tmp_path / "model.keras")
    with h5py.File(path) as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        place = file[names[0]].id.get_chunk_info(0).byte_offset
    whole = path.read_bytes()
    flipped(tmp_path / "b.weights.h5", whole, place)
    program = (
        "import os; os.environ['KERAS_BACKEND'] = 'tensorflow'\n"
        "import keras, numpy as np\n"
        "model = keras.models.load_model('model.keras')\n"
        "right = model.get_weights()\n"
        "for weight in model.weights: weight.assign(np.zeros(weight.shape))\n"
        "model.load_weights('a.weights.h5')\n"
        "assert all(np.array_equal(a, b) for a, b in zip(right, model.get_weights()))\n"
        "try: model.load_weights('b.weights.h5')\n"
        "except ValueError as error: assert 'read data' in str(error), error\n"
        "else: raise AssertionError('it did not notice')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)


def test_what_keras_writes_has_a_word_that_it_cannot_tell(tmp_path):
    model = keras_net()
    model.save_weights(tmp_path / "a.weights.h5")
    assert "a.weights.h5 carries no checksums" in remark(tmp_path / "a.weights.h5")
    model.layers[1].kernel.assign(np.full(model.layers[1].kernel.shape, np.nan))
    model.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(InputError, match="vars/0' holds numbers that are not finite, and the file"):
        load_keras_weights(keras_net(), tmp_path / "a.weights.h5")
    save_keras_weights(model, tmp_path / "b.weights.h5")
    assert remark(tmp_path / "b.weights.h5") == ""
    load_keras_weights(keras_net(), tmp_path / "b.weights.h5")  # they were written so


def test_what_safetensors_writes_has_a_word_that_it_cannot_tell(tmp_path):
    state = net().state_dict()
    save_file(state, tmp_path / "a.safetensors")
    assert "carries no checksums" in remark(tmp_path / "a.safetensors")
    assert read_safetensors(tmp_path / "a.safetensors").keys() == state.keys()
    state["head.bias"][0] = torch.inf
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"'head.bias' holds numbers that are not finite"):
        read_safetensors(tmp_path / "a.safetensors")


def test_the_report_says_it(tmp_path):
    from lamina.report.conversion import conversion_page, to_plain

    torch.save(net().state_dict(), tmp_path / "a.pt")
    save_file(net().state_dict(), tmp_path / "a.safetensors")
    place = "tests/interchange/files/networks.py:net"
    for name, told in (("a.safetensors", True), ("a.pt", False)):
        done = interchange.convert(tmp_path / name, tmp_path / "b.pth", model=place)
        assert ("carries no checksums" in to_plain(done)) is told
        assert ("carries no checksums" in conversion_page(done)) is told


def test_every_sort_of_array_keeps_its_numbers(tmp_path):
    path = tmp_path / "a.h5"
    written = {
        "scalar": np.float32(3.5),
        "none": np.zeros((0, 4), np.float32),
        "large": np.arange(3_000_000, dtype=np.float32).reshape(1000, 3000),
        "whole": np.arange(7, dtype=np.int64),
    }
    with h5py.File(path, "w") as file:
        for name, values in written.items():
            file.create_group(f"layers/{name}/vars")["0"] = values
        file["layers/whole/vars"].attrs["name"] = "whole"
    add_to_hdf5(path)
    with h5py.File(path) as file:
        for name, values in written.items():
            found = file[f"layers/{name}/vars/0"]
            assert found.dtype == values.dtype and np.array_equal(found[()], values)
        assert file["layers/whole/vars"].attrs["name"] == "whole"
    assert remark(path) == "" and [one.name for one in tmp_path.iterdir()] == ["a.h5"]
