"""A PyTorch module as a Keras model, and the Python that builds it.

`trace` makes a graph of PyTorch's operations, `walk` goes through it and calls the rule of each,
`builder` calls Keras and keeps account of names and weights, `value` of the order of axes, and
`source` writes down what was called.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, fx, nn

from lamina.errors import InputError
from lamina.extras import require
from lamina.interchange.crossing import Crossing, Note, Pair
from lamina.interchange.from_keras.tracing import in_order
from lamina.interchange.from_torch.builder import Builder, Flavour
from lamina.interchange.from_torch.source import live, text
from lamina.interchange.from_torch.statement import Statement
from lamina.interchange.from_torch.trace import Example, examples, trace, trace_any_size
from lamina.interchange.from_torch.value import Value, canonical, shape_of
from lamina.interchange.from_torch.walk import Walk

__all__ = ["ToKeras", "cross", "source"]


@dataclass
class ToKeras(Crossing):
    """A crossing whose Keras side was built by calls that can be written down.

    Attributes:
        statements: the calls.
        flavour: whose layers they call.
    """

    statements: list[Statement] = field(default_factory=list)
    flavour: Flavour = "keras"


def cross(
    module: nn.Module,
    example_input: Example,
    *,
    flavour: Flavour = "keras",
    keep_layout: bool = False,
) -> ToKeras:
    """Build the Keras model that a torch module is, with its weights.

    Args:
        module: what ``torch.export`` can trace; it is left as it was.
        example_input: a batch, a tuple of batches, or sizes such as (1, 3, 224, 224); float32.
            The batch, and the height and width of images, are free in the Keras model where the
            module and every layer of it let them be; a note names the layer that does not.
        flavour: "keras" for layers of keras.layers alone, "lamina" for lamina.layers.
        keep_layout: the Keras model takes and gives images as (N, C, H, W), as torch does.

    Returns:
        Both models, what pairs with what, and notes. The Keras model's layers are named as the
        torch modules, dots as underscores, since Keras's torch backend allows no dots in names.

    Raises:
        InputError: the module cannot be traced, or holds what Keras cannot say; the message names
            the line, or the layer and the reason.
        MissingExtraError: Keras is not installed.

    Example:
        >>> layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> crossing = cross(layers, (1, 3, 16, 16))
        >>> crossing.keras_model.output_shape
        (None, None, None, 8)
        >>> [pair.keras for pair in crossing.weights]
        ['layer_0/kernel', 'layer_0/bias']
    """
    require("keras", "a Keras model")
    if flavour not in ("keras", "lamina"):
        raise InputError(f"flavour: expected 'keras' or 'lamina', got {flavour!r}")
    try:
        build = Builder(flavour)
    except ImportError as error:
        raise InputError(f"model {type(module).__name__}: {error}") from error
    _check_dtypes(module)
    inputs = examples(example_input)
    graph = trace_any_size(module, inputs)
    if graph is not None:
        try:
            return _built(module, graph, build, inputs, keep_layout)
        except (ValueError, TypeError):
            said = "needs a fixed size: the model takes images of the example's alone"
            note = Note(build.where, "dropped", "image-size", said)
            build = Builder(flavour, notes=[note])
    return _built(module, trace(module, inputs), build, inputs, keep_layout)


def _built(
    module: nn.Module,
    graph: fx.GraphModule,
    build: Builder,
    given: tuple[Tensor, ...],
    keep_layout: bool,
) -> ToKeras:
    walk = Walk(module, graph, build)
    inputs = [_input(build, node, keep_layout) for node in walk.inputs]
    outputs = [
        build.arranged(value, range(value.rank) if keep_layout else None)
        for value in walk.run([value for _, value in inputs])
    ]
    crossing = _crossing(module, walk, inputs, outputs)
    crossing.sizes = [
        tuple(example.shape[axis] for axis in value.axes[1:])
        for example, (_, value) in zip(given, inputs, strict=True)
    ]
    return crossing


def source(crossing: Crossing, function_name: str = "build") -> str:
    """Write the Python that builds a crossing's Keras model.

    Args:
        crossing: what `cross` gave.
        function_name: of the function that returns the model.

    Returns:
        A module; its model takes the weights of ``crossing.keras_model`` by ``load_weights``.

    Raises:
        InputError: the crossing came from Keras, or the name is none.

    Example:
        >>> print(source(cross(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), (1, 4))))
        \"\"\"Sequential in Keras.\"\"\"
        <BLANKLINE>
        import keras
        from keras import layers
        <BLANKLINE>
        <BLANKLINE>
        def build() -> keras.Model:
            \"\"\"(N, 4) to (N, 2).\"\"\"
            inputs = keras.Input((4,), name="input")
            x = layers.Dense(2, name="layer_0")(inputs)
            x = layers.ReLU(name="layer_1")(x)
            return keras.Model(inputs, x, name="Sequential")
        <BLANKLINE>
    """
    if not isinstance(crossing, ToKeras):
        raise InputError("source: the crossing came from Keras, its source is a torch module's")
    if not function_name.isidentifier():
        raise InputError(f"function_name: expected an identifier, got {function_name!r}")
    model = crossing.keras_model
    return text(
        model.inputs,
        model.outputs,
        crossing.statements,
        name=model.name,
        function_name=function_name,
        flavour=crossing.flavour,
    )


def _check_dtypes(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if str(parameter.dtype) != "torch.float32":
            raise InputError(
                f"model {type(module).__name__}: {name}: expected float32, got {parameter.dtype}"
            )
        if type(parameter).__name__ == "UninitializedParameter":
            raise InputError(
                f"model {type(module).__name__}: {name} has no size yet; call the model once"
            )


def _input(
    build: Builder,
    node: Any,  # noqa: ANN401 - a placeholder
    keep_layout: bool,
) -> tuple[Any, Value]:
    """The symbolic input, and the value that the walk begins with."""
    import keras

    sizes = shape_of(node.meta["val"])
    axes = tuple(range(len(sizes))) if keep_layout else _axes_of_input(node)
    batch, *rest = [size if isinstance(size, int) else None for size in sizes]
    tensor = keras.Input(
        tuple(rest[axis - 1] for axis in axes[1:]),
        batch_size=batch,
        name=build.taken(str(node.target)),
    )
    return tensor, Value(tensor, sizes, axes)


def _axes_of_input(node: Any) -> tuple[int, ...]:  # noqa: ANN401
    rank = node.meta["val"].dim()
    if rank == 3 and any("conv1d" in str(user.target) for user in node.users):
        return (0, 2, 1)
    return canonical(rank)


def _crossing(
    module: nn.Module, walk: Walk, inputs: list[tuple[Any, Value]], outputs: list[Value]
) -> ToKeras:
    import keras

    tensors = [value.tensor for value in outputs]
    given = [tensor for tensor, _ in inputs]
    name = type(module).__name__
    model = keras.Model(
        given[0] if len(given) == 1 else given,
        tensors[0] if len(tensors) == 1 else tensors,
        name=name,
    )
    _note_unused(module, walk.build)
    needed = live(walk.build.statements, tensors)
    produced = {id(one.output) for one in needed}
    return ToKeras(
        keras_model=model,
        torch_model=module,
        graph=walk.graph,
        pairs=_as_called([pair for pair, tensor in walk.pairs if id(tensor) in produced], model),
        weights=walk.build.weights,
        notes=walk.build.notes,
        input_axes=[_permutation(value) for _, value in inputs],
        output_axes=[_permutation(value) for value in outputs],
        statements=needed,
        flavour=walk.build.flavour,
    )


def _as_called(pairs: list[Pair], model: Any) -> list[Pair]:  # noqa: ANN401
    """The pairs with a layer's calls counted as Keras makes them: by depth, not as written."""
    made: Counter[str] = Counter()
    order: dict[tuple[str, int], int] = {}
    for node in in_order(model):
        name = node.operation.name
        order[name, node.operation._inbound_nodes.index(node)] = made[name]
        made[name] += 1
    return [replace(pair, call=order[pair.keras, pair.call]) for pair in pairs]


def _note_unused(module: nn.Module, build: Builder) -> None:
    """Say which parameters evaluation leaves aside, such as those of an auxiliary head."""
    crossed = {pair.torch for pair in build.weights}
    unused: dict[str, list[str]] = {}
    for name, _ in module.named_parameters():
        if name not in crossed:
            unused.setdefault(name.rpartition(".")[0], []).append(name)
    for layer, names in unused.items():
        what = f"evaluation does not use {', '.join(names)}"
        build.notes.append(Note(layer, "dropped", "mode", what))


def _permutation(value: Value) -> tuple[int, ...] | None:
    return None if value.axes == tuple(range(value.rank)) else value.axes
