"""Batch normalisation with the activation that follows it, in one pass over a Keras model's images.

A functional model (and the one inside of a Sequential) calls its operations one by one. Where the
output of a batch normalisation goes to an activation alone, the first computes both and the second
hands its input on. Whether it may is asked in every call: a hook, another class or another dtype
that came since has the two run one by one again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MethodType
from typing import Any, NamedTuple

import keras
import torch
from keras import KerasTensor, tree
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.models.functional import Functional
from torch import Tensor

from lamina.layers.batch_norm2d import ACTIVATION, Activation, BatchNormalization
from lamina.ops.activation import activation_epilogue

__all__ = ["Pair", "fuse_pairs", "pairs_of", "part_pairs"]

_RUN = "_run_through_graph"  # Keras's own method of functional models, which runs their operations


class Pair(NamedTuple):
    """A batch normalisation, the operation that follows it, and what that computes."""

    norm: BatchNormalization
    activation: keras.Operation
    what: Activation


def fuse_pairs(model: keras.Model) -> None:
    """Have a model run its pairs as one, in place; models nested in it are left as they are."""
    graph = _graph(model)
    if graph is not None:
        vars(graph)[_RUN] = MethodType(_run, graph)


def part_pairs(model: keras.Model) -> None:
    """Have a model run all operations one by one again."""
    graph = _graph(model)
    if graph is not None:
        vars(graph).pop(_RUN, None)


def _graph(model: keras.Model) -> Functional | None:
    """The functional model that runs; None for a subclass of Model, and a Sequential not built."""
    inner = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
    return inner if isinstance(inner, Functional) else None


def _run(
    graph: Functional,
    inputs: Any,  # noqa: ANN401 - whatever structure the model takes
    operation_fn: Callable[[keras.Operation], Callable[..., Any]] = lambda operation: operation,
    call_fn: Callable[..., Any] | None = None,
) -> Any:  # noqa: ANN401
    """`Functional._run_through_graph`, with what an operation runs exchanged in pairs."""
    symbolic = any(isinstance(tensor, KerasTensor) for tensor in tree.flatten(inputs))
    apart = symbolic or call_fn is not None or torch.compiler.is_compiling()
    pairs = [] if apart else pairs_of(graph)
    joined = {id(pair.norm): _joined(operation_fn(pair.norm), pair.what) for pair in pairs}
    joined.update((id(pair.activation), _handed_on) for pair in pairs)

    def runs(operation: keras.Operation) -> Callable[..., Any]:
        return joined.get(id(operation)) or operation_fn(operation)

    return getattr(type(graph), _RUN)(graph, inputs, operation_fn=runs, call_fn=call_fn)


def _joined(call: Callable[..., Any], what: Activation) -> Callable[..., Any]:
    def run(inputs: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        # A tensor of its own: others may read the same one.
        x: Tensor = torch.ops.aten.alias.default(inputs)
        mask = get_keras_mask(inputs)
        if mask is not None:
            set_keras_mask(x, mask)
        asked = replace(what)
        setattr(x, ACTIVATION, asked)
        y = call(x, *args, **kwargs)
        if asked.applied:
            return y
        return activation_epilogue(y, asked.name or "none", asked.negative_slope)

    return run


def _handed_on(x: Any) -> Any:  # noqa: ANN401 - a tensor
    return x


def pairs_of(model: keras.Model) -> list[Pair]:
    """The pairs that run as one, as hooks, classes and dtypes are now."""
    graph = _graph(model)
    return [] if graph is None else [pair for pair in _pairs(graph) if _may_join(pair)]


def _pairs(graph: Functional) -> Iterator[Pair]:
    """Every norm of ours that is called once and read once, by an activation called once."""
    calls: dict[int, int] = {}
    readers: dict[int, list[Any]] = {}
    nodes = [node for level in graph._nodes_by_depth.values() for node in level]
    for node in nodes:
        calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node)
    given = {id(tensor) for tensor in graph.outputs}
    for node in nodes:
        if type(node.operation) is not BatchNormalization or calls[id(node.operation)] > 1:
            continue
        output = node.output_tensors[0]
        read = readers.get(id(output), [])
        if len(read) != 1 or id(output) in given or calls[id(read[0].operation)] > 1:
            continue
        what = _activation_of(read[0].operation)
        if what is not None:
            yield Pair(node.operation, read[0].operation, what)


def _may_join(pair: Pair) -> bool:
    """Whether nobody sees what stands between the two."""
    for operation in (pair.norm, pair.activation):
        if not isinstance(operation, keras.layers.Layer):
            continue
        hooks = operation._forward_hooks, operation._forward_pre_hooks, operation._backward_hooks
        if any(hooks) or operation._backward_pre_hooks or operation.activity_regularizer:
            return False
        if operation.compute_dtype != "float32" or "call" in vars(operation):
            return False
    return True


_FUNCTIONS = {
    keras.activations.relu: Activation("relu"),
    keras.activations.relu6: Activation("relu6"),
    keras.activations.silu: Activation("silu"),
    keras.activations.hard_silu: Activation("hardswish"),
}
_OPERATIONS = {"Relu": "relu", "Relu6": "relu6", "Silu": "silu", "HardSilu": "hardswish"}


def _activation_of(operation: keras.Operation) -> Activation | None:
    """What an operation computes; None where no norm can compute it too."""
    kind = type(operation)
    if kind is keras.layers.Activation:
        return _FUNCTIONS.get(operation.activation)
    if kind is keras.layers.LeakyReLU:
        return Activation("leaky_relu", float(operation.negative_slope))
    if kind is keras.layers.ReLU and not operation.threshold:
        if operation.max_value is None:
            slope = float(operation.negative_slope)
            return Activation("leaky_relu", slope) if slope else Activation("relu")
        if operation.max_value == 6 and not operation.negative_slope:
            return Activation("relu6")
    if kind.__module__ == "keras.src.ops.nn" and kind.__name__ in _OPERATIONS:
        return Activation(_OPERATIONS[kind.__name__])
    return None
