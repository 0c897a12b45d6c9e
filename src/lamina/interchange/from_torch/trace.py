"""A module as a graph of PyTorch's own operations, in evaluation."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from lamina.errors import InputError
from lamina.interchange.from_torch.value import shape_of

__all__ = ["PATHS", "examples", "trace"]

Example = Tensor | Sequence[Any]
"""A tensor, a tuple of them, or sizes."""

PATHS = frozenset({"DropPath", "StochasticDepth"})
"""Modules that drop whole branches, by the names that everybody gives them."""


def examples(example_input: Example) -> tuple[Tensor, ...]:
    """The tensors that a module is traced with.

    Args:
        example_input: a tensor; sizes, of which random numbers are drawn; or a tuple of either.

    Raises:
        InputError: something else, or no batch of float32.

    Example:
        >>> [tuple(x.shape) for x in examples((2, 3, 8, 8))]
        [(2, 3, 8, 8)]
    """
    if isinstance(example_input, Tensor) or all(isinstance(n, int) for n in example_input):
        example_input = (example_input,)
    tensors = tuple(
        one if isinstance(one, Tensor) else torch.rand(tuple(one)) for one in example_input
    )
    for tensor in tensors:
        if tensor.dtype != torch.float32 or tensor.dim() < 2 or tensor.shape[0] < 1:
            raise InputError(
                f"example_input: expected batches of float32, got {tensor.dtype} of shape "
                f"{tuple(tensor.shape)}"
            )
    return tensors


def trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[fx.GraphModule, bool]:
    """Trace a module with ``torch.export``; it keeps its mode and its parameters.

    Args:
        module: any module whose forward pass does not depend on the values of its input.
        inputs: examples; sizes other than the batch's are fixed as theirs.

    Returns:
        The graph, which shares the module's parameters, and whether it takes batches of any size.

    Raises:
        InputError: it cannot be traced; the message names the line.
    """
    doubled = tuple(torch.cat([x, x]) if x.shape[0] == 1 else x for x in inputs)
    dynamic = tuple({0: torch.export.Dim.AUTO} for _ in inputs)
    with _in_evaluation(module), _visible_dropout(module):
        try:
            program = torch.export.export(module, doubled, dynamic_shapes=_spread(module, dynamic))
        except Exception as error:
            raise _untraceable(module, error) from error
        graph = program.module(check_guards=False)
        if not all(_has_any_batch(node) for node in _placeholders(graph)):
            try:
                graph = torch.export.export(module, inputs).module(check_guards=False)
            except Exception as error:
                raise _untraceable(module, error) from error
            return graph, False
    return graph, True


def _spread(module: nn.Module, dynamic: tuple[Any, ...]) -> Any:  # noqa: ANN401
    """As torch.export wants them where ``forward`` takes ``*args``."""
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    return (dynamic,) if kinds[:1] == [inspect.Parameter.VAR_POSITIONAL] else dynamic


def _placeholders(graph: fx.GraphModule) -> list[fx.Node]:
    return graph.graph.find_nodes(op="placeholder")


def _has_any_batch(node: fx.Node) -> bool:
    return not isinstance(shape_of(node.meta["val"])[0], int)


@contextmanager
def _in_evaluation(module: nn.Module) -> Iterator[None]:
    modes = {one: one.training for one in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for one, training in modes.items():
            one.training = training


@contextmanager
def _visible_dropout(module: nn.Module) -> Iterator[None]:
    """Have modules that do nothing in evaluation leave PyTorch's dropout in the graph."""
    with ExitStack() as stack:
        for one in module.modules():
            forward = _dropout_of(one)
            if forward is not None and "forward" not in vars(one):
                vars(one)["forward"] = forward
                stack.callback(vars(one).pop, "forward")
        yield


def _dropout_of(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    if type(module).__name__ in PATHS:
        rate = getattr(module, "drop_prob", getattr(module, "p", None))
        return partial(torch.dropout, p=float(rate or 0.0), train=False)
    if type(module).forward is nn.Dropout.forward or type(module).forward is nn.Dropout2d.forward:
        return None  # these do by themselves
    if isinstance(module, nn.Dropout2d):
        return partial(torch.feature_dropout, p=module.p, train=False)
    if isinstance(module, nn.Dropout):
        return partial(torch.dropout, p=module.p, train=False)
    return None


def _untraceable(module: nn.Module, error: BaseException) -> InputError:
    said = (str(error).strip().splitlines() or [""])[0][:200]
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]))
    lines = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(ours) and not frame.filename.startswith("<")
    ]
    where = f"{lines[-1].filename}:{lines[-1].lineno}: " if lines else ""
    return InputError(
        f"model {type(module).__name__}: it cannot be traced: {where}{type(error).__name__}: {said}"
    )
