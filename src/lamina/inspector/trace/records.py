"""What is noted while a model runs: shapes, books per call, and how it was counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from lamina.inspector.count.facts import Fact
from lamina.inspector.receptive.field import Fields, ReceptiveField
from lamina.inspector.trace.recorder import Entry
from lamina.theory.cost import Cost

__all__ = ["Phase", "Shapes", "TensorInfo", "Trace"]

Phase = Literal["forward", "backward"]


@dataclass(frozen=True)
class TensorInfo:
    """Shape, dtype and layout of a tensor."""

    shape: tuple[int, ...]
    dtype: str
    layout: str

    @classmethod
    def of(cls, tensor: Tensor) -> TensorInfo:
        """Describe a tensor; its layout is that of its strides."""
        if tensor.layout is not torch.strided:
            layout = str(tensor.layout).removeprefix("torch.")
        elif tensor.is_contiguous():
            layout = "contiguous"
        elif tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
            layout = "channels_last"
        else:
            layout = "strided"
        return cls(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), layout)


@dataclass(frozen=True)
class Shapes:
    """What came into a call and what went out.

    Args:
        inputs: tensors among the arguments.
        outputs: tensors among the results.
        receptive_field: of the first result.
        parameters: identities of the parameters among the arguments.
    """

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    receptive_field: ReceptiveField | None
    parameters: list[int]


@dataclass
class Trace:
    """What one run of a model did.

    Args:
        root: the model's own call; all others are below it.
        forward: arithmetic and traffic of each call, without those it made itself.
        backward: the same for the backward pass.
        saved: bytes that autograd keeps for each call, parameters and buffers left out.
        operators: how often each operator was seen, by phase, status and name.
        inputs: shapes of the tensors that the model was run on.
        ran: operators that each call ran in the forward pass.
        facts: what those operators are as layers.
        uncounted: calls that ran an operator without a formula.
        shapes: what came into each call and what went out.
        sources: calls whose results came into each call.
        fields: receptive field of every tensor that is alive.
        peak_inference: most bytes alive in a forward pass without gradients.
        peak_training: most bytes alive in a forward and backward pass, gradients included.
        training: whether the model was in training mode.
        fake: whether fake tensors sufficed.
        notes: what the reader has to know about how it was counted.
    """

    root: Entry
    forward: dict[Entry, Cost] = field(default_factory=lambda: defaultdict(Cost))
    backward: dict[Entry, Cost] = field(default_factory=lambda: defaultdict(Cost))
    saved: dict[Entry, int] = field(default_factory=lambda: defaultdict(int))
    operators: Counter[tuple[Phase, str, str]] = field(default_factory=Counter)
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    ran: dict[Entry, list[str]] = field(default_factory=lambda: defaultdict(list))
    facts: dict[Entry, list[Fact]] = field(default_factory=lambda: defaultdict(list))
    uncounted: dict[Entry, set[str]] = field(default_factory=lambda: defaultdict(set))
    shapes: dict[Entry, Shapes] = field(default_factory=dict)
    sources: dict[Entry, list[Entry]] = field(default_factory=dict)
    fields: Fields = field(default_factory=Fields)
    peak_inference: int = 0
    peak_training: int = 0
    training: bool = False
    fake: bool = True
    notes: list[str] = field(default_factory=list)
    _makers: Any = field(default_factory=WeakTensorKeyDictionary)

    def describe(self, entry: Entry, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Note the shapes and the receptive field of a call as it ends."""
        if type(entry.module).__name__.startswith("BatchNorm") and inputs and outputs:
            # Pointwise by convention, also where it is made of means over the whole image.
            field = self.fields.get(inputs[0])
            if field is not None:
                self.fields.set(outputs[0], field)
        makers = [self._makers.get(tensor) for tensor in inputs]
        self.sources[entry] = list(dict.fromkeys(m for m in makers if m is not None))
        for tensor in outputs:
            # A module that passes on what a call inside of it made is not its maker.
            maker = self._makers.get(tensor)
            if maker is None or not _inside(maker, entry):
                self._makers[tensor] = entry
        reach = [self.fields.of(tensor) for tensor in outputs[:1]]
        self.shapes[entry] = Shapes(
            inputs=[TensorInfo.of(tensor) for tensor in inputs],
            outputs=[TensorInfo.of(tensor) for tensor in outputs],
            receptive_field=reach[0] if reach else None,
            parameters=[id(t) for t in inputs if isinstance(t, nn.Parameter)],
        )


def _inside(entry: Entry, outer: Entry) -> bool:
    above = entry.parent
    while above is not None and above is not outer:
        above = above.parent
    return above is outer
