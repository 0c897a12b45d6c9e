"""Small models of both frameworks for the tests of files; `file.py:factory` names them too."""

import torch
from torch import nn


class Net(nn.Module):
    """An image classifier of eight by eight pixels, with a residual."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.mix = nn.Conv2d(6, 6, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.mix(x)
        return self.head(self.pool(x).flatten(1))


def net():
    torch.manual_seed(3)
    return Net()


def keras_net():
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, strides=2, padding="same", name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.Model(image, layers.Dense(4, name="head")(x), name="small")
