"""TensorFlow in a process of its own: what Keras does there is what `lamina.layers` must do.

Keras has one backend per process, and ours is torch; so the referee is a second interpreter
(`python referee.py`) that answers pickled requests over its pipes. TensorFlow takes seconds to
import, therefore one process serves a whole test session (the `referee` fixture).

TensorFlow's CPU convolutions and pools know only channels_last: for them the referee transposes a
channels_first request on the way in and the answer on the way out.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

SPATIAL = ("Conv2D", "Pooling2D")


class RefereeRefusedError(Exception):
    """Keras on TensorFlow refused the request; the message is its error's."""


@dataclass
class Verdict:
    """What TensorFlow made of one call: values, gradients, and the state afterwards."""

    output: np.ndarray
    input_gradient: np.ndarray | None
    weight_gradients: list[np.ndarray]
    weights: list[np.ndarray]
    losses: list[float]


def started(script: str) -> subprocess.Popen[bytes]:
    """A process of its own that runs a script with Keras on TensorFlow, its pipes open."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # TensorFlow's own kernels: oneDNN's max pool kills the process at times.
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_NUM_INTRAOP_THREADS": "2",
        "TF_NUM_INTEROP_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


class Referee:
    """The parent's end: starts the process, asks it, and ends it."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.process = started(__file__)

    def call(
        self,
        layer: str,
        config: dict[str, Any],
        inputs: list[np.ndarray],
        *,
        weights: list[np.ndarray] | None = None,
        upstream: np.ndarray | None = None,
        **call: Any,
    ) -> Verdict:
        """Call a layer once per input, in turn; gradients are the last call's.

        `upstream` is the gradient of the last output; None asks for no gradients. `call` is handed
        on to the layer (training, mask).
        """
        answer = self._ask(
            "call",
            layer=layer,
            config=config,
            inputs=inputs,
            weights=weights,
            upstream=upstream,
            call=call,
        )
        return Verdict(*answer)

    def initial_weights(
        self, layer: str, config: dict[str, Any], input_shape: tuple[int | None, ...]
    ) -> list[tuple[str, np.ndarray]]:
        """Name and value of every weight of a layer freshly built."""
        return self._ask("initial_weights", layer=layer, config=config, input_shape=input_shape)

    def _ask(self, request: str, **arguments: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        _send(self.process.stdin, (request, arguments))
        try:
            ok, answer = _receive(self.process.stdout)
        except EOFError:
            self.process.wait()
            self._start()
            ok, answer = False, f"TensorFlow's process died of {arguments['layer']}"
        if not ok:
            raise RefereeRefusedError(answer)
        return answer

    def close(self) -> None:
        """End the process: its input ends, so it leaves its loop."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def _send(pipe: BinaryIO, message: Any) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(struct.pack("<Q", len(data)))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> Any:
    header = pipe.read(8)
    if len(header) < 8:
        raise EOFError("the other end of the pipe is closed")
    return pickle.loads(pipe.read(struct.unpack("<Q", header)[0]))


def _answer_call(
    keras: Any,
    layer: str,
    config: dict[str, Any],
    inputs: list[np.ndarray],
    weights: list[np.ndarray] | None,
    upstream: np.ndarray | None,
    call: dict[str, Any],
) -> tuple[Any, ...]:
    import tensorflow as tf

    transposed = layer.endswith(SPATIAL) and config.get("data_format") == "channels_first"
    if transposed:
        config = {**config, "data_format": "channels_last"}
        inputs = [x.transpose(0, 2, 3, 1) for x in inputs]
    instance = getattr(keras.layers, layer)(**config)
    instance.build(inputs[0].shape)
    if weights is not None:
        instance.set_weights(weights)

    for x in inputs[:-1]:
        instance(tf.constant(x), **call)
    x = tf.constant(inputs[-1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = instance(x, **call)
        total = tf.add_n(instance.losses) if instance.losses else tf.constant(0.0)
        if upstream is not None:
            spatial = transposed and upstream.ndim == 4
            dy = upstream.transpose(0, 2, 3, 1) if spatial else upstream
            total += tf.reduce_sum(tf.cast(y, tf.float32) * tf.constant(dy))
    input_gradient, weight_gradients = None, []
    if upstream is not None:
        variables = [weight.value for weight in instance.trainable_weights]
        zero = tf.UnconnectedGradients.ZERO
        input_gradient = tape.gradient(total, x, unconnected_gradients=zero).numpy()
        weight_gradients = [
            g.numpy() for g in tape.gradient(total, variables, unconnected_gradients=zero)
        ]
    output = y.numpy()
    if transposed:
        output = output.transpose(0, 3, 1, 2) if output.ndim == 4 else output
        if input_gradient is not None:
            input_gradient = input_gradient.transpose(0, 3, 1, 2)
    losses = [float(loss) for loss in instance.losses]
    return output, input_gradient, weight_gradients, instance.get_weights(), losses


def _answer_initial_weights(
    keras: Any, layer: str, config: dict[str, Any], input_shape: tuple[int | None, ...]
) -> list[tuple[str, np.ndarray]]:
    instance = getattr(keras.layers, layer)(**config)
    instance.build(input_shape)
    return [(weight.name, np.asarray(weight.value)) for weight in instance.weights]


def _serve() -> None:
    # Our pipe is the real standard output; whatever TensorFlow prints goes to standard error.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import keras

    answers = {"call": _answer_call, "initial_weights": _answer_initial_weights}
    while True:
        try:
            request, arguments = _receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (True, answers[request](keras, **arguments))
        except Exception as error:  # whatever Keras raises is the answer
            answer = (False, f"{type(error).__name__}: {error}")
        _send(pipe, answer)


if __name__ == "__main__":
    _serve()
