"""What a model's layers account for: plain data, made by the inspector, shown by this floor.

The conventions of every number are those of ``lamina.theory.cost``: a MAC is one multiplication
and one addition, ``flops`` counts two per MAC and the rest, bytes are compulsory traffic.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lamina.theory.cost import Cost

if TYPE_CHECKING:
    from lamina.theory.limits import Machine

__all__ = ["Advice", "Books", "Diagnosis", "Health", "Row", "Timing", "Totals"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Timing:
    """Seconds: the median of several runs, and the distance between their quartiles."""

    median: float
    spread: float


@dataclass(frozen=True)
class Health:
    """What was seen of a layer in training, averaged over the steps that were sampled.

    Args:
        activation_mean: mean of what the layer puts out.
        activation_std: its standard deviation.
        dead: share of output channels that were zero at every position in every sampled step.
        gradient_norm: Euclidean norm of the gradient of the layer's parameters.
        gradient_mean: mean absolute value of that gradient.
        gradient_start: the same in the first step that was sampled.
        update_ratio: norm of an optimiser step over the norm of the weights.
        statistics_gap: batch norm's largest distance between running and batch mean, in batch
            deviations, in the last step that was sampled.
    """

    activation_mean: float | None = None
    activation_std: float | None = None
    dead: float | None = None
    gradient_norm: float | None = None
    gradient_mean: float | None = None
    gradient_start: float | None = None
    update_ratio: float | None = None
    statistics_gap: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    """A finding about training: what, where, by which number against which threshold."""

    rule: str
    where: str
    measured: float
    threshold: float
    sentence: str


@dataclass(frozen=True)
class Advice:
    """A change that may pay, with its evidence.

    Args:
        rule: which rule speaks.
        where: qualified name of the layer.
        sentence: what to change and why, in one or two sentences.
        evidence: named numbers that the rule looked at, with its thresholds.
        predicted_gain: seconds saved, of the layer's own, by the limits of this machine.
        measured_gain: seconds saved when the change was built and timed here; ``None`` if it
            was not timed.
        accuracy: what the change does to accuracy.
    """

    rule: str
    where: str
    sentence: str
    evidence: dict[str, float | str]
    predicted_gain: float | None = None
    measured_gain: float | None = None
    accuracy: str = "unknown: not tried"


@dataclass
class Row:
    """One call of a module, or of a function inside a module's forward.

    Costs are the row's own: what a module does through rows of its own below it is theirs, so that
    the sum over all rows is the total.

    Args:
        name: qualified name; a function's is its module's name and its own.
        call: how many calls of that name came before; ``None`` for a module never called.
        label: the name, with ``#call`` where there are several calls.
        kind: what it is, such as ``"depthwise_conv2d"``, ``"batch_norm2d"``, ``"add"``.
        type: the class, with its module; of a function, ``"function"``.
        depth: how many calls it is inside of.
        parent: index of the row that called it.
        sources: indices of the rows whose results come in.
        role: what it does in this model, in one sentence.
        settings: kernel size, stride and what else distinguishes it, in words.
        input_shapes: shapes of the tensors that came in.
        output_shapes: shapes of the tensors that went out.
        dtype: of the first output.
        layout: of the first output: contiguous, channels_last or strided.
        channels_last: whether its images are (N, H, W, C), as Keras's are, whatever their layout.
        receptive_field: pixels of the input that one output position sees, per axis.
        stride: pixels of the input between neighbouring output positions, per axis.
        offset: centre of the first output position's field, per axis.
        parameters: trainable elements.
        frozen: elements of parameters that do not require a gradient.
        buffers: elements of registered buffers.
        forward: arithmetic and traffic of the forward pass.
        backward: of the backward pass.
        saved_bytes: activations that autograd keeps for the backward pass.
        uncounted: operators in it that have no formula.
        complexity: multiply-accumulates or operations as a formula.
        time_forward: measured.
        time_backward: measured.
        limit_forward: seconds that this machine's peak and bandwidth allow at best.
        limit_backward: the same for the backward pass.
        bound_by: what the forward limit is made of.
        health: what was seen in training.
    """

    name: str
    call: int | None
    label: str
    kind: str
    type: str
    depth: int
    parent: int | None
    sources: list[int] = field(default_factory=list)
    role: str = ""
    settings: str = ""
    input_shapes: list[Shape] = field(default_factory=list)
    output_shapes: list[Shape] = field(default_factory=list)
    dtype: str = ""
    layout: str = ""
    channels_last: bool = False
    receptive_field: Shape | None = None
    stride: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    parameters: int = 0
    frozen: int = 0
    buffers: int = 0
    forward: Cost = field(default_factory=Cost)
    backward: Cost = field(default_factory=Cost)
    saved_bytes: int = 0
    uncounted: list[str] = field(default_factory=list)
    complexity: str = ""
    time_forward: Timing | None = None
    time_backward: Timing | None = None
    limit_forward: float | None = None
    limit_backward: float | None = None
    bound_by: Literal["memory", "arithmetic"] | None = None
    health: Health | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass."""
        return self.forward.macs

    @property
    def is_container(self) -> bool:
        """Whether it only calls other rows."""
        return self.kind == "container"

    @property
    def fraction_of_limit(self) -> float | None:
        """Limit over time of the forward pass: 1 is as fast as this machine can."""
        if self.time_forward is None or self.limit_forward is None:
            return None
        return self.limit_forward / self.time_forward.median if self.time_forward.median else None


