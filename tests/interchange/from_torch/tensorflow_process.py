"""The real Keras, on TensorFlow, in a process of its own: it opens files and runs their models.

Keras has one backend per process, and these tests' is torch. The process takes seconds to start,
so one serves all of a session's tests (the `tensorflow` fixture).
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np


class TensorFlow:
    """The parent's end."""

    def __init__(self) -> None:
        from tests.layers.referee import started  # not in the process, which is a script

        self.process = started(__file__)

    def run(self, path: Path, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """What the model of a ``.keras`` file makes of the inputs."""
        assert self.process.stdin and self.process.stdout
        pickle.dump((str(path), inputs), self.process.stdin)
        self.process.stdin.flush()
        answer: Any = pickle.load(self.process.stdout)
        if isinstance(answer, str):
            raise AssertionError(f"Keras on TensorFlow: {answer}")
        return answer

    def close(self) -> None:
        """End the process: its input ends, so it leaves its loop."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def _serve() -> None:
    # Our pipe is the real standard output; whatever TensorFlow prints goes to standard error.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import keras

    while True:
        try:
            path, inputs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            model = keras.saving.load_model(path, compile=False)
            outputs = model(inputs[0] if len(inputs) == 1 else inputs)
            answer: Any = [np.asarray(y) for y in keras.tree.flatten(outputs)]
        except Exception as error:  # whatever Keras raises is the answer
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, pipe)
        pipe.flush()


if __name__ == "__main__":
    _serve()
