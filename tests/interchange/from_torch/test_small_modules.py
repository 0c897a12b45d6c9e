import copy

import keras
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lamina.errors import InputError
from lamina.interchange import from_torch
from lamina.interchange.from_torch.to_keras import to_keras
from lamina.interchange.proof import verify
from tests.interchange.from_torch.agreement import check, difference, draw_statistics
from tests.interchange.from_torch.small_modules import CROSS, REFUSED, Apply, of_values


@pytest.mark.parametrize("name", CROSS)
def test_a_small_module_crosses(name, tmp_path, tensorflow):
    module, shapes = CROSS[name]
    check(copy.deepcopy(module), *shapes, tmp_path=tmp_path, tensorflow=tensorflow)


@pytest.mark.parametrize("name", ["flatten_dense", "channel_shuffle", "two_inputs", "attention"])
def test_the_layout_is_kept_on_request(name, tmp_path):
    module, shapes = CROSS[name]
    crossing = check(copy.deepcopy(module), *shapes, tmp_path=tmp_path, keep_layout=True)
    assert crossing.input_axes == [None] * len(shapes)
    assert crossing.keras_model.inputs[0].shape[1] == shapes[0][1]


@pytest.mark.parametrize("name", ["conv_stride_2", "batch_norm", "flatten_dense", "adaptive_pools"])
def test_layers_are_ours_on_request(name, tmp_path):
    module, shapes = CROSS[name]
    crossing = check(copy.deepcopy(module), *shapes, tmp_path=tmp_path, flavour="lamina")
    assert any(type(one).__module__.startswith("lamina") for one in crossing.keras_model.layers)


@pytest.mark.parametrize("name", REFUSED)
def test_what_keras_cannot_say_is_refused_with_the_reason(name):
    module, reason = REFUSED[name]
    with pytest.raises(InputError) as refused:
        to_keras(module.eval(), (1, 4, 9, 8))
    assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_a_model_that_cannot_be_traced_is_refused_with_its_line():
    with pytest.raises(InputError, match=r"small_modules\.py:\d+: ") as refused:
        to_keras(Apply(of_values), (1, 4, 9, 8))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "module, example, message",
    [
        (nn.Linear(4, 2).double(), (1, 4), "weight: expected float32, got torch.float64"),
        (nn.LazyLinear(2), (1, 4), "has no size yet"),
        (nn.Linear(4, 2), torch.zeros(2, 4, dtype=torch.int64), "expected batches of float32"),
        (nn.Linear(4, 2), (4,), "expected batches of float32"),
    ],
)
def test_bad_input_is_refused(module, example, message):
    with pytest.raises(InputError, match=message):
        to_keras(module, example)


def test_an_unknown_flavour_is_refused():
    with pytest.raises(InputError, match="expected 'keras' or 'lamina', got 'jax'"):
        to_keras(nn.Linear(4, 2), (1, 4), flavour="jax")


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    module[1].eval()
    before = copy.deepcopy(module.state_dict())
    crossing = from_torch.cross(module, (1, 3, 8, 8))
    assert [one.training for one in module] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    weight = crossing.graph.get_parameter("0.weight")
    assert weight is module[0].weight


def test_layers_have_the_modules_names_and_weights_theirs():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return torch.relu(self.conv(x)) + x

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Block(), Block()])
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.fc(x.mean((2, 3)))

    crossing = from_torch.cross(Net(), (1, 3, 5, 5))
    assert [layer.name for layer in crossing.keras_model.layers[1:]] == [
        "blocks_0_conv",
        "blocks_0_relu",
        "blocks_0_add",
        "blocks_1_conv",
        "blocks_1_relu",
        "blocks_1_add",
        "mean",
        "fc",
    ]
    named = {pair.torch: pair.keras for pair in crossing.weights}
    assert named["blocks.1.conv.weight"] == "blocks_1_conv/kernel"
    assert named["fc.bias"] == "fc/bias"
    assert [pair.layer for pair in crossing.pairs][:2] == ["blocks.0.conv", "blocks.0: relu"]


def test_a_module_that_is_called_twice_is_one_layer(tmp_path):
    module, shapes = CROSS["shared"]
    crossing = check(copy.deepcopy(module), *shapes, tmp_path=tmp_path)
    calls = [(pair.keras, pair.call) for pair in crossing.pairs]
    assert ("a", 0) in calls and ("a", 1) in calls
    assert [pair.torch for pair in crossing.weights] == ["a.weight", "a.bias"]


