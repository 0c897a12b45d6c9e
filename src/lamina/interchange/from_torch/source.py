"""The Python that builds a Keras model, as a person would write it."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lamina.interchange.from_torch.statement import Statement

__all__ = ["live", "text"]

_WIDTH = 100
_NAMES = ("x", "y", "z", "u", "v", "w")


def text(
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    statements: Sequence[Statement],
    *,
    name: str,
    function_name: str,
    flavour: str,
) -> str:
    """A module with a function that builds the model.

    Args:
        inputs: the model's symbolic inputs.
        outputs: its outputs.
        statements: the calls that the outputs need, in order.
        name: the model's.
        function_name: the function's.
        flavour: whose layers: "keras" or "lamina".
    """
    writer = _Writer(statements, inputs, outputs)
    body = [*writer.inputs(), *writer.lines()]
    results = writer.reference(list(outputs) if len(outputs) > 1 else outputs[0])
    starts = writer.reference(list(inputs) if len(inputs) > 1 else inputs[0])
    body.append(f"return keras.Model({starts}, {results}, name={_literal(name)})")
    uses_ops = any(one.function.startswith("ops.") for one in statements)
    if flavour == "keras":
        head = ["import keras", f"from keras import layers{', ops' if uses_ops else ''}"]
    else:  # lamina chooses Keras's backend, so it comes first
        head = ["from lamina import layers  # isort: skip", "", "import keras"]
        head += ["from keras import ops"] if uses_ops else []
    shapes = " to ".join(_shapes(tensors) for tensors in (inputs, outputs))
    return "\n".join(
        [
            f'"""{name} in Keras."""',
            "",
            *head,
            "",
            "",
            f"def {function_name}() -> keras.Model:",
            f'    """{shapes}."""',
            *(f"    {line}" if line else "" for part in body for line in part.split("\n")),
            "",
        ]
    )


def live(statements: Sequence[Statement], outputs: Sequence[Any]) -> list[Statement]:
    """The statements that the outputs need, in order."""
    wanted, kept = {id(tensor) for tensor in outputs}, []
    for one in reversed(statements):
        if id(one.output) in wanted:
            kept.append(one)
            wanted |= {id(tensor) for tensor in one.tensors}
    return kept[::-1]


def _shapes(tensors: Sequence[Any]) -> str:
    return " and ".join(f"({', '.join(_sizes(tensor.shape))})" for tensor in tensors)


def _sizes(shape: Sequence[int | None]) -> list[str]:
    """Numbers, and letters for what is open: of the batch, height, width."""
    letters = iter("NHW" if shape[0] is None else "HW")
    return [next(letters, "?") if size is None else str(size) for size in shape]


class _Writer:
    """Gives every tensor a name for as long as it is read."""

    def __init__(
        self, statements: Sequence[Statement], inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> None:
        self.statements = statements
        self.given = inputs
        self.names: dict[int, str] = {}
        self.last: dict[int, int] = {
            id(tensor): place for place, one in enumerate(statements) for tensor in one.tensors
        }
        self.last |= {id(tensor): len(statements) for tensor in outputs}
        self.shared = {
            layer for layer, n in Counter(s.layer for s in statements if s.layer).items() if n > 1
        }
        self.layer_names: dict[Any, str] = {}

    def inputs(self) -> Iterator[str]:
        """The lines that make the inputs."""
        for place, tensor in enumerate(self.given):
            name = "inputs" if len(self.given) == 1 else f"input_{place + 1}"
            self.names[id(tensor)] = name
            shape = _literal(tuple(tensor.shape[1:]))
            batch = "" if tensor.shape[0] is None else f", batch_size={tensor.shape[0]}"
            yield f"{name} = keras.Input({shape}{batch}, name={_literal(tensor.name)})"

    def lines(self) -> Iterator[str]:
        """One for each statement; an empty one where another part of the model begins."""
        part = None
        for place, one in enumerate(self.statements):
            now = ".".join(one.place.split(".")[:2])
            if part is not None and now != part:
                yield ""
            part = now
            if one.layer in self.shared and one.layer not in self.layer_names:
                variable = one.layer.name if one.layer.name.isidentifier() else "shared"
                self.layer_names[one.layer] = variable
                yield _assigned(variable, *self._constructor(one))
            pieces = self._call(one)
            yield _assigned(self._target(place, one), *pieces)

    def _target(self, place: int, one: Statement) -> str:
        """A name that ends here, or one that nobody has."""
        ending = [
            name
            for tensor in one.tensors
            if (name := self.names.get(id(tensor))) in _NAMES and self.last[id(tensor)] == place
        ]
        taken = {name for key, name in self.names.items() if self.last.get(key, -1) > place}
        free = [name for name in _NAMES if name not in taken]
        free += [name for i in range(1, 1000) if (name := f"x{i}") not in taken][:1]
        target = min(ending, key=_NAMES.index) if ending else free[0]
        self.names[id(one.output)] = target
        return target

    def _constructor(self, one: Statement) -> tuple[str, list[str], str]:
        arguments = [_literal(value) for value in one.arguments]
        arguments += [f"{key}={_literal(value)}" for key, value in one.keywords.items()]
        return one.function, [*arguments, f"name={_literal(one.layer.name)}"], ""

    def _call(self, one: Statement) -> tuple[str, list[str], str]:
        """Function, arguments, and what follows the closing bracket."""
        if one.function == "[]":
            tensor, index = one.arguments
            return f"{self.reference(tensor)}[{_index(index)}]", [], ""
        if one.layer is None:
            arguments = [self.reference(value) for value in one.arguments]
            arguments += [f"{key}={self.reference(value)}" for key, value in one.keywords.items()]
            return one.function, arguments, ""
        on = f"({self.reference(one.inputs)})"
        if one.layer in self.layer_names:
            return f"{self.layer_names[one.layer]}{on}", [], ""
        function, arguments, _ = self._constructor(one)
        return function, arguments, on

    def reference(self, value: Any) -> str:  # noqa: ANN401
        """A tensor by its name, a list of them, or a literal."""
        if hasattr(value, "_keras_history"):
            return self.names[id(value)]
        if isinstance(value, list) and any(hasattr(item, "_keras_history") for item in value):
            return f"[{', '.join(map(self.reference, value))}]"
        return _literal(value)


def _assigned(target: str, function: str, arguments: list[str], behind: str) -> str:
    called = f"({', '.join(arguments)})" if arguments or not function.endswith((")", "]")) else ""
    line = f"{target} = {function}{called}{behind}"
    if len(line) + 4 <= _WIDTH:
        return line
    inner = ", ".join(arguments)
    if len(inner) + 8 <= _WIDTH:
        return f"{target} = {function}(\n    {inner}\n){behind}"
    lines = "".join(f"{_wrapped(argument)},\n" for argument in arguments)
    return f"{target} = {function}(\n{lines}){behind}"


def _wrapped(argument: str) -> str:
    return textwrap.fill(
        argument,
        _WIDTH - 5,
        initial_indent="    ",
        subsequent_indent="     ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _index(index: tuple[Any, ...]) -> str:
    return ", ".join(_slice(one) if isinstance(one, slice) else str(one) for one in index)


def _slice(one: slice) -> str:
    start, stop, step = ("" if n is None else str(n) for n in (one.start, one.stop, one.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _literal(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, tuple):
        inner = ", ".join(map(_literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, np.generic):
        return repr(value.item())
    return repr(value)
