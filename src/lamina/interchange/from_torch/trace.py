"""A module as a graph of PyTorch's own operations, in evaluation."""

from __future__ import annotations

import contextlib
import copy
import inspect
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sympy
import torch
from torch import Tensor, fx, nn

from lamina.errors import InputError
from lamina.interchange.from_torch.value import Shape, shape_of
from lamina.interchange.proof.torch_side import flat

__all__ = ["PATHS", "examples", "trace", "trace_any_size"]

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


def trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """Trace a module with ``torch.export``; it keeps its mode and its parameters.

    Args:
        module: any module whose forward pass does not depend on the values of its input.
        inputs: examples; sizes other than the batch's are fixed as theirs.

    Returns:
        The graph, which shares the module's parameters; it takes batches of any size where the
        module does.

    Raises:
        InputError: it cannot be traced; the message names the line.
    """
    try:
        graph = _exported(module, inputs, {0}).module(check_guards=False)
        if _has_any_batch(graph):
            return graph
        return _exported(module, inputs, set()).module(check_guards=False)
    except Exception as error:
        raise _untraceable(module, error) from error


def trace_any_size(module: nn.Module, inputs: tuple[Tensor, ...]) -> fx.GraphModule | None:
    """Trace a module for images of any height and width, where it takes them.

    Args:
        module: as of `trace`.
        inputs: examples; images have four axes.

    Returns:
        The graph, or None: it takes no other sizes, or does something else with some of them.
    """
    if all(x.dim() != 4 for x in inputs):
        return None
    try:
        program = _exported(module, inputs, {0, 2, 3})
        graph = program.module(check_guards=False)
        sizes = _sizes(graph)
        is_free = any(not isinstance(size, int) for one in sizes for size in one[1:])
        if is_free and _has_any_batch(graph) and _holds_for_others(program, graph, module, inputs):
            return graph
    except Exception:  # `trace` says what is wrong, if it is not the sizes
        return None
    return None


def _holds_for_others(
    program: torch.export.ExportedProgram,
    graph: fx.GraphModule,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
) -> bool:
    """Whether a module takes other sizes, and its trace holds for all that it takes.

    PyTorch keeps what a trace has taken for granted, such as that a height is even. Where that does
    not hold, a module that neither fails nor gives what its trace gives has a path of its own.
    """
    holds = program.module().get_submodule("_guards_fn")
    on_meta = copy.deepcopy(module).to("meta").eval()
    examples = [x.new_empty((2, *x.shape[1:]), device="meta") for x in inputs]
    on_meta(*examples)  # or it fails for another reason
    takes_others = False
    ends = {
        int(end) + step - x.shape[axis]
        for bounds in program.range_constraints.values()
        for end, step in ((bounds.lower, -1), (bounds.upper, 1))
        if isinstance(end, sympy.Integer)
        for x in examples
        for axis in range(2, x.dim())
    }
    for by in sorted({*range(1, 33), *ends}):
        for rows, columns in ((by, 0), (0, by)):
            others = [_resized(x, rows, columns) for x in examples]
            try:
                holds(*others)
                takes_others = True
            except AssertionError:
                with contextlib.suppress(Exception):
                    on_meta(*others)
                    if not _alike(module, graph, others):
                        return False
    return takes_others


def _alike(module: nn.Module, graph: fx.GraphModule, shapes: list[Tensor]) -> bool:
    """Whether both give the same numbers for inputs of these shapes."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.rand(x.shape, generator=generator) for x in shapes]
    with _in_evaluation(module), torch.no_grad():
        right = flat(module(*drawn))
        try:
            found = flat(fx.Interpreter(graph).run(*drawn))  # past its check of sizes
        except Exception:  # whatever an operation says of sizes that it was not traced with
            return False
    return all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip(found, right, strict=True)
    )


def _resized(x: Tensor, rows: int, columns: int) -> Tensor:
    if x.dim() != 4:
        return x
    batch, channels, height, width = x.shape
    return x.new_empty((batch, channels, max(height + rows, 2), max(width + columns, 2)))


def _exported(
    module: nn.Module, inputs: tuple[Tensor, ...], free: set[int]
) -> torch.export.ExportedProgram:
    """The program with these axes free where they can be: of images, and the batch of all."""
    if free:  # of a single one, PyTorch would make a constant
        inputs = tuple(torch.cat([x, x]) if x.shape[0] == 1 else x for x in inputs)
    axes = tuple(free if x.dim() == 4 else free & {0} for x in inputs)
    auto = tuple(dict.fromkeys(sorted(one), torch.export.Dim.AUTO) for one in axes)
    dynamic = _spread(module, auto) if free else None
    with _in_evaluation(module), _visible_dropout(module):
        return torch.export.export(module, inputs, dynamic_shapes=dynamic)


def _spread(module: nn.Module, dynamic: tuple[Any, ...]) -> Any:  # noqa: ANN401
    """As torch.export wants them where ``forward`` takes ``*args``."""
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    return (dynamic,) if kinds[:1] == [inspect.Parameter.VAR_POSITIONAL] else dynamic


def _has_any_batch(graph: fx.GraphModule) -> bool:
    return all(not isinstance(sizes[0], int) for sizes in _sizes(graph))


def _sizes(graph: fx.GraphModule) -> list[Shape]:
    """Those of the inputs."""
    return [shape_of(node.meta["val"]) for node in graph.graph.find_nodes(op="placeholder")]


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
