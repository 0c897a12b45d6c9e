"""One TensorFlow, in a process of its own, for the whole session."""

import pytest

from tests.interchange.from_keras.tensorflow_side import TensorFlowSide


@pytest.fixture(scope="session")
def tensorflow():
    """Started by the first test that asks for it."""
    side = TensorFlowSide()
    yield side
    side.close()
