"""The walk over a Keras model: its operations in order, models within models, shared layers."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lamina.interchange.from_keras.builder import Builder
from lamina.interchange.from_keras.call import Call, find_rule
from lamina.interchange.from_keras.readers import Node, Readers
from lamina.interchange.from_keras.rules import (  # noqa: F401 - they enter their rules
    arithmetic,
    convolution,
    normalization,
    pooling,
    preprocessing,
    regularization,
    reshaping,
    squeeze_excite,
)
from lamina.interchange.from_keras.tracing import (
    Function,
    in_order,
    is_foreign,
    own_function,
    trace_layer,
)
from lamina.interchange.from_keras.value import Value

__all__ = ["walk"]


def walk(
    builder: Builder,
    function: Function,
    inputs: Sequence[Value],
    *,
    within: str = "",
    training: bool | None = None,
    once: bool = True,
    traced: bool = False,
) -> list[Value]:
    """Add every call of a function to the graph.

    Args:
        builder: what it adds to.
        function: the model's, or that of a model in it.
        inputs: of the function.
        within: the path of the model that it is, with a slash at the end.
        training: the mode that a caller fixed.
        once: whether the function itself is called once.
        traced: whether it is a ``call`` of somebody's own, which can fix the mode of a call in it.
            A functional model cannot: its own mode overrules the ``training=`` of such a call.

    Returns:
        Its outputs.
    """
    import keras

    nodes = [*in_order(function)]
    for node in nodes:
        builder.settle(node.operation, f"{within}{node.operation.name}")
    readers = Readers(nodes, function.outputs)
    values = {id(t): value for t, value in zip(function.inputs, inputs, strict=True)}

    def value_of(thing: Any) -> Any:  # noqa: ANN401 - whatever an operation is called with
        return values[id(thing)] if isinstance(thing, keras.KerasTensor) else thing

    for node in nodes:
        if any(id(tensor) not in values for tensor in node.input_tensors):
            continue
        operation, output = node.operation, node.outputs[0]
        fixed = node.arguments.kwargs.get("training")
        found = find_rule(operation)
        call = Call(
            builder,
            operation,
            kind=found[0] if found else type(operation).__name__,
            path=f"{within}{operation.name}",
            shape=tuple(output.shape),
            training=bool(fixed) if traced and fixed is not None else training,
            once=once and readers.call_once(operation),
            takes_any_order=once and readers.take_any_order(output),
            takes_border=once
            and readers.take_border(output, getattr(operation, "data_format", "")),
        )
        if fixed is not None and not traced:
            call.note("changed", "mode", f"its training={fixed} gives way to the model's mode")
        given = keras.tree.map_structure(value_of, (node.arguments.args, node.arguments.kwargs))
        for tensor, value in zip(node.outputs, _results(call, node, *given), strict=True):
            values[id(tensor)] = replace(value, shape=tuple(tensor.shape))
    return [values[id(tensor)] for tensor in function.outputs]


def _results(
    call: Call, node: Node, arguments: Sequence[Any], options: dict[str, Any]
) -> list[Value]:
    """The outputs of one call, by its rule, or by what it is made of."""
    import keras

    operation = call.operation
    if isinstance(operation, keras.Layer):
        arguments = _tensors(call, arguments, options)
        options = {}
        _note_what_stays_behind(call)
    if found := find_rule(operation):
        rule = found[1]
        try:
            inspect.signature(rule).bind(call, *arguments, **options)
        except TypeError:
            call.refuse("it is called with arguments that are not known")
        result = rule(call, *arguments, **options)
        results: list[Value] = result if isinstance(result, list) else [result]
    elif own := own_function(operation):
        within, inputs = f"{call.path}/", keras.tree.flatten(arguments)
        return walk(
            call.builder, own, inputs, within=within, training=call.training, once=call.once
        )
    elif is_foreign(operation):
        results = _composite(call, node, keras.tree.flatten(arguments))
    else:
        call.refuse(f"nothing in torch.nn is a {call.kind}")
    if len(results) == 1:
        call.builder.pair(call.path, results[0])
    return results


def _tensors(call: Call, arguments: Sequence[Any], options: dict[str, Any]) -> Sequence[Any]:
    """A layer's arguments without the mode: tensors alone, in lists where it takes several."""
    import keras

    if options.get("mask") is not None:
        call.refuse("it is called with a mask, and torch.nn has none")
    by_name = [value for name, value in options.items() if name not in ("mask", "training")]
    tensors = [*arguments, *by_name]
    known = is_foreign(call.operation) or all(
        isinstance(one, Value) for one in keras.tree.flatten(tensors)
    )
    if not known:
        call.refuse("it is called with something that is no tensor of the model")
    return tensors


def _composite(call: Call, node: Node, arguments: Sequence[Any]) -> list[Value]:
    """A layer of somebody's own that is made of layers: what its ``call`` does, traced."""
    own = [*call.operation._trainable_variables, *call.operation._non_trainable_variables]
    if own:
        call.refuse(f"it has a weight of its own, {own[0].name!r}, whose use is not known")
    function = trace_layer(call.operation, call.path, node)
    with call.builder.unpaired():  # no model has those operations by their paths
        return walk(
            call.builder,
            function,
            [one for one in arguments if isinstance(one, Value)],
            within=f"{call.path}/",
            training=call.training,
            once=call.once,
            traced=True,
        )


def _note_what_stays_behind(call: Call) -> None:
    for name, value in sorted(vars(call.operation).items()):
        if value is not None and name.endswith(("_regularizer", "_constraint")):
            call.note("dropped", "regulariser", f"its {name.strip('_')}")
    dtype = call.operation.compute_dtype
    if dtype in ("float16", "bfloat16", "float64"):
        call.note("approximated", "mixed-precision", f"it computes in float32 and not in {dtype}")
