import pytest

from tests.interchange.from_torch.tensorflow_process import TensorFlow


@pytest.fixture(scope="session")
def tensorflow():
    process = TensorFlow()
    yield process
    process.close()
