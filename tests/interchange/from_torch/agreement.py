"""What every crossing must keep, checked on numbers."""

from __future__ import annotations

import keras
import numpy as np
import torch
from torch import fx, nn

from lamina.interchange import from_torch
from lamina.interchange.crossing import Crossing
from lamina.interchange.from_keras.tracing import in_order
from lamina.interchange.proof import verify

BOUND = 1e-4
"""Largest difference to torch's result, as a part of its largest number."""


def draw_statistics(module: nn.Module) -> nn.Module:
    """Have batch normalisation do something that a mistake changes; puts it in evaluation."""
    for one in module.modules():
        if getattr(one, "running_var", None) is not None:
            one.running_mean.normal_(0, 0.5)
            one.running_var.uniform_(0.5, 2)
        if isinstance(one, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm):
            if one.weight is not None:
                nn.init.uniform_(one.weight, 0.5, 1.5)
            if one.bias is not None:
                nn.init.normal_(one.bias, 0, 0.3)
    return module.eval()


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    if not np.isfinite(theirs).all():
        return float("inf")
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-6))


def laid_out(tensor: torch.Tensor, axes: tuple[int, ...] | None) -> np.ndarray:
    return (tensor if axes is None else tensor.permute(axes)).detach().numpy()


def flat(outputs: object) -> list[torch.Tensor]:
    found = outputs.values() if isinstance(outputs, dict) else outputs
    return [found] if isinstance(found, torch.Tensor) else list(found)


def check(
    module: nn.Module,
    *shapes: tuple[int, ...],
    tmp_path,
    tensorflow=None,
    bound: float = BOUND,
    **options,
) -> Crossing:
    """Cross, compare after every layer and at the end, and have TensorFlow open the file."""
    draw_statistics(module)
    crossing = from_torch.cross(module, shapes, **options)
    batch = 3 if crossing.keras_model.inputs[0].shape[0] is None else shapes[0][0]
    inputs = [torch.randn(batch, *shape[1:]) for shape in shapes]
    with torch.no_grad():
        expected = flat(module(*inputs))
    given = [laid_out(x, a) for x, a in zip(inputs, crossing.input_axes, strict=True)]
    expected = [laid_out(y, a) for y, a in zip(expected, crossing.output_axes, strict=True)]

    check_weights(crossing)
    check_pairs(crossing, inputs, given, bound)
    with torch.no_grad():
        results = [[y.numpy() for y in flat(crossing.keras_model(_one_or_all(given)))]]
    if tensorflow is not None:
        path = tmp_path / "model.keras"
        crossing.keras_model.save(path)
        results.append(tensorflow.run(path, given))
    for ours in results:
        assert len(ours) == len(expected)
        if any(difference(y, right) >= bound for y, right in zip(ours, expected, strict=True)):
            prove(crossing)
    return crossing


def _one_or_all(given: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    return given[0] if len(given) == 1 else given


def check_weights(crossing: Crossing) -> None:
    """Bit-identical, and none is missing."""
    state = crossing.torch_model.state_dict()
    variables = {v.path: v for v in crossing.keras_model.variables}
    for pair in crossing.weights:
        ours = variables.pop(pair.keras).value.detach().numpy()
        assert np.array_equal(pair.rearrangement.to_torch(ours), state[pair.torch].numpy()), pair
    assert not [path for path in variables if "seed" not in path]


def recorded(graph: fx.GraphModule, inputs: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """What every node of a graph gives."""
    found = {}

    class Recorder(fx.Interpreter):
        def run_node(self, node):
            result = super().run_node(node)
            # What a later operation changes in place is wanted as it was.
            found[node.name] = result.clone() if isinstance(result, torch.Tensor) else result
            return result

    with torch.no_grad():
        Recorder(graph).run(*inputs)
    return found


def check_pairs(
    crossing: Crossing, inputs: list[torch.Tensor], given: list[np.ndarray], bound: float
) -> None:
    """Places that are said to hold the same numbers do."""
    theirs = recorded(crossing.graph, inputs)
    with torch.no_grad():
        calls: dict[str, list] = {}
        for node in in_order(crossing.keras_model):
            calls.setdefault(node.operation.name, []).append(node.output_tensors[0])
        outputs = [calls[p.keras][p.call] for p in crossing.pairs]
        assert outputs, "no pairs"
        probe = keras.Model(crossing.keras_model.inputs, outputs)
        results = flat(probe(_one_or_all(given)))
    for pair, y in zip(crossing.pairs, results, strict=True):
        if difference(y.numpy(), laid_out(theirs[pair.torch], pair.axes)) >= bound:
            prove(crossing)
            return


def prove(crossing: Crossing) -> None:
    """Rounding of a deep network with drawn weights, or a fault? In float64 a fault is left."""
    proof = verify(crossing, training=False)
    assert proof.holds, proof.verdict
