"""Keras on TensorFlow in a process of its own: what a model gives there is what it means.

``python tensorflow_side.py`` answers pickled requests over its pipes, as tests.layers.referee does;
here a request is a whole model, which both sides build by the same name.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from pathlib import Path


class TensorFlowSide:
    """The parent's end."""

    def __init__(self):
        from tests.layers.referee import started  # not in the process, which is a script

        self.process = started(__file__)

    def call(self, name, weights, inputs, *, training=False, **options):
        """Outputs of a model and its weights afterwards."""
        return self._ask(name, options, weights, inputs, training)

    def _ask(self, *request):
        _send(self.process.stdin, request)
        ok, answer = _receive(self.process.stdout)
        assert ok, answer
        return answer

    def described(self, name, **options):
        """A model's configuration: Keras refuses to make NASNet on its torch backend."""
        return self._ask(name, options, None, None, False)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def _send(pipe, message):
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(struct.pack("<Q", len(data)))
    pipe.write(data)
    pipe.flush()


def _receive(pipe):
    (size,) = struct.unpack("<Q", pipe.read(8))
    return pickle.loads(pipe.read(size))


def _answer(name, options, weights, inputs, training):
    import keras
    import nets
    import numpy as np

    if name == "sequence":  # layers by class and configuration, drawn by a test
        shape, parts = options["shape"], options["parts"]
        made = [getattr(keras.layers, kind)(**config) for kind, config in parts]
        model = keras.Sequential([keras.Input(shape), *made])
    else:
        model = nets.build(name, **options)
    if weights is None:
        return model.to_json()
    model.set_weights(weights)
    nets.finalize(model)
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=training)
    return [np.asarray(y) for y in keras.tree.flatten(outputs)], model.get_weights()


def _serve():
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).parent))
    while True:
        try:
            request = _receive(sys.stdin.buffer)
        except struct.error:
            return
        try:
            answer = (True, _answer(*request))
        except Exception as error:
            answer = (False, f"{type(error).__name__}: {error}")
        _send(pipe, answer)


if __name__ == "__main__":
    _serve()
