"""The written class is the module: the same keys, the same numbers, plain imports."""

import ast

import keras
import pytest
import torch

from lamina.errors import InputError
from lamina.interchange.from_keras import cross, source
from tests.interchange.from_keras import nets
from tests.interchange.from_keras.compare import crossed, difference, inputs_for, run

# lamina.nn takes the algorithm that was the faster one when it was first asked.
SLACK = {"torch": 0.0, "lamina": 1e-6}


def written(crossing):
    text = source(crossing, "Written")
    names = {}
    exec(compile(text, "written.py", "exec"), names)
    model = names["Written"]()
    model.load_state_dict(crossing.torch_model.state_dict())
    return text, model


@pytest.mark.parametrize("flavour", ["torch", "lamina"])
@pytest.mark.parametrize("name", sorted(nets.NETS))
def test_the_class_gives_the_same_numbers(name, flavour):
    _, crossing = crossed(nets.build(name), flavour=flavour)
    text, model = written(crossing)
    inputs = inputs_for(crossing.keras_model)
    wanted = run(crossing, inputs)
    assert [*model.state_dict()] == [*crossing.torch_model.state_dict()]
    frozen = {key: one.requires_grad for key, one in crossing.torch_model.named_parameters()}
    assert {key: one.requires_grad for key, one in model.named_parameters()} == frozen
    crossing.torch_model = model
    assert difference(run(crossing, inputs), wanted) <= SLACK[flavour]
    if nets.NETS[name][1]:
        again = cross(nets.build(name), flavour=flavour)
        _, other = written(again)
        wanted = run(again, inputs, training=True)
        again.torch_model = other
        # The first run moved statistics that batch norm does not read in training.
        assert difference(run(again, inputs, training=True), wanted) <= SLACK[flavour]
    allowed = {"torch", "torch.nn", "__future__"} | ({"lamina"} if flavour == "lamina" else set())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert node.module in allowed
    assert max(len(line) for line in text.splitlines()) <= 100


def test_a_residual_block_reads_as_a_person_writes_it():
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv1")(inputs)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    x = keras.layers.ReLU(name="relu1")(x)
    x = keras.layers.Add(name="add")([inputs, x])
    x = keras.layers.Flatten(name="flatten")(x)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="head")(x))
    assert source(cross(model), "Block") == (
        "from torch import Tensor, nn\n"
        "\n"
        "\n"
        "class Block(nn.Module):\n"
        "    def __init__(self) -> None:\n"
        "        super().__init__()\n"
        "        self.conv1 = nn.Conv2d(4, 4, 3, padding=1, bias=False)\n"
        "        self.bn1 = nn.BatchNorm2d(4, eps=0.001, momentum=0.01)\n"
        "        self.relu1 = nn.ReLU()\n"
        "        self.flatten = nn.Flatten()\n"
        "        self.head = nn.Linear(256, 10)\n"
        "        self.head_activation = nn.Softmax(1)\n"
        "\n"
        "    def forward(self, x: Tensor) -> Tensor:\n"
        "        y = self.conv1(x)\n"
        "        y = self.bn1(y)\n"
        "        y = self.relu1(y)\n"
        "        x = x + y\n"
        "        x = self.flatten(x)\n"
        "        x = self.head(x)\n"
        "        return self.head_activation(x)\n"
    )


def test_frozen_layers_stay_frozen():
    conv = keras.layers.Conv2D(2, 3, trainable=False, name="conv")
    text, model = written(cross(keras.Sequential([keras.Input((5, 5, 1)), conv])))
    assert "        self.conv.requires_grad_(False)\n" in text
    assert not any(one.requires_grad for one in model.parameters())
    assert torch.is_grad_enabled()


def test_a_name_that_is_no_identifier_is_refused():
    crossing = cross(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    with pytest.raises(InputError, match="class_name must be a Python identifier, got 'my-net'"):
        source(crossing, "my-net")
