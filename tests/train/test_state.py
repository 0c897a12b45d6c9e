"""State goes out as JSON and tensors and comes back the same, or is refused by name."""

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.train.state import pack, random_state, set_random_state, unpack

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
NESTED = st.recursive(
    PLAIN,
    lambda part: (
        st.lists(part)
        | st.tuples(part, part)
        | st.dictionaries(st.text() | st.sampled_from(["$tuple", "$tensor"]), part)
        | st.dictionaries(st.integers(), part)
    ),
    max_leaves=20,
)


@settings(max_examples=50)
@given(NESTED)
def test_nested_values_come_back_the_same(value):
    tensors = {}
    back = unpack(json.loads(json.dumps(pack(value, tensors))), tensors)
    assert back == value
    assert repr(back) == repr(value), "tuples, lists and the types of keys too"
    assert not tensors


def test_tensors_keep_type_shape_and_order_in_memory():
    originals = {
        0: torch.arange(5, dtype=torch.int64),
        "last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "strided": torch.randn(6, 4)[::2, 1:],
        "scalar": torch.tensor(2.5, dtype=torch.bfloat16),
    }
    tensors = {}
    back = unpack(json.loads(json.dumps(pack(originals, tensors))), tensors)
    for name, tensor in originals.items():
        assert torch.equal(back[name], tensor)
        assert back[name].dtype == tensor.dtype
    assert back["last"].is_contiguous(memory_format=torch.channels_last)


def test_what_only_a_pickle_could_hold_is_refused_with_its_place():
    with pytest.raises(TypeError, match=r"\.schedule\.0\.function: function cannot be saved"):
        pack({"schedule": [{"function": lambda: 1}]}, {})


def test_every_generator_goes_on_where_it_was():
    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.random()]

    np.random.normal()  # leaves a spare value behind
    tensors = {}
    packed = json.loads(json.dumps(pack(random_state(), tensors)))
    expected = draw()
    assert draw() != expected
    set_random_state(unpack(packed, tensors))
    assert draw() == expected
