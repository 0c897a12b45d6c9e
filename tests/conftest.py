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
