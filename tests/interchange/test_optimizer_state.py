"""Training goes on in the other framework: after three more steps the weights are the same."""

import keras
import numpy as np
import pytest
import torch

from lamina.errors import InputError
from lamina.interchange import optimizer_to_keras, optimizer_to_torch
from tests.interchange.proof.crossings import hand_made, keras_model

BEFORE, AFTER = 4, 3
RANDOM = np.random.default_rng(5)
BATCHES = RANDOM.standard_normal((BEFORE + AFTER, 8, 12, 12, 3)).astype("float32")
TARGETS = RANDOM.standard_normal((BEFORE + AFTER, 8, 5)).astype("float32")


def train_keras(model, optimizer, steps):
    variables = model.trainable_variables
    for x, y in zip(BATCHES[steps], TARGETS[steps], strict=True):
        loss = keras.ops.mean((model(x, training=False) - keras.ops.convert_to_tensor(y)) ** 2)
        gradients = torch.autograd.grad(loss, [variable.value for variable in variables])
        optimizer.apply(gradients, variables)


def train_torch(module, optimizer, steps):
    module.eval()
    for x, y in zip(BATCHES[steps], TARGETS[steps], strict=True):
        optimizer.zero_grad()
        result = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
        ((result - torch.from_numpy(y)) ** 2).mean().backward()
        optimizer.step()


def largest_difference(crossing, start):
    """Of the weights' movement since ``start``, relative to the largest movement."""
    state = crossing.torch_model.state_dict()
    values = {weight.path: weight.numpy() for weight in crossing.keras_model.weights}
    differences, movements = [], []
    for pair in (pair for pair in crossing.weights if pair.trainable):
        ours = pair.rearrangement.to_torch(values[pair.keras])
        differences.append(np.abs(ours - state[pair.torch].numpy()).max())
        movements.append(np.abs(ours - pair.rearrangement.to_torch(start[pair.keras])).max())
    return max(differences) / max(movements)


KERAS = {
    "sgd": lambda: keras.optimizers.SGD(1e-3),
    "decay": lambda: keras.optimizers.SGD(1e-3, weight_decay=3.0),
    "momentum": lambda: keras.optimizers.SGD(1e-3, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(1e-3, momentum=0.8, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.003, beta_1=0.8, beta_2=0.99),
    "amsgrad": lambda: keras.optimizers.Adam(0.003, amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(0.003, weight_decay=0.1),
    "adam with decay": lambda: keras.optimizers.Adam(0.003, weight_decay=0.1),
}
TORCH = {
    "sgd": lambda p: torch.optim.SGD(p, 1e-3),
    "decay": lambda p: torch.optim.SGD(p, 1e-3, weight_decay=3.0),
    "momentum": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.8, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.003, betas=(0.8, 0.99)),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.003, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.003, weight_decay=0.1),
}


@pytest.mark.parametrize("name", KERAS)
def test_keras_training_goes_on_in_torch(name):
    model, optimizer = keras_model(), KERAS[name]()
    train_keras(model, optimizer, slice(0, BEFORE))
    crossing = hand_made(model=model)
    start = {weight.path: weight.numpy().copy() for weight in model.weights}
    theirs = optimizer_to_torch(optimizer, crossing)
    train_keras(model, optimizer, slice(BEFORE, None))
    train_torch(crossing.torch_model, theirs, slice(BEFORE, None))
    assert largest_difference(crossing, start) < 1e-4


@pytest.mark.parametrize("name", TORCH)
def test_torch_training_goes_on_in_keras(name):
    crossing = hand_made()
    optimizer = TORCH[name](crossing.torch_model.parameters())
    train_torch(crossing.torch_model, optimizer, slice(0, BEFORE))
    values = {
        pair.keras: crossing.torch_model.state_dict()[pair.torch] for pair in crossing.weights
    }
    by_path = {pair.keras: pair for pair in crossing.weights}
    for weight in crossing.keras_model.weights:
        turned = by_path[weight.path].rearrangement.to_keras(
            values[weight.path].numpy(), weight.shape
        )
        weight.assign(turned.copy())
    start = {weight.path: weight.numpy().copy() for weight in crossing.keras_model.weights}
    theirs = optimizer_to_keras(optimizer, crossing)
    train_torch(crossing.torch_model, optimizer, slice(BEFORE, None))
    train_keras(crossing.keras_model, theirs, slice(BEFORE, None))
    assert largest_difference(crossing, start) < 1e-4


@pytest.mark.parametrize("name", ["momentum", "amsgrad", "adamw"])
def test_there_and_back_is_the_same(name):
    model, optimizer = keras_model(), KERAS[name]()
    train_keras(model, optimizer, slice(0, BEFORE))
    crossing = hand_made(model=model)
    again = optimizer_to_keras(optimizer_to_torch(optimizer, crossing), crossing)
    assert type(again) is type(optimizer)
    mine, theirs = ([variable.numpy() for variable in one.variables] for one in (optimizer, again))
    # PyTorch's SGD counts no steps.
    for ours, back in zip(mine[name == "momentum" :], theirs[name == "momentum" :], strict=True):
        # A momentum is divided by the learning rate and multiplied by it.
        np.testing.assert_allclose(back, ours, rtol=3e-7 if name == "momentum" else 0)


def test_weights_without_decay_stay_without():
    model = keras_model()
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    train_keras(model, optimizer, slice(0, 1))
    crossing = hand_made(model=model)
    theirs = optimizer_to_torch(optimizer, crossing)
    decays = {len(group["params"]): group["weight_decay"] for group in theirs.param_groups}
    assert decays == {3: 0.5, 6: 0.0}
    again = optimizer_to_keras(theirs, crossing)
    kept = [v.path for v in model.trainable_variables if again._use_weight_decay(v)]
    assert kept == ["stem/kernel", "mix/kernel", "head/kernel"]


def schedule():
    return keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (schedule, "SGD follows the schedule ExponentialDecay"),
        (lambda: keras.optimizers.RMSprop(), "RMSprop is neither SGD, Adam nor AdamW"),
        (lambda: keras.optimizers.Adam(clipnorm=1.0), "Adam has clipnorm=1.0"),
        (lambda: keras.optimizers.Adam(use_ema=True), "Adam has use_ema=True"),
        (lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1), "SGD has weight decay"),
    ],
)
def test_what_torch_has_not_is_refused_by_name(make, message):
    with pytest.raises(InputError, match=message):
        optimizer_to_torch(make(), hand_made())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: torch.optim.RMSprop(p), "RMSprop is neither SGD, Adam nor AdamW"),
        (lambda p: torch.optim.Adam(p, weight_decay=0.1), "Adam has weight decay in its gradient"),
        (lambda p: torch.optim.SGD(p, 0.1, maximize=True), "SGD has maximize=True"),
        (
            lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.1),
            "SGD has dampening=0.1",
        ),
        (
            lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
            "SGD has weight decay in its momentum",
        ),
        (
            lambda p: torch.optim.SGD([{"params": p[:2], "lr": 0.2}, {"params": p[2:]}], 0.1),
            "SGD has groups with options of their own",
        ),
    ],
)
def test_what_keras_has_not_is_refused_by_name(make, message):
    crossing = hand_made()
    optimizer = make(list(crossing.torch_model.parameters()))
    with pytest.raises(InputError, match=message):
        optimizer_to_keras(optimizer, crossing)
