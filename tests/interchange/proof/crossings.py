"""A crossing made by hand, whose torch side a test may spoil before it is proven."""

import keras
import numpy as np
import torch
from keras import layers
from torch import fx, nn

from lamina.interchange.crossing import Crossing, Pair, Rearrangement, WeightPair

IMAGE = (0, 2, 3, 1)
LAYERS = ("stem", "norm", "leaky", "mix", "mix_norm", "flat", "drop", "head")


def keras_model():
    """Every weight, statistics too, drawn at random: a fault in any of them shows."""
    image = keras.Input((12, 12, 3), name="image")
    x = image
    for layer in (
        layers.Conv2D(6, 3, strides=2, padding="same", use_bias=True, name="stem"),
        layers.BatchNormalization(momentum=0.9, epsilon=1e-2, name="norm"),
        layers.LeakyReLU(negative_slope=0.25, name="leaky"),
        layers.Conv2D(6, 3, use_bias=False, name="mix"),
        layers.BatchNormalization(momentum=0.8, epsilon=1e-3, name="mix_norm"),
        layers.Flatten(name="flat"),
        layers.Dropout(0.5, name="drop"),
        layers.Dense(5, name="head"),
    ):
        x = layer(x)
    model = keras.Model(image, x)
    random = np.random.default_rng(0)
    for weight in model.weights:
        drawn = random.standard_normal(weight.shape).astype("float32") * 0.3
        weight.assign(1.0 + np.abs(drawn) if weight.name in ("gamma", "moving_variance") else drawn)
    return model


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.norm = nn.BatchNorm2d(6, eps=1e-2, momentum=0.1)
        self.leaky = nn.LeakyReLU(0.25)
        self.mix = nn.Conv2d(6, 6, 3, bias=False)
        self.mix_norm = nn.BatchNorm2d(6, eps=1e-3, momentum=0.2)
        self.flat = nn.Flatten()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(96, 5)

    def forward(self, x):
        x = self.leaky(self.norm(self.stem(self.pad(x))))
        x = self.mix_norm(self.mix(x))
        return self.head(self.drop(self.flat(x)))


def conv(shape):
    height, width, into, out = shape
    return Rearrangement(shape, (3, 2, 0, 1), (out, into, height, width))


def weight_pairs():
    pairs = [
        WeightPair("stem/kernel", "stem.weight", conv((3, 3, 3, 6))),
        WeightPair("stem/bias", "stem.bias", Rearrangement.none((6,))),
        WeightPair("mix/kernel", "mix.weight", conv((3, 3, 6, 6))),
        # The rows of Keras's kernel go through the image's pixels first, PyTorch's columns last.
        WeightPair("head/kernel", "head.weight", Rearrangement((16, 6, 5), (2, 1, 0), (5, 96))),
        WeightPair("head/bias", "head.bias", Rearrangement.none((5,))),
    ]
    for name in ("norm", "mix_norm"):
        for ours, theirs, trainable in (
            ("gamma", "weight", True),
            ("beta", "bias", True),
            ("moving_mean", "running_mean", False),
            ("moving_variance", "running_var", False),
        ):
            none = Rearrangement.none((6,))
            pairs.append(WeightPair(f"{name}/{ours}", f"{name}.{theirs}", none, trainable))
    return sorted(pairs, key=lambda pair: LAYERS.index(pair.keras.split("/")[0]))


def hand_made(net=Net, change=lambda module: None, model=None):
    """Both sides with Keras's weights.

    Args:
        model: Keras's side, drawn at random unless given.
        net: the torch module's class.
        change: spoils it before it is traced.
    """
    model, module = model or keras_model(), net()
    change(module)
    weights = weight_pairs()
    values = {weight.path: weight.numpy() for weight in model.weights}
    state = module.state_dict()
    for pair in weights:
        if pair.torch in state:
            state[pair.torch].copy_(
                torch.from_numpy(pair.rearrangement.to_torch(values[pair.keras]))
            )
    graph = fx.symbolic_trace(module.eval())
    module.train()
    pairs = [
        Pair(name, 0, name, IMAGE if LAYERS.index(name) < 5 else None, name)
        for name in LAYERS
        if name not in ("flat", "drop")  # in another order on either side
    ]
    weights = [pair for pair in weights if pair.torch in state]
    return Crossing(model, module, graph, pairs, weights, [], [IMAGE], [None])
