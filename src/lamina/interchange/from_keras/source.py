"""A crossing as the class that a person would have written."""

from __future__ import annotations

import inspect
import operator
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx

from lamina.errors import InputError
from lamina.interchange import modules
from lamina.interchange.crossing import Crossing
from lamina.interchange.from_keras.builder import identifier

__all__ = ["source"]

_LONGEST = 100
_SYMBOLS: dict[Callable[..., Any], str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.pow: "**",
}
_LETTERS = ("x", "y", "z", "u", "v", "w")


def source(crossing: Crossing, class_name: str) -> str:
    """Write the class of a crossing from Keras.

    Args:
        crossing: what `cross` gave.
        class_name: a Python identifier.

    Returns:
        A file: imports of PyTorch (of lamina.nn in that flavour), the modules that torch.nn lacks,
        and the class, which takes the state_dict of ``crossing.torch_model``.

    Raises:
        InputError: a class_name that is no identifier.

    Example:
        >>> from lamina import layers
        >>> import keras
        >>> from lamina.interchange.from_keras import cross
        >>> model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="head")])
        >>> print(source(cross(model), "Net"))
        from torch import Tensor, nn
        <BLANKLINE>
        <BLANKLINE>
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.head = nn.Linear(4, 2)
        <BLANKLINE>
            def forward(self, x: Tensor) -> Tensor:
                return self.head(x)
        <BLANKLINE>
    """
    if identifier(class_name) != class_name:
        raise InputError(f"class_name must be a Python identifier, got {class_name!r}")
    constructors: dict[str, str] = crossing.graph.meta["constructors"]
    body = "\n".join(
        [
            f"class {class_name}(nn.Module):",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *_members(crossing, constructors),
            "",
            *_forward(crossing.graph.graph),
        ]
    )
    kinds = {text.partition("(")[0] for text in constructors.values()}
    helpers = [
        inspect.getsource(getattr(modules, kind)).rstrip()
        for kind in modules.__all__
        if kind in kinds
    ]
    text = "\n\n\n".join([*helpers, body])
    return f"{_imports(text, crossing.graph.meta['flavour'])}\n\n\n{text}\n"


def _imports(text: str, flavour: str) -> str:
    blocks = [["from __future__ import annotations"]] if ") -> Frozen" in text else []
    ours = flavour == "lamina"
    blocks.append(["import torch"] if re.search(r"\btorch\.", text) else [])
    blocks[-1].append("from torch import Tensor" if ours else "from torch import Tensor, nn")
    if re.search(r"\bF\.", text):
        blocks[-1].append("from torch.nn import functional as F")
    if ours:
        blocks.append(["from lamina import nn"])
    return "\n\n".join("\n".join(block) for block in blocks)


def _members(crossing: Crossing, constructors: dict[str, str]) -> Iterator[str]:
    containers: set[str] = set()
    for target in [*constructors, *crossing.graph.meta["constants"]]:
        path = target.split(".")[:-1]
        for depth in range(1, len(path) + 1):
            container = ".".join(path[:depth])
            if container not in containers:
                containers.add(container)
                yield f"        {_made(container, 'nn.Module()')}"
        if target in constructors:
            yield from _wrapped(f"        {_made(target, constructors[target])}")
            continue
        owner, _, name = target.rpartition(".")
        place = _place(owner)
        shape = crossing.graph.meta["constants"][target]
        yield f'        {place}.register_buffer("{name}", torch.zeros({shape}))'
    for target in constructors:
        parameters = dict(crossing.graph.get_submodule(target).named_parameters())
        frozen = [name for name, one in parameters.items() if not one.requires_grad]
        if frozen and len(frozen) == len(parameters):
            yield f"        {_place(target)}.requires_grad_(False)"
        else:
            yield from (f"        {_place(target)}.{name}.requires_grad_(False)" for name in frozen)


def _place(target: str) -> str:
    """How Python reaches a module by its path; a name such as "0" is no attribute's.

    Example:
        >>> _place("layer1.0.conv1"), _place("")
        ("self.layer1.get_submodule('0').conv1", 'self')
    """
    names = target.split(".") if target else []
    reached = (f".{one}" if one.isidentifier() else f".get_submodule({one!r})" for one in names)
    return "".join(("self", *reached))