def test_a_weight_in_two_layers_of_different_kinds_is_refused():
    module = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2))
    module[1].weight = module[0].weight
    with pytest.raises(InputError, match=r"0\.weight is in layer_0/kernel too"):
        to_keras(module, (1, 4, 9, 9))


def test_frozen_layers_stay_frozen_and_half_frozen_ones_are_noted():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    module[0].requires_grad_(False)
    module[2].requires_grad_(False)
    module[3].bias.requires_grad_(False)
    crossing = from_torch.cross(module, (2, 4))
    trainable = [layer.trainable for layer in crossing.keras_model.layers[1:]]
    assert trainable == [False, True, False, True]
    fates = {(note.layer, note.fate) for note in crossing.notes if note.trap == "freezing"}
    assert fates == {("2", "approximated"), ("3", "dropped")}


def test_notes_name_the_rows_of_the_table():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )
    crossing = from_torch.cross(module, (1, 3, 8, 8))
    assert {(note.layer, note.trap) for note in crossing.notes} == {
        ("0", "same-stride"),
        ("1", "momentum"),
        ("1", "biased-variance"),
        ("4", "flatten"),
    }


def test_dropout_that_leaves_no_trace_in_evaluation_crosses():
    from lamina import nn as ours

    module = nn.Sequential(
        ours.Conv2d(3, 4, 3),
        ours.Dropout2d(0.1),
        ours.DropPath(0.2),
        nn.Flatten(),
        ours.Dropout(0.3),
    )
    model = to_keras(module, (1, 3, 4, 4))
    rates = {layer.name: layer.rate for layer in model.layers if hasattr(layer, "rate")}
    assert rates == {"layer_1": 0.1, "layer_2": 0.2, "layer_4": 0.3}
    assert model.get_layer("layer_2").noise_shape == (None, 1, 1, 1)
    assert not any("forward" in vars(one) for one in module)


def test_parameters_that_evaluation_does_not_use_are_noted():
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.aux = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return (self.a(x), self.aux(x)) if self.training else self.a(x)

    crossing = from_torch.cross(Auxiliary(), (1, 4))
    (note,) = [note for note in crossing.notes if note.fate == "dropped"]
    assert note.layer == "aux" and "aux.weight" in note.what


def test_a_batch_that_the_module_fixes_is_the_models():
    model = to_keras(Apply(lambda self, x: x.reshape(2, 3, 4).reshape(2, 12)), (2, 12))
    assert model.input_shape == (2, 12)


def test_a_training_step_of_batch_norm_keeps_the_momentum():
    module = draw_statistics(nn.Sequential(nn.BatchNorm2d(3, momentum=0.25)))
    crossing = from_torch.cross(module, (1, 3, 4, 4))
    x = torch.randn(64, 3, 4, 4)
    crossing.keras_model(x.permute(0, 2, 3, 1), training=True)
    module.train()(x)
    layer = crossing.keras_model.layers[-1]
    assert difference(np.asarray(layer.moving_mean), module[0].running_mean.numpy()) < 1e-6
    unbiased = 64 * 16 / (64 * 16 - 1)  # the row that is noted
    assert difference(np.asarray(layer.moving_variance), module[0].running_var.numpy()) < (
        unbiased - 1
    )


def test_the_file_is_read_by_the_house_itself(tmp_path):
    from lamina.interchange import load_keras_file

    module, shapes = CROSS["channel_shuffle"]
    model = to_keras(copy.deepcopy(module), *shapes)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 6)).astype("float32")
    read = load_keras_file(tmp_path / "model.keras")
    assert np.array_equal(keras.ops.convert_to_numpy(read(x)), keras.ops.convert_to_numpy(model(x)))


def test_settings_that_would_build_another_model_are_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(InputError, match="expected 'channels_last', got 'channels_first'"):
            to_keras(nn.Linear(4, 2), (1, 4))
    finally:
        keras.config.set_image_data_format("channels_last")


def test_calls_are_counted_as_keras_makes_them(tmp_path):
    def gates(self, x):
        largest, mean = F.relu(self.a(x.amax((2, 3)))), F.relu(self.a(x.mean((2, 3))))
        return self.b(largest) + self.b(mean)

    module = Apply(gates, a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    crossing = check(module, (1, 4, 9, 8), tmp_path=tmp_path)
    for backend in ("torch", "tensorflow"):
        proof = verify(crossing, backend=backend)
        assert proof.holds, proof.verdict
