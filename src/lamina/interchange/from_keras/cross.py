"""A Keras model as a torch module."""

from __future__ import annotations

from typing import Any

from torch import fx

from lamina.errors import InputError
from lamina.interchange.crossing import Crossing
from lamina.interchange.from_keras.builder import Builder
from lamina.interchange.from_keras.constructor import Flavour
from lamina.interchange.from_keras.tracing import functional, own_function
from lamina.interchange.from_keras.value import IMAGE, Value
from lamina.interchange.from_keras.walk import walk
from lamina.theory.validation import one_of

__all__ = ["cross"]


def cross(
    model: Any,  # noqa: ANN401 - a keras.Model; Keras has no types
    *,
    flavour: Flavour = "torch",
    input_shape: Any = None,  # noqa: ANN401
) -> Crossing:
    """Make a torch module of a Keras model, with its weights, and say what became of each layer.

    A channels_last image, (N, H, W, C), becomes (N, C, H, W), and what speaks of axes is rewritten.
    The modules are called as the Keras layers are, those of a model within the model after a dot.

    Args:
        model: a ``keras.Model`` on the torch backend: sequential, functional, or subclassed, whose
            ``call`` is then traced.
        flavour: ``"torch"`` for torch.nn's layers alone, ``"lamina"`` for lamina.nn's, which have
            TensorFlow's ``"same"`` and its variance.
        input_shape: with the batch's axis, or a list of them, of a model that was not built.

    Returns:
        The crossing. Its ``torch_model`` is its ``graph``, in evaluation, float32; several outputs
        are a tuple.

    Raises:
        InputError: a layer that has no equal, by its name and the reason; Keras on another backend.

    Example:
        >>> from lamina import layers
        >>> import keras
        >>> crossing = cross(keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3)]))
        >>> [weight.rearrangement.axes for weight in crossing.weights]
        [(3, 2, 0, 1), (0,)]
    """
    import keras

    one_of(flavour, "flavour", ("torch", "lamina"))
    if not isinstance(model, keras.Model):
        raise InputError(f"model must be a keras.Model, got a {type(model).__name__}")
    if keras.backend.backend() != "torch":
        raise InputError(
            f"model {model.name!r}: Keras runs on {keras.backend.backend()}; import lamina.layers "
            "before keras, or set KERAS_BACKEND=torch"
        )
    function = functional(model, input_shape)
    builder = Builder(flavour)
    inputs = _inputs(builder, function)
    traced = own_function(model) is None
    outputs = [builder.result(y) for y in walk(builder, function, inputs, traced=traced)]
    nodes = tuple(value.node for value in outputs)
    builder.graph.output(nodes[0] if len(nodes) == 1 else nodes)
    graph = fx.GraphModule(builder.root, builder.graph, class_name="Net").eval()
    graph.meta["constructors"] = {name: str(one) for name, one in builder.constructors.items()}
    graph.meta["constants"] = builder.constants
    graph.meta["flavour"] = flavour
    return Crossing(
        keras_model=function,
        torch_model=graph,
        graph=graph,
        pairs=builder.pairs,
        weights=builder.weights(function.weights),
        notes=[*builder.notes],
        input_axes=[_axes(value) for value in inputs],
        output_axes=[_axes(value) for value in outputs],
    )


def _inputs(builder: Builder, function: Any) -> list[Value]:  # noqa: ANN401
    """The model's arguments; images are (N, C, H, W), in a channels_first model as they are."""
    formats = {getattr(layer, "data_format", None) for layer in function._flatten_layers()}
    first = "channels_first" in formats and "channels_last" not in formats
    names = [tensor._keras_history.operation.name for tensor in function.inputs]
    values = []
    for tensor, name in zip(function.inputs, names, strict=True):
        rank = len(tensor.shape)
        axes = IMAGE if rank == 4 and not first else tuple(range(rank))
        if axes == IMAGE:
            builder.note(name, "changed", "data-format", "it takes (N, C, H, W)")
        values.append(builder.input("x" if len(names) == 1 else name, tensor.shape, axes))
    return values


def _axes(value: Value) -> tuple[int, ...] | None:
    return None if value.is_natural else value.axes
