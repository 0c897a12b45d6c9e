"""A record as JSON in a script element: arrays in base64, decoded when they are shown."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import fields, is_dataclass

from lamina.report.explanation.records import Array
from lamina.report.html import Html, tag

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

__all__ = ["data_block", "plain"]


def plain(value: object) -> Json:
    """Turn records into what JSON knows; each carries its class's name as ``is``.

    JSON has no numbers that are not finite: they become the words that JavaScript's ``Number``
    reads.

    Example:
        >>> plain(Array(b"ab", (2,), "uint8"))
        {'data': 'YWI=', 'shape': [2], 'dtype': 'uint8'}
        >>> plain((1.5, float("-inf"), None))
        [1.5, '-Infinity', None]
    """
    if isinstance(value, Array):
        text = base64.b64encode(value.data).decode("ascii")
        return {"data": text, "shape": list(value.shape), "dtype": value.dtype}
    if is_dataclass(value):
        known = {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        return {"is": type(value).__name__, **known}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a record holds no {type(value).__name__}")


def data_block(identifier: str, value: object) -> Html:
    """Lay a value into the page; a browser runs no such element, and no text can end it."""
    text = json.dumps(plain(value), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return tag("script", Html(text), type="application/json", id=identifier)
