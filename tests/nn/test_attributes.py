"""What others read of a layer: every attribute of torch.nn's classes, with what it holds there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import nn

some = st.integers(1, 3)
one_or_two = st.one_of(some, st.tuples(some, some))
flag = st.booleans()
thirds = st.sampled_from([0.0, 1 / 3, 1.0])
window = {
    "kernel_size": st.integers(2, 4),
    "stride": st.one_of(st.none(), one_or_two),
    "padding": st.one_of(st.integers(0, 1), st.tuples(st.integers(0, 1), st.integers(0, 1))),
    "ceil_mode": flag,
}
norm = {
    "num_features": some,
    "eps": st.sampled_from([1e-5, 1e-3]),
    "momentum": st.one_of(st.none(), thirds),
    "affine": flag,
    "track_running_stats": flag,
    "bias": flag,
}
size = st.one_of(st.none(), some, st.tuples(some, st.none()))

ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "Conv2d": {
        "in_channels": st.sampled_from([2, 4]),
        "out_channels": st.sampled_from([2, 6]),
        "kernel_size": one_or_two,
        "padding": st.one_of(
            st.integers(0, 3),
            st.tuples(st.integers(0, 3), st.integers(0, 3)),
            st.sampled_from(["same", "valid"]),
        ),
        "dilation": one_or_two,
        "groups": st.sampled_from([1, 2]),
        "bias": flag,
        "padding_mode": st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    },
    "BatchNorm1d": norm,
    "BatchNorm2d": norm,
    "MaxPool2d": {**window, "dilation": one_or_two, "return_indices": flag},
    "AvgPool2d": {
        **window,
        "count_include_pad": flag,
        "divisor_override": st.one_of(st.none(), some),
    },
    "AdaptiveAvgPool2d": {"output_size": size},
    "AdaptiveMaxPool2d": {"output_size": size, "return_indices": flag},
    "Linear": {"in_features": some, "out_features": some, "bias": flag},
    "Flatten": {"start_dim": st.integers(0, 1), "end_dim": st.sampled_from([-1, 2])},
    "Dropout": {"p": thirds, "inplace": flag},
    "Dropout2d": {"p": thirds, "inplace": flag},
    "ReLU": {"inplace": flag},
    "ReLU6": {"inplace": flag},
    "LeakyReLU": {"negative_slope": thirds, "inplace": flag},
    "ELU": {"alpha": thirds, "inplace": flag},
    "SiLU": {"inplace": flag},
    "Hardswish": {"inplace": flag},
    "Hardsigmoid": {"inplace": flag},
    "GELU": {"approximate": st.sampled_from(["none", "tanh"])},
    "Sigmoid": {},
    "Tanh": {},
    "Softmax": {"dim": st.integers(-1, 1)},
}


def test_every_class_of_torchs_is_here() -> None:
    assert {name for name in nn.__all__ if hasattr(torch.nn, name)} == {*ARGUMENTS}


@pytest.mark.parametrize("name", ARGUMENTS)
@settings(max_examples=60)
@given(data=st.data())
def test_attributes_are_torchs(name: str, data: st.DataObject) -> None:
    arguments = {key: data.draw(strategy, key) for key, strategy in ARGUMENTS[name].items()}
    if name == "Conv2d" and not isinstance(arguments["padding"], str):
        arguments["stride"] = data.draw(one_or_two, "stride")
    layers = []
    for namespace in (nn, torch.nn):
        torch.manual_seed(0)
        layers.append(getattr(namespace, name)(**arguments))
    ours, theirs = map(vars, layers)
    assert theirs.keys() <= ours.keys()
    for key, value in theirs.items():
        if key == "_buffers":
            kept = {k: v for k, v in ours[key].items() if k in value or v is not None}
            torch.testing.assert_close(kept, value, rtol=0, atol=0)
        elif key == "_parameters":
            torch.testing.assert_close({**ours[key]}, {**value}, rtol=0, atol=0)
        elif key == "_reversed_padding_repeated_twice":  # a tuple or a list
            assert [*ours[key]] == [*value]
        else:
            assert ours[key] == value and type(ours[key]) is type(value), key


@given(
    padding=st.one_of(
        st.sampled_from(["same", "valid"]),
        st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
    ),
    kernel_size=one_or_two,
    dilation=one_or_two,
    depthwise=flag,
)
def test_the_border_that_is_kept_is_the_one_that_is_taken(
    padding, kernel_size, dilation, depthwise
) -> None:
    """Patches that make images tile pad by it in their own mode."""
    x = torch.randn(1, 3, 9, 8)
    if depthwise:
        layer: Any = nn.DepthwiseConv2d(3, kernel_size, 1, padding, dilation)
    else:
        layer = nn.Conv2d(3, 4, kernel_size, 1, padding, dilation)
    padded = F.pad(x, layer._reversed_padding_repeated_twice)
    found = F.conv2d(
        padded, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups
    )
    torch.testing.assert_close(found, layer(x), rtol=1e-4, atol=1e-5)


def test_a_border_that_only_an_image_tells_is_not_zeros() -> None:
    layer = nn.Conv2d(3, 4, 3, stride=2, padding="same")
    assert layer._reversed_padding_repeated_twice is None
