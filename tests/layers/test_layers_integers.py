"""Integer images: a pool answers as TensorFlow does, in type and numbers, or refuses too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.layers.parity import run_ours
from tests.layers.referee import Referee, RefereeRefusedError

POOLS: list[tuple[str, dict[str, Any]]] = [
    ("MaxPooling2D", {"pool_size": 2}),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}),
    ("MaxPooling2D", {"pool_size": (4, 3), "strides": 1, "padding": "same"}),
    ("AveragePooling2D", {"pool_size": 2}),
    ("AveragePooling2D", {"pool_size": 3, "padding": "same"}),
    ("GlobalMaxPooling2D", {}),
    ("GlobalMaxPooling2D", {"keepdims": True}),
    ("GlobalAveragePooling2D", {}),
    ("AdaptiveMaxPooling2D", {"output_size": (2, 3)}),
    ("AdaptiveMaxPooling2D", {"output_size": (3, 4)}),
    ("AdaptiveAveragePooling2D", {"output_size": 2}),
]
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64"]


@pytest.mark.parametrize(("name", "config"), POOLS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_integers_as_in_tensorflow(
    referee: Referee, name: str, config: dict[str, Any], dtype: str
) -> None:
    # Negative throughout, where the type has such: padding must not win.
    x = np.random.default_rng(0).integers(-120, -1, (2, 8, 9, 4)).astype(dtype)
    try:
        theirs = referee.call(name, config, [x]).output
    except RefereeRefusedError:
        with pytest.raises(TypeError, match=f"must be floating-point.*got torch.{dtype}"):
            run_ours(name, config, [x])
        return
    ours = run_ours(name, config, [x]).output
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