@dataclass(frozen=True)
class Totals:
    """The sums over all rows, and what has no row.

    Args:
        parameters: trainable elements, shared ones once.
        frozen: elements of parameters without a gradient.
        buffers: elements of buffers.
        forward: the rows' forward costs.
        backward: the rows' backward costs.
        saved_bytes: activations kept for the backward pass.
        peak_inference: most bytes alive in a forward pass without gradients, parameters included.
        peak_training: most bytes alive in forward and backward together, gradients included.
        uncounted: operators without a formula, and how often each ran.
        time_forward: the whole forward pass, measured without any instrument.
        time_backward: the whole backward pass.
        rest_forward: seconds of the forward pass that no row accounts for.
        rest_backward: the same of the backward pass.
        limit_forward: sum of the rows' limits.
        limit_backward: the same of the backward pass.
    """

    parameters: int
    frozen: int
    buffers: int
    forward: Cost
    backward: Cost
    saved_bytes: int
    peak_inference: int
    peak_training: int
    uncounted: dict[str, int]
    time_forward: Timing | None = None
    time_backward: Timing | None = None
    rest_forward: float | None = None
    rest_backward: float | None = None
    limit_forward: float | None = None
    limit_backward: float | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass."""
        return self.forward.macs

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass: two per MAC, and the rest."""
        return self.forward.flops

    @property
    def coverage(self) -> Literal["complete", "partial"]:
        """``"complete"`` if every operator that ran is in the books."""
        return "partial" if self.uncounted else "complete"


@dataclass
class Books:
    """A model's rows, their totals, and how they were found.

    Args:
        model: the model's class.
        rows: one per call, in the order of the calls.
        totals: over all rows.
        inputs: shapes of what the model was given.
        training: whether it was counted in training mode.
        notes: what the reader has to know of the count.
        operators: how often each operator ran, by direction.
        machine: whose limits the rows carry; ``None`` without.
        diagnoses: findings about training.
        advice: changes that may pay.
    """

    model: str
    rows: list[Row]
    totals: Totals
    inputs: list[Shape]
    training: bool
    notes: list[str] = field(default_factory=list)
    operators: dict[str, dict[str, int]] = field(default_factory=dict)
    machine: Machine | None = None
    diagnoses: list[Diagnosis] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The account as nested dictionaries and lists, costs with their FLOPs."""

        def with_flops(cost: dict[str, int]) -> dict[str, int]:
            kept = {k: cost[k] for k in ("macs", "other_flops", "bytes_read", "bytes_written")}
            return {**kept, "flops": 2 * cost["macs"] + cost["other_flops"]}

        result = asdict(self)
        for part in [*result["rows"], result["totals"]]:
            part["forward"] = with_flops(part["forward"])
            part["backward"] = with_flops(part["backward"])
        result["totals"]["coverage"] = self.totals.coverage
        return {
            "schema": 1,
            "conventions": "1 MAC = 2 FLOPs; forward and backward apart; bytes, seconds, pixels",
            **result,
        }
