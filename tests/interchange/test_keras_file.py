"""A `.keras` file as it should be, and as a stranger may have made it."""

import copy
import io
import json
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers

from lamina import cli
from lamina import layers as ours
from lamina.errors import InputError
from lamina.inspector import inspect
from lamina.interchange import load_keras_file


def network(floor=layers):
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            floor.Conv2D(8, 3, padding="same", activation="relu", name="stem"),
            floor.BatchNormalization(name="norm"),
            floor.SeparableConv2D(16, 3, pointwise_regularizer="l2", name="separable"),
            floor.MaxPooling2D(name="pool"),
            floor.Dropout(0.3, name="drop"),
            floor.GlobalAveragePooling2D(name="mean"),
            floor.Dense(10, name="dense", activation="softmax"),
        ]
    )


@pytest.fixture
def saved(tmp_path):
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(tmp_path / "model.keras")
    return model, tmp_path / "model.keras"


def parts(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def changed(path, change):
    """The file with its configuration changed in place."""
    members = parts(path)
    configuration = json.loads(members["config.json"])
    change(configuration)
    members["config.json"] = json.dumps(configuration)
    return written(path, members)


def run(*arguments):
    """Exit code of the command line."""
    try:
        cli.main(["inspect", *map(str, arguments)])
    except SystemExit as error:
        return error.code or 0
    return 0


def layer(configuration, name):
    return next(
        item for item in configuration["config"]["layers"] if item["config"]["name"] == name
    )


@pytest.mark.parametrize("floor", [layers, ours], ids=["keras", "lamina"])
def test_it_comes_back_with_its_weights(tmp_path, floor):
    model = network(floor)
    model.save(tmp_path / "model.keras")
    again = load_keras_file(tmp_path / "model.keras")
    assert isinstance(again, torch.nn.Module)
    assert [type(one) for one in again.layers] == [type(one) for one in model.layers]
    x = np.random.default_rng(0).random((2, 16, 16, 3), dtype=np.float32)
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "EfficientNetB0", "InceptionV3"])
def test_networks_of_keras_are_allowed_and_counted(tmp_path, name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3), classes=10)
    model.save(tmp_path / "model.keras")
    account = inspect(load_keras_file(tmp_path / "model.keras"))
    assert account.inputs == [(1, 96, 96, 3)]
    assert account.totals.parameters == sum(w.value.numel() for w in model.trainable_variables)
    assert account.totals.coverage == "complete"


def several(as_dict):
    image, word = keras.Input((8, 8, 3), name="image"), keras.Input((5,), name="a", dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(7, 4)(word))
    joined = layers.Concatenate()([layers.Flatten()(image), embedded])
    inputs = {"image": image, "a": word} if as_dict else [image, word]
    return keras.Model(inputs, [layers.Dense(3)(joined) * 2.0, joined])


@pytest.mark.parametrize("as_dict", [False, True])
def test_several_inputs_of_the_types_that_it_was_made_for(tmp_path, as_dict):
    several(as_dict).save(tmp_path / "model.keras")
    model = load_keras_file(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        account = inspect(model)
    assert sorted(account.inputs) == [(1, 5), (1, 8, 8, 3)]
    assert account.totals.macs == (8 * 8 * 3 + 20) * 3
    if as_dict:
        sizes = {"image": (2, 8, 8, 3), "a": (2, 5)}
        assert inspect(model, sizes, dtype=torch.int32).totals.macs == 2 * account.totals.macs


def test_an_open_size_has_to_be_given(tmp_path):
    keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(8, 3)]).save(tmp_path / "m.keras")
    model = load_keras_file(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"leaves the size of .* open, \?,\?,\?,1; give one"):
        inspect(model)
    assert inspect(model, (1, 5, 5, 1)).totals.macs == 9 * 8 * 9


MARK = "a file that nothing may write"


def planted(tmp_path):
    """A custom layer whose code leaves a mark where it runs."""
    (tmp_path / "custom_of_mine.py").write_text(
        "import pathlib, keras\n"
        f"pathlib.Path({str(tmp_path / MARK)!r}).touch()\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Doubling(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
    )
    return {
        "module": "custom_of_mine",
        "class_name": "Doubling",
        "config": {"name": "twice"},
        "registered_name": "mine>Doubling",
        "build_config": {"input_shape": [None, 14, 14, 16]},
    }


