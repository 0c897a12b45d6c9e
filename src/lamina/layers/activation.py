"""Activations: Keras's own serve, element by element and without a copy on its torch backend.

``Activation("relu")``, ``ReLU``, ``LeakyReLU`` (slope 0.3, torch's is 0.01), ``PReLU`` (one slope
per element, from 0; torch has one slope, from 0.25), ``ELU``, ``Softmax``. The ``activation``
argument of the other layers takes the same names.
"""

from keras.layers import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax

__all__ = ["ELU", "Activation", "LeakyReLU", "PReLU", "ReLU", "Softmax"]