def _made(target: str, constructor: str) -> str:
    """The statement that puts a module in its place."""
    owner, _, name = target.rpartition(".")
    if name.isidentifier():
        return f"{_place(target)} = {constructor}"
    return f"{_place(owner)}.add_module({name!r}, {constructor})"


def _wrapped(line: str) -> list[str]:
    """A line that ends in a bracket, or the several that it takes."""
    if len(line) <= _LONGEST:
        return [line]
    head, _, arguments = line.partition("(")
    outer = " " * (len(line) - len(line.lstrip()))
    inner = textwrap.wrap(
        arguments[:-1],
        _LONGEST,
        initial_indent=f"{outer}    ",
        subsequent_indent=f"{outer}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"{head}(", *inner, f"{outer})"]


def _forward(graph: fx.Graph) -> Iterator[str]:
    nodes = list(graph.nodes)
    last = {one: place for place, node in enumerate(nodes) for one in node.all_input_nodes}
    inputs = [node for node in nodes if node.op == "placeholder"]
    (output,) = (node for node in nodes if node.op == "output")
    results = output.args[0] if isinstance(output.args[0], tuple) else (output.args[0],)
    returned = "Tensor" if len(results) == 1 else "tuple[Tensor, ...]"
    parameters = ", ".join(f"{node.name}: Tensor" for node in inputs)
    yield f"    def forward(self, {parameters}) -> {returned}:"
    names = {node: node.name for node in inputs}
    lines: list[str] = []
    for place, node in enumerate(nodes):
        if node.op == "get_attr":
            names[node] = _place(str(node.target))
        elif node.op not in ("placeholder", "output"):
            expression = _expression(node, names)
            alive = {name for one, name in names.items() if last.get(one, 0) > place}
            names[node] = _name_for(node, names, alive)
            lines.append(f"        {names[node]} = {expression}")
    end = ", ".join(names[one] for one in results)
    if lines and lines[-1].startswith(f"        {end} = "):
        lines[-1] = f"        return {lines[-1].partition(' = ')[2]}"
    else:
        lines.append(f"        return {end if len(results) == 1 else f'({end})'}")
    for line in lines:
        yield from _wrapped(line)


def _name_for(node: fx.Node, names: dict[fx.Node, str], alive: set[str]) -> str:
    """The name of a tensor that is read for the last time, or else one that is free."""
    read = [names[one] for one in node.all_input_nodes]
    free = [name for name in (*read, *_LETTERS) if name not in alive and "." not in name]
    return free[0] if free else node.name


def _expression(node: fx.Node, names: dict[fx.Node, str]) -> str:
    arguments = [_text(one, names) for one in node.args]
    options = [f"{name}={_text(value, names)}" for name, value in node.kwargs.items()]
    if node.op == "call_module":
        return f"{_place(str(node.target))}({', '.join(arguments)})"
    if node.op == "call_method":
        return f"{arguments[0]}.{node.target}({', '.join([*arguments[1:], *options])})"
    function: Any = node.target
    if function in _SYMBOLS:
        return f" {_SYMBOLS[function]} ".join(arguments)
    if function is operator.neg:
        return f"-{arguments[0]}"
    if function is operator.getitem:
        return f"{arguments[0]}[{_index(node.args[1])}]"
    place = "F" if getattr(torch, function.__name__, None) is not function else "torch"
    return f"{place}.{function.__name__}({', '.join([*arguments, *options])})"


def _text(value: Any, names: dict[fx.Node, str]) -> str:  # noqa: ANN401 - an argument of a node
    if isinstance(value, fx.Node):
        return names[value]
    if isinstance(value, list | tuple):
        inner = ", ".join(_text(one, names) for one in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _index(key: Any) -> str:  # noqa: ANN401
    keys = key if isinstance(key, tuple) else (key,)
    return ", ".join(_slice(one) if isinstance(one, slice) else repr(one) for one in keys)


def _slice(one: slice) -> str:
    start, stop, step = (
        "" if side is None else str(side) for side in (one.start, one.stop, one.step)
    )
    return f"{start}:{stop}" + (f":{step}" if step else "")
