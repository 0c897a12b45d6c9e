"""What a constructor refuses: one line with the argument, what is allowed and what came."""

import math

import numpy as np
import pytest

from lamina.theory import validation


@pytest.mark.parametrize(
    ("check", "good", "expected"),
    [
        (validation.positive_int, np.int64(3), 3),
        (validation.non_negative_int, 0, 0),
        (validation.positive_pair, 2, (2, 2)),
        (validation.positive_pair, [1, 2], (1, 2)),
        (validation.pair, 0, (0, 0)),
        (validation.rate, 0, 0.0),
        (validation.rate, 1, 1.0),
        (validation.finite, -2, -2.0),
        (validation.positive_float, np.float32(0.5), 0.5),
    ],
)
def test_accepts(check, good, expected):
    value = check(good, "argument")
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("check", "allowed", "values"),
    [
        (validation.positive_int, "a positive integer", [0, -1, 1.0, "1", None, True]),
        (validation.non_negative_int, "a non-negative integer", [-1, 0.0]),
        (
            validation.positive_pair,
            r"a positive integer or a pair of them \(height, width\)",
            [0, (1, 0), (0,), (), (1, 2, 3), "33", (1.0, 2), None, (True, 1)],
        ),
        (
            validation.pair,
            r"a non-negative integer or a pair of them \(height, width\)",
            [-1, (0, -1)],
        ),
        (validation.rate, r"a number in \[0, 1\]", [-0.1, 1.1, math.nan, "0.5", None, True]),
        (validation.finite, "a finite number", [math.inf, math.nan, "1", None]),
        (validation.positive_float, "a finite number above 0", [0, -1e-5, math.nan, math.inf]),
    ],
)
def test_refuses(check, allowed, values):
    for value in values:
        with pytest.raises(ValueError, match=rf"^argument must be {allowed}, got ") as error:
            check(value, "argument")
        assert str(error.value).endswith(f"got {value!r}")


def test_rate_without_one():
    assert validation.rate(0.999, "rate", one_allowed=False) == 0.999
    with pytest.raises(ValueError, match=r"^rate must be a number in \[0, 1\), got 1$"):
        validation.rate(1, "rate", one_allowed=False)


def test_divides():
    assert validation.divides(4, 64, "in_channels") == 4
    with pytest.raises(ValueError, match=r"^groups must divide out_channels = 10, got 4$"):
        validation.divides(4, 10, "out_channels")
    with pytest.raises(ValueError, match=r"^groups must be a positive integer, got 0$"):
        validation.divides(0, 10, "out_channels")


def test_one_of():
    assert validation.one_of("max", "operation", ("max", "average")) == "max"
    with pytest.raises(
        ValueError, match=r"^operation must be one of 'max', 'average', got \['max'\]$"
    ):
        validation.one_of(["max"], "operation", ("max", "average"))
