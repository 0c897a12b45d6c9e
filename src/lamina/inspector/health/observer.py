"""Watch single training steps: activations as they pass, gradients, and how far weights move.

A step that is watched costs about as much again as its forward pass; one in fifty or so is
enough, and the steps between run without any hook.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from lamina.inspector.rows import ACTIVATIONS, LIBRARIES, snake
from lamina.inspector.trace.dialect import is_leaf, modules_of, state_of
from lamina.inspector.trace.recorder import Entry, Recorder
from lamina.report.records import Health

__all__ = ["Observer"]

Key = tuple[str, int]


class Observer:
    """Collects the health of a model's layers over the steps that are watched.

    Call, in this order and around one training step: ``begin`` before the forward pass,
    ``forward_done`` after it, ``gradients`` after the backward pass, ``finish`` after the
    optimiser's step. ``abandon`` leaves no hook behind whatever happened in between.

    Args:
        model: the module that is trained; never changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers: dict[Key, str] = {}
        self.watched = 0
        self._seen: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._silent: dict[Key, Tensor] = {}
        self._before: list[tuple[str, Tensor, Tensor]] = []
        self._recorder: Recorder | None = None
        self._sealed = [
            name
            for module, name in modules_of(model).items()
            if type(module).__module__.startswith(LIBRARIES) and is_leaf(module)
        ]

    def begin(self) -> None:
        """Start to watch the forward pass."""
        self._recorder = Recorder(self.model, closed=self._passed, sealed=self._sealed)
        self._recorder.__enter__()

    def forward_done(self) -> None:
        """Stop watching the forward pass; without effect if nothing is watched."""
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)
            self._recorder = None

    abandon = forward_done

    def _passed(self, entry: Entry, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        module = entry.module
        is_layer = module is None or entry.name in self._sealed
        if not is_layer or not outputs or not outputs[0].is_floating_point():
            return
        output = outputs[0].detach()
        if output.dim() < 2 or output.numel() < 2:
            return
        kind = snake(type(module).__name__) if module else entry.name.rpartition(".")[2]
        key = entry.key
        self.layers[key] = kind
        mean, deviation = _moments(output, list(range(output.dim())))
        seen = self._seen[key]
        seen["activation_mean"].append(float(mean))
        seen["activation_std"].append(float(deviation))
        if kind.replace("_", "") in ACTIVATIONS:
            others = [dim for dim in range(output.dim()) if dim != 1]
            silent = (output == 0).all(dim=0) if output.dim() == 2 else (output == 0).amin(others)
            before = self._silent.get(key)
            same = before is not None and before.shape == silent.shape
            self._silent[key] = before & silent if before is not None and same else silent
        running_mean: object = getattr(module, "running_mean", None)
        if inputs and isinstance(running_mean, Tensor):
            eps = float(getattr(module, "eps", 0.0)) or 1e-12
            seen["statistics_gap"].append(_gap(inputs[0].detach(), running_mean, eps))

    def gradients(self) -> None:
        """Read the gradients, and remember the weights before the optimiser changes them."""
        self._before = []
        owned: dict[str, list[Tensor]] = defaultdict(list)
        for name, _, tensor, _ in state_of(self.model):
            if tensor.grad is not None:
                owned[name].append(tensor)
        for name, own in owned.items():
            flat = torch.cat([p.grad.detach().flatten() for p in own if p.grad is not None])
            seen = self._seen[name, 0]
            seen["gradient_norm"].append(float(flat.norm()))
            seen["gradient_mean"].append(float(flat.abs().mean()))
            weight = max(own, key=Tensor.numel)
            self._before.append((name, weight, weight.detach().clone()))

    def finish(self) -> None:
        """Compare the weights with those before the optimiser's step."""
        for name, weight, before in self._before:
            size = float(before.norm())
            if size > 0:
                moved = float((weight.detach() - before).norm())
                self._seen[name, 0]["update_ratio"].append(moved / size)
        self._before = []
        self.watched += 1

    def state(self) -> dict[str, Any]:
        """What was seen so far, as plain values and tensors that `restore` takes."""
        return {
            "watched": self.watched,
            "layers": [[*key, kind] for key, kind in self.layers.items()],
            "seen": [
                [*key, {what: list(values) for what, values in seen.items()}]
                for key, seen in self._seen.items()
            ],
            "silent": [[*key, silent] for key, silent in self._silent.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what another observer of the same model had seen."""
        self.watched = state["watched"]
        self.layers = {(name, call): kind for name, call, kind in state["layers"]}
        self._silent = {(name, call): silent for name, call, silent in state["silent"]}
        self._seen.clear()
        for name, call, seen in state["seen"]:
            self._seen[name, call] = defaultdict(list, seen)

    def health(self) -> dict[Key, Health]:
        """What was seen, averaged over the watched steps, by name and call index."""
        found = {}
        for key, seen in self._seen.items():
            values = {field.name: fmean(seen[field.name]) for field in fields(Health)
                      if seen.get(field.name)}  # fmt: skip
            if seen.get("statistics_gap"):
                values["statistics_gap"] = seen["statistics_gap"][-1]  # they begin anywhere
            if seen.get("gradient_mean"):
                values["gradient_start"] = seen["gradient_mean"][0]
            if key in self._silent:
                values["dead"] = float(self._silent[key].float().mean())
            found[key] = Health(**values)
        return found

    def order(self) -> list[Key]:
        """The layers in the order in which they ran."""
        return list(self.layers)


def _moments(x: Tensor, dims: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and deviation over some dimensions, kept as 1: two passes, eight times torch.std_mean.

    That one is Welford's single pass, which takes no vector instructions.
    """
    mean = x.mean(dims, keepdim=True)
    return mean, (x - mean).square_().mean(dims, keepdim=True).sqrt_()


def _gap(x: Tensor, running_mean: Tensor, eps: float) -> float:
    """The largest distance between running and batch mean, in deviations of the batch.

    Those that normalisation divides by: a channel that never changes has one, too.
    """
    mean, deviation = _moments(x, [dim for dim in range(x.dim()) if dim != 1])
    distance = (running_mean - mean.flatten()).abs()
    return float((distance / (deviation.flatten().square() + eps).sqrt()).max())
