"""What a network's layers are, in the order in which an image meets them."""

from typing import Any

import torch

from lamina.errors import InputError
from lamina.report.layers import LayerRow


def trace_layers(
    model: torch.nn.Module, input_shape: tuple[int, ...], classes: int
) -> list[LayerRow]:
    """Run one image of zeros through a model and return a row per call of a layer.

    A layer is a module that knows its cost, or one without children. Buffers, train flags and
    hooks are afterwards as they were.

    Args:
        model: the network.
        input_shape: (1, C, H, W).
        classes: outputs that the model must have.

    Raises:
        InputError: the model raises for such an image, or returns anything but (1, classes) floats.
    """
    rows: list[LayerRow] = []
    counted: set[int] = set()
    hooks = []
    for name, module in _layers(model):
        hooks.append(module.register_forward_hook(_Recorder(name, rows, counted)))
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            output = model(torch.zeros(input_shape))
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"model: fails for images of shape {input_shape}: {reason[0]}") from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, flag in flags:
            module.training = flag
    expected = (input_shape[0], classes)
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        raise InputError(f"model: expected a float tensor of shape {expected}, got {_said(output)}")
    if tuple(output.shape) != expected:
        raise InputError(
            f"model: expected an output of shape {expected} (images, classes), "
            f"got {tuple(output.shape)}; num_classes is handed to the factory if it takes it"
        )
    total = sum(row.macs or 0 for row in rows) or 1
    return [
        LayerRow(
            row.name,
            row.kind,
            row.output_shape,
            row.parameters,
            row.macs,
            None if row.macs is None else row.macs / total,
        )
        for row in rows
    ]


class _Recorder:
    """A forward hook that adds a row."""

    def __init__(self, name: str, rows: list[LayerRow], counted: set[int]) -> None:
        self.name, self.rows, self.counted = name, rows, counted

    def __call__(self, module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        if not isinstance(output, torch.Tensor) or not inputs:
            return
        own = [p for p in module.parameters() if p.requires_grad and id(p) not in self.counted]
        self.counted.update(id(parameter) for parameter in own)
        self.rows.append(
            LayerRow(
                name=self.name or "model",
                kind=type(module).__name__,
                output_shape=tuple(output.shape),
                parameters=sum(parameter.numel() for parameter in own),
                macs=_macs(module, tuple(inputs[0].shape)),
            )
        )


def _layers(module: torch.nn.Module, name: str = "") -> list[tuple[str, torch.nn.Module]]:
    """Return the layers below ``module``; a shared one once."""
    found: dict[torch.nn.Module, str] = {}

    def descend(module: torch.nn.Module, name: str) -> None:
        children = list(module.named_children())
        if callable(getattr(module, "cost", None)) or not children:
            found.setdefault(module, name)
            return
        for child_name, child in children:
            descend(child, f"{name}.{child_name}" if name else child_name)

    descend(module, name)
    return [(name, module) for module, name in found.items()]


def _macs(module: torch.nn.Module, input_shape: tuple[int, ...]) -> int | None:
    cost = getattr(module, "cost", None)
    if callable(cost):
        return int(cost(input_shape).macs)
    # A layer of somebody else's: without weights it multiplies nothing that counts as a MAC.
    return None if any(True for _ in module.parameters()) else 0


def _said(output: object) -> str:
    if isinstance(output, torch.Tensor):
        return f"{output.dtype} of shape {tuple(output.shape)}"
    return type(output).__name__
