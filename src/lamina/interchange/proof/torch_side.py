"""The PyTorch side of a proof, in float64: every paired node in evaluation, one training step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lamina.errors import RunError

__all__ = ["Step", "flat", "nodes", "step"]

_RANDOM = (
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
    torch.dropout, torch.alpha_dropout, torch.feature_dropout, torch.feature_alpha_dropout,
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """What a training step leaves.

    Attributes:
        loss: a fixed projection of the outputs.
        loss_scale: the same of their magnitudes, which the loss is small beside by chance alone.
        gradients: of every parameter that is trained, by its name.
        state: the state_dict after the step.
    """

    loss: float
    loss_scale: float
    gradients: dict[str, Tensor]
    state: dict[str, Tensor]


Untyped = Any
"""What a node or a function may take and give."""


class _Recorder(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule, seen: Callable[[str, Any], None]) -> None:
        super().__init__(graph)
        self.seen = seen

    def run_node(self, n: fx.Node) -> Untyped:
        if str(n.target) == "aten._assert_tensor_metadata.default":
            return None  # that a tensor is float32, as it was when it was traced
        try:
            result = super().run_node(n)
        except RuntimeError as error:
            said = str(error).strip().splitlines()[0]
            raise RunError(f"verify: PyTorch fails at {n.name!r}: {said}") from error
        self.seen(n.name, result)
        return result

    def call_function(self, target: Untyped, args: Untyped, kwargs: Untyped) -> Untyped:
        if kwargs.get("dtype") is torch.float32:  # as it was when it was traced
            kwargs = {**kwargs, "dtype": torch.float64}
        return super().call_function(target, args, kwargs)


def nodes(
    graph: fx.GraphModule,
    inputs: Sequence[Tensor],
    seen: Callable[[str, Any], None],
) -> list[Any]:
    """Run a copy of a graph in evaluation, hand on what every node gives; returns the outputs.

    Raises:
        RunError: a node fails, by its name.
    """
    graph = copy.deepcopy(graph).double().eval()
    with torch.no_grad():
        return flat(_Recorder(graph, seen).run(*inputs))


def step(
    module: nn.Module,
    inputs: Sequence[Tensor],
    projections: Sequence[Tensor],
    learning_rate: float,
) -> Step:
    """One step of a copy of a module in training, dropout left out, variances kept as Keras does.

    A running variance that PyTorch would multiply by n/(n − 1) is kept without: what Keras keeps.
    """
    module = copy.deepcopy(module).double().train()
    with _AsKeras(module):
        outputs = [y for y in flat(module(*inputs)) if y.is_floating_point()]
    terms = [y * r / len(r) for y, r in zip(outputs, projections, strict=True)]
    loss = torch.stack([term.sum() for term in terms]).sum()
    scale = sum(float(term.detach().abs().sum()) for term in terms)
    parameters = {
        name: parameter
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if parameter.requires_grad
    }
    if parameters and loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
        torch.optim.SGD(set(parameters.values()), lr=learning_rate).step()
    gradients = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in parameters.items()
    }
    state = {name: t for name, t in module.state_dict().items() if isinstance(t, Tensor)}
    return Step(float(loss.detach()), scale, gradients, state)


def flat(outputs: Untyped) -> list[Any]:
    """A model's outputs in the order in which Keras has them: a dictionary's by sorted key."""
    if isinstance(outputs, dict):
        outputs = [outputs[key] for key in sorted(outputs)]
    if isinstance(outputs, list | tuple):
        return [tensor for part in outputs for tensor in flat(part)]
    return [outputs]


def _same(x: Tensor, *args: Untyped, **options: Untyped) -> Tensor:
    return x


class _AsKeras(TorchFunctionMode):
    """Dropout as identity and biased running variances, in whichever library's modules.

    Args:
        module: what will run; it is changed where it calls no function of PyTorch's for this.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for part in module.modules():
            random = any(
                word in type(part).__name__ for word in ("Drop", "StochasticDepth", "Noise")
            )
            if random and not any(part.parameters()) and not any(part.children()):
                part.forward = _same
            if hasattr(part, "running_variance"):
                part.running_variance = "biased"  # type: ignore[assignment]

    def __torch_function__(
        self, func: Untyped, types: Untyped, args: Untyped = (), kwargs: Untyped = None
    ) -> Untyped:
        """What PyTorch calls in the place of each of its functions."""
        kwargs = kwargs or {}
        if func in _RANDOM:
            return args[0] if args else kwargs["input"]
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _batch_norm(
    input: Tensor,  # noqa: A002 - PyTorch's name
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """PyTorch's, whose running variance takes in the biased one."""
    kept = None if running_var is None else (1.0 - momentum) * running_var
    result = F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if training and running_var is not None and kept is not None:
        values = input.numel() // input.shape[1]
        # Through .data: the backward pass, which has saved it, does not read it in training.
        running_var.data.copy_(kept + (running_var - kept) * (values - 1) / values)
    return result