def test_custom_code_is_not_run_unless_it_is_allowed(saved, tmp_path, monkeypatch, capsys):
    _, path = saved
    monkeypatch.chdir(tmp_path)
    custom = planted(tmp_path)
    changed(path, lambda c: c["config"]["layers"].insert(4, custom))
    assert run(path) == 2
    error = capsys.readouterr().err
    assert "layer 'twice' is a custom_of_mine.Doubling" in error and error.count("\n") == 1
    assert not (tmp_path / MARK).exists()
    assert run(path, "--allow-custom-code", "--format", "json") == 0
    assert (tmp_path / MARK).exists()
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert "twice" in [row["label"] for row in rows]


def test_a_lambda_is_refused_unless_it_is_allowed(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 2, name="double")])
    model.save(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"layer 'double' is a keras.layers.Lambda.*--allow-"):
        load_keras_file(tmp_path / "m.keras")
    assert len(load_keras_file(tmp_path / "m.keras", allow_custom_code=True).layers) == 1


def test_what_is_allowed_but_missing_is_one_line(saved):
    _, path = saved
    changed(path, lambda c: layer(c, "stem").update(module="gone", registered_name="x>Conv2D"))
    with pytest.raises(InputError, match="Keras cannot load it") as caught:
        load_keras_file(path, allow_custom_code=True)
    assert "\n" not in str(caught.value)


CHANGES = {
    "another module's function": lambda c: layer(c, "stem")["config"].update(
        activation={"module": "os", "class_name": "function", "config": "system",
                    "registered_name": "system"}
    ),
    "a class of Python's": lambda c: layer(c, "stem").update(module="os", class_name="Popen"),
    "a file on the disk": lambda c: layer(c, "stem").update(class_name="TFSMLayer"),
    "another framework's code": lambda c: layer(c, "stem").update(class_name="TorchModuleWrapper"),
    "a vocabulary's path": lambda c: layer(c, "stem").update(class_name="StringLookup"),
    "no module, the old form": lambda c: layer(c, "stem").pop("module"),
    "a name that is registered": lambda c: layer(c, "stem").update(registered_name="mine>Other"),
    "ours, by another name": lambda c: layer(c, "stem").update(
        module="lamina.layers.conv2d", registered_name="x>Conv2D"
    ),
    "a lambda in an initialiser": lambda c: layer(c, "stem")["config"]["kernel_initializer"].update(
        class_name="__lambda__"
    ),
    "a module inside of keras": lambda c: layer(c, "stem").update(module="keras.src.saving"),
    "a utility of keras": lambda c: layer(c, "stem").update(module="keras.utils",
                                                            class_name="get_file"),
    "deep inside": lambda c: c["config"].update(
        more=[[{"x": {"class_name": "Evil", "module": "evil", "config": {}}}]]
    ),
    "a class name that is none": lambda c: layer(c, "stem").update(class_name=["Conv2D"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_only_classes_of_the_list(saved, name):
    _, path = saved
    changed(path, CHANGES[name])
    with pytest.raises(InputError, match="--allow-custom-code") as caught:
        load_keras_file(path)
    assert "\n" not in str(caught.value)


def test_losses_and_optimisers_are_not_looked_at(saved):
    _, path = saved
    changed(path, lambda c: c["compile_config"].update(optimizer={
        "module": "os", "class_name": "system", "config": {}}))  # fmt: skip
    assert not load_keras_file(path).compiled


def test_a_model_larger_than_is_allowed(saved):
    _, path = saved
    changed(path, lambda c: layer(c, "dense")["config"].update(units=10**12))
    with pytest.raises(InputError, match=r"it would take 6[0-9,]* bytes, allowed are 4,294,"):
        load_keras_file(path)


def weights(members, change):
    held = io.BytesIO(members["model.weights.h5"])
    with h5py.File(held, "r+") as file:
        change(file)
    return {**members, "model.weights.h5": held.getvalue()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(x=h5py.SoftLink("/layers")), "a link, '/x'"),
        (lambda f: f["layers"].update(x=h5py.ExternalLink("/etc/passwd", "/")), "a link, '/layer"),
        (
            lambda f: f.create_dataset("x", (4,), "i1", external=[("/etc/hostname", 0, 4)]),
            "'/x' lie elsewhere",
        ),
        (
            lambda f: f.create_virtual_dataset("x", h5py.VirtualLayout((4,), "i1")),
            "'/x' lie elsewhere",
        ),
        (
            lambda f: f.create_dataset("x", (2**40,), "i1", chunks=True, compression="gzip"),
            "unpack to 1,099,511",
        ),
        (lambda f: f["layers"].pop("dense"), "weights do not fit its layers"),
    ],
)  # fmt: skip
def test_weights_stay_in_their_file_and_are_those_of_the_layers(saved, change, message):
    _, path = saved
    written(path, weights(parts(path), change))
    with pytest.raises(InputError, match=message) as caught:
        load_keras_file(path)
    assert "\n" not in str(caught.value)


def test_a_group_that_holds_itself_ends(saved):
    model, path = saved
    written(path, weights(parts(path), lambda f: f["layers"].update(again=f["layers"])))
    assert load_keras_file(path).count_params() == model.count_params()


def test_members_that_climb_out_of_their_folder_stay_in_their_file(saved, tmp_path):
    model, path = saved
    (tmp_path / "in").mkdir()
    members = {**parts(path), "../climbed.txt": "out", str(tmp_path / "named.txt"): "out"}
    read = load_keras_file(written(tmp_path / "in" / "model.keras", members))
    assert read.count_params() == model.count_params()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in", "model.keras"]


def test_sizes_are_checked_before_they_are_read(saved):
    _, path = saved
    with pytest.raises(InputError, match=r"model.weights.h5 unpacks to .* allowed are 1,000"):
        load_keras_file(path, largest=1000)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x": "y"}, "no .keras file, it has no config.json"),
        ({"config.json": "{}"}, "it has no model.weights.h5"),
        ({"config.json": "{", "model.weights.h5": ""}, "no .keras file: JSONDecodeError"),
        ({"config.json": "[" * 10**6, "model.weights.h5": ""}, "no .keras file: RecursionError"),
        ({"config.json": "3", "model.weights.h5": ""}, "its weights cannot be read"),
    ],
)
def test_what_is_no_keras_file(tmp_path, members, message):
    with pytest.raises(InputError, match=message):
        load_keras_file(written(tmp_path / "m.keras", members))
    (tmp_path / "m.keras").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match=r"no .keras file"):
        load_keras_file(tmp_path / "m.keras")


