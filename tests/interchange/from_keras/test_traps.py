"""Every row of the trap table that Keras can show, against TensorFlow, in both modes."""

import numpy as np
import pytest
import torch

from tests.interchange.from_keras import nets
from tests.interchange.from_keras.compare import crossed, difference, inputs_for, run, weights_of

TOLERANCE = 2e-5
TRAINED = sorted(name for name, (_, training) in nets.NETS.items() if training)


@pytest.mark.parametrize("flavour", ["torch", "lamina"])
@pytest.mark.parametrize("name", sorted(nets.NETS))
def test_a_net_gives_tensorflows_numbers(tensorflow, name, flavour):
    model = nets.build(name)
    weights, crossing = crossed(model, flavour=flavour)
    inputs = inputs_for(crossing.keras_model)
    wanted, _ = tensorflow.call(name, weights, inputs)
    assert difference(run(crossing, inputs), wanted) < TOLERANCE


@pytest.mark.parametrize("flavour", ["torch", "lamina"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_net_trains_as_tensorflows_does(tensorflow, name, flavour):
    model = nets.build(name)
    weights, crossing = crossed(model, flavour=flavour)
    inputs = inputs_for(crossing.keras_model)
    wanted, after = tensorflow.call(name, weights, inputs, training=True)
    assert difference(run(crossing, inputs, training=True), wanted) < TOLERANCE
    state = crossing.torch_model.state_dict()
    numbers = {id(variable): number for number, variable in enumerate(model.weights)}
    for pair, variable in weights_of(crossing):
        value = after[numbers[id(variable)]]
        got = pair.rearrangement.to_keras(state[pair.torch].numpy(), value.shape)
        if flavour == "torch" and pair.torch.endswith("running_var"):
            continue  # torch.nn moves it by the unbiased variance, which a note says
        assert np.abs(got - value).max() < 1e-5 * max(1.0, np.abs(value).max()), pair


@pytest.mark.parametrize("name", sorted(nets.NETS))
def test_every_weight_crosses_bit_for_bit(name):
    model = nets.build(name)
    _, crossing = crossed(model)
    state = crossing.torch_model.state_dict()
    for pair, variable in weights_of(crossing):
        value = variable.numpy()
        got = pair.rearrangement.to_keras(state[pair.torch].numpy(), value.shape)
        assert got.astype(value.dtype).tobytes() == value.tobytes(), pair
        assert pair.trainable == variable.trainable
    ours = {pair.torch: pair for pair in crossing.weights}
    for entry, parameter in crossing.torch_model.named_parameters():
        assert parameter.requires_grad == (entry in ours and ours[entry].trainable), entry


def test_the_torch_model_is_the_graph_in_evaluation():
    _, crossing = crossed(nets.build("nested_models"))
    assert crossing.torch_model is crossing.graph
    assert not crossing.graph.training
    assert isinstance(crossing.graph, torch.fx.GraphModule)
