"""One TensorFlow, in a process of its own, for the whole session."""

from collections.abc import Iterator

import pytest

from tests.layers.referee import Referee


@pytest.fixture(scope="session")
def referee() -> Iterator[Referee]:
    """Started by the first test that asks for it."""
    process = Referee()
    yield process
    process.close()
