"""A Keras model as a function of operations; a ``call`` of somebody's own is traced."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from lamina.errors import InputError
from lamina.interchange.from_keras.call import Operation
from lamina.interchange.from_keras.readers import Node

__all__ = ["Function", "functional", "in_order", "is_foreign", "own_function", "trace_layer"]

Function = Any
"""A ``keras.Function``: operations between symbolic tensors. A functional model is one."""


def functional(model: Operation, input_shape: Any = None) -> Function:  # noqa: ANN401
    """A model as a functional one.

    Args:
        model: a ``keras.Model``.
        input_shape: with the batch's axis, or a list of such; None for what it was built with.

    Raises:
        InputError: a model that was not built and has no input_shape, or cannot be traced.
    """
    import keras

    if own := own_function(model):
        return own
    if input_shape is None:
        config = model.get_build_config() or {}
        shapes = config.get("shapes_dict") or {}
        input_shape = config.get("input_shape") or [*shapes.values()]
    if not input_shape:
        raise InputError(f"model {model.name!r} is not built: give an input_shape, or call it once")
    if isinstance(model, keras.Sequential):
        model.build(tuple(input_shape))
        return own_function(model)
    several = isinstance(input_shape[0], list | tuple)
    inputs = [keras.Input(tuple(one)[1:]) for one in (input_shape if several else [input_shape])]
    given = inputs[0] if len(inputs) == 1 else inputs
    _, outputs = _traced(model, model.name, [given], {}, inputs)
    return keras.Model(given, outputs, name=model.name)


def own_function(model: Operation) -> Function | None:
    """The operations of a functional or sequential model; None for one with code of its own."""
    import keras

    if not str(type(model).call.__module__).startswith("keras.src.models."):
        return None
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if isinstance(model, keras.Function) else None


def is_foreign(operation: Operation) -> bool:
    """Whether it is a layer or model of somebody's own."""
    import keras

    known = type(operation).__module__.startswith(("keras.", "lamina."))
    return isinstance(operation, keras.Layer) and not known


def trace_layer(layer: Operation, path: str, node: Node) -> Function:
    """What a layer of somebody's own does in a call of it.

    Raises:
        InputError: it cannot be traced, or does different things in the two modes.
    """
    import keras

    inputs: list[Any] = []

    def symbol(thing: Any) -> Any:  # noqa: ANN401 - whatever a layer is called with
        if not isinstance(thing, keras.KerasTensor):
            return thing
        inputs.append(keras.Input(batch_shape=thing.shape, dtype=thing.dtype))
        return inputs[-1]

    arguments, options = keras.tree.map_structure(
        symbol, (node.arguments.args, node.arguments.kwargs)
    )
    options = {name: value for name, value in options.items() if name != "training"}
    function, _ = _traced(layer, path, list(arguments), options, inputs)
    return function


def in_order(function: Function) -> Iterator[Node]:
    """The calls of a function in the order in which Keras makes them."""
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for node in function._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                yield node


def _traced(
    operation: Operation,
    path: str,
    arguments: list[Any],
    options: dict[str, Any],
    inputs: list[Any],
) -> tuple[Function, Any]:
    """What a ``call`` does with symbolic tensors, and its outputs; the same in both modes."""
    import keras

    def trace(**mode: bool | None) -> tuple[Function, Any]:
        try:
            outputs = operation.call(*arguments, **options, **mode)
            return keras.Function(inputs, outputs), outputs
        except Exception as error:
            said = (str(error).strip().splitlines() or [""])[0]
            raise InputError(
                f"layer {path!r} ({type(operation).__name__}) cannot cross: its call cannot be "
                f"traced: {type(error).__name__}: {said}"
            ) from error

    if "training" not in inspect.signature(operation.call).parameters:
        return trace()
    kinds = [
        [type(node.operation) for node in in_order(trace(training=mode)[0])]
        for mode in (True, False)
    ]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"layer {path!r} ({type(operation).__name__}) cannot cross: its call does different "
            "things in training and in evaluation"
        )
    return trace(training=None)
