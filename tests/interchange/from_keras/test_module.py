"""The torch module is one like any other: copied, pickled, trained, traced, exported."""

import copy
import io
import pickle

import keras
import numpy as np
import pytest
import torch

from lamina.interchange.from_keras import cross
from lamina.interchange.from_keras.to_torch import to_torch
from tests.interchange.from_keras import nets
from tests.interchange.from_keras.compare import crossed, inputs_for, run

NAMES = [
    "average_same",
    "backbone_in_inference_mode",
    "batch_norm_frozen",
    "channel_shuffle",
    "dense_after_flatten_and_more",
    "dropouts",
    "nested_models",
    "same_at_stride_2_any_size",
    "scalar_operations",
    "shared_layer",
    "subclassed_model",
]


def example(name, flavour="torch"):
    _, crossing = crossed(nets.build(name), flavour=flavour)
    arrays = inputs_for(crossing.keras_model)
    tensors = [
        torch.from_numpy(x if axes is None else x.transpose(np.argsort(axes)).copy())
        for x, axes in zip(arrays, crossing.input_axes, strict=True)
    ]
    return crossing.torch_model, tensors


@pytest.mark.parametrize("flavour", ["torch", "lamina"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_copied_pickled_and_traced(name, flavour):
    model, inputs = example(name, flavour)
    wanted = model(*inputs)
    others = {
        "copy": copy.deepcopy(model),
        "pickle": pickle.loads(pickle.dumps(model)),
    }
    if flavour == "torch":
        others["jit"] = torch.jit.trace(model, tuple(inputs))
    if all(
        type(one).__module__.startswith("torch.nn.") for one in model.modules() if one is not model
    ):
        others["fx"] = torch.fx.symbolic_trace(model)
    for kind, other in others.items():
        torch.testing.assert_close(other(*inputs), wanted, rtol=0, atol=0, msg=kind)
        assert other.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("flavour", ["torch", "lamina"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_exported_with_any_batch(name, flavour):
    model, inputs = example(name, flavour)
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = tuple({0: batch} for _ in inputs)
    program = torch.export.export(model, tuple(inputs), dynamic_shapes=shapes)
    larger = [torch.cat([x, x + 1, x]) for x in inputs]
    got, wanted = program.module()(*larger), model(*larger)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(*larger), got)


@pytest.mark.parametrize("name", NAMES)
def test_it_trains(name):
    model, inputs = example(name)
    model.train()
    parameters = [one for one in model.parameters() if one.requires_grad]
    if not parameters:
        return
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    model(*inputs).square().mean().backward()
    assert all(one.grad is not None for one in parameters)
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    frozen = {key for key, one in model.named_parameters() if not one.requires_grad}
    assert changed
    assert not changed & frozen


def test_a_frozen_batch_norm_keeps_its_statistics():
    model, inputs = example("batch_norm_frozen")
    frozen = next(m for m in model.modules() if type(m).__name__ == "FrozenBatchNorm2d")
    before = frozen.running_mean.clone(), frozen.running_var.clone()
    model.train()(*inputs)
    assert frozen.running_mean.equal(before[0])
    assert frozen.running_var.equal(before[1])


def test_an_empty_batch_passes():
    model, inputs = example("dense_after_flatten")
    assert model(inputs[0][:0]).shape == (0, 2)


def test_names_are_those_of_the_layers():
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv")])
    inner.name = "backbone"
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.SeparableConv2D(2, 3, name="sep", activation="relu")(inner(inputs))
    model = cross(keras.Model(inputs, keras.layers.Softmax(name="probabilities")(x))).torch_model
    assert [*model.state_dict()] == [
        "backbone.conv.weight",
        "backbone.conv.bias",
        "sep.depthwise.weight",
        "sep.pointwise.weight",
        "sep.pointwise.bias",
    ]
    assert {"sep_activation", "probabilities"} < {name for name, _ in model.named_children()}


def test_pairs_name_operations_and_nodes():
    _, crossing = crossed(nets.build("shared_layer"))
    nodes = {node.name for node in crossing.graph.graph.nodes}
    assert {pair.torch for pair in crossing.pairs} <= nodes
    assert [(p.keras, p.call) for p in crossing.pairs if p.keras == "conv"] == [
        ("conv", 0),
        ("conv", 1),
    ]
    assert all(pair.axes == (0, 2, 3, 1) for pair in crossing.pairs if pair.keras == "conv")


def test_every_pair_holds_the_same_numbers():
    """Layer by layer, and not only at the end."""
    _, crossing = crossed(nets.build("nested_models"))
    (x,) = inputs_for(crossing.keras_model)
    values = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, node):
            values[node.name] = super().run_node(node)
            return values[node.name]

    with torch.no_grad():
        Recorder(crossing.graph).run(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    wanted = {}
    for _, operation in _operations(crossing.keras_model):
        call = operation.call
        operation.__dict__["call"] = _recording(wanted, operation, call)
    with torch.no_grad():
        crossing.keras_model(torch.from_numpy(x))
    assert len(crossing.pairs) == 7
    for pair in crossing.pairs:
        got = values[pair.torch]
        got = got if pair.axes is None else got.permute(pair.axes)
        name = pair.keras.rpartition("/")[2]
        torch.testing.assert_close(got, wanted[pair.keras.count("/"), name][pair.call])


def _operations(model, depth=0):
    for operation in getattr(model, "operations", None) or model.layers:
        if hasattr(operation, "get_layer"):
            yield from _operations(operation, depth + 1)
        else:
            operation.depth = depth
            yield depth, operation


def _recording(wanted, operation, call):
    def record(*arguments, **options):
        output = call(*arguments, **options)
        wanted.setdefault((operation.depth, operation.name), []).append(output)
        return output

    return record


def test_to_torch_takes_a_file(tmp_path):
    model = nets.build("dense_after_flatten")
    model.save(tmp_path / "model.keras")
    one, other = to_torch(model), to_torch(tmp_path / "model.keras")
    for key, value in one.state_dict().items():
        assert value.equal(other.state_dict()[key])


def test_several_outputs_are_a_tuple():
    _, crossing = crossed(nets.build("global_pools"))
    flat, images = run(crossing, inputs_for(crossing.keras_model))
    assert flat.shape == (4, 6)
    assert images.shape == (4, 1, 1, 4)
    assert crossing.output_axes == [None, (0, 2, 3, 1)]
