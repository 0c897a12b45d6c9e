"""What all tests share: the Keras backend, repeatable randomness, modest example counts."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")  # before a first test file imports keras

import tempfile

import hypothesis
import pytest
import torch

# Calibrated once per run, not by what an earlier run or a user left.
_cache = tempfile.TemporaryDirectory(prefix="lamina-tests-")
os.environ["LAMINA_CACHE"] = _cache.name

hypothesis.settings.register_profile(
    "quick", max_examples=20, deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.register_profile("wide", max_examples=300, deadline=None)
hypothesis.settings.load_profile("quick")


@pytest.fixture(autouse=True)
def _repeatable():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _planned_anew():
    """No test meets what another one has patched."""
    from lamina.ops.tuning import plans

    plans.forget()


@pytest.fixture(autouse=True, scope="session")
def _sizes_of_small_images():
    """Small images are quicker to test: leave none of them to PyTorch, as calls otherwise do."""
    from lamina.ops.runtime import native
    from lamina.ops.tuning import choice

    sizes = native.SMALL, native.SMALL_CHANNELS_LAST, choice.FEW
    native.SMALL = native.SMALL_CHANNELS_LAST = choice.FEW = 0
    yield sizes
    native.SMALL, native.SMALL_CHANNELS_LAST, choice.FEW = sizes


@pytest.fixture
def small_calls(_sizes_of_small_images, monkeypatch):
    """Small images go to PyTorch's ops, as outside of tests."""
    _as_shipped(_sizes_of_small_images, monkeypatch)


@pytest.fixture(autouse=True)
def _small_cases(request, _sizes_of_small_images, monkeypatch):
    """The same for those cases of a harness that ask for it."""
    case = getattr(getattr(request.node, "callspec", None), "params", {}).get("case")
    if getattr(case, "small", False):
        _as_shipped(_sizes_of_small_images, monkeypatch)


def _as_shipped(sizes, monkeypatch):
    from lamina.ops.runtime import native
    from lamina.ops.tuning import choice

    small, channels_last, few = sizes
    monkeypatch.setattr(choice, "FEW", few)
    monkeypatch.setattr(native, "SMALL", small)
    monkeypatch.setattr(native, "SMALL_CHANNELS_LAST", channels_last)


@pytest.fixture
def plain_sums():
    """Any algorithm of convolution but Winograd's, which rounds more."""
    from lamina import set_numerics

    set_numerics("strict")
    yield
    set_numerics("fast")