def test_an_initialiser_is_no_model(saved):
    _, path = saved
    members = parts(path)
    ones = {"module": "keras.initializers", "class_name": "Ones", "config": {}}
    written(path, {**members, "config.json": json.dumps(ones)})
    with pytest.raises(InputError, match="it describes a Ones, no model"):
        load_keras_file(path)


def test_every_byte_may_be_wrong(saved):
    """Damaged files are refused or, where the damage is none, read: nothing else happens."""
    _, path = saved
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 5):
            damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(damaged[: int(generator.integers(len(whole) // 2, len(whole) + 1))]))
        try:
            load_keras_file(path)
        except InputError as error:
            assert "\n" not in str(error)


def test_the_configuration_is_not_changed_by_the_check(saved):
    from lamina.interchange.allowed import check_configuration

    configuration = json.loads(parts(saved[1])["config.json"])
    configuration.pop("compile_config")
    before = copy.deepcopy(configuration)
    check_configuration("m.keras", configuration)
    assert configuration == before


def test_the_command_line_takes_size_and_budget_from_the_file(saved, capsys):
    _, path = saved
    assert run(path, "--format", "json", "--measure") == 0
    account = json.loads(capsys.readouterr().out)
    assert account["inputs"] == [[1, 16, 16, 3]]
    assert account["totals"]["time_forward"]["median"] > 0
    assert run(path, "--fail-on", "params<=1k,macs<=10") == 1
    assert capsys.readouterr().err.count("budget exceeded: macs<=10") == 1


def test_health_of_a_keras_model_on_images(tmp_path, capsys):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, name="stem"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, name="dense"),
        ]
    )
    model.save(tmp_path / "m.keras")
    before = [w.copy() for w in model.get_weights()]
    assert run(tmp_path / "m.keras", "--train", "--data", "digits", "--format", "json") == 0
    rows = {row["label"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["relu"]["health"]["activation_std"] > 0
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
