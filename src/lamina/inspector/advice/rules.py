"""Changes that may pay: each with its evidence, and its gain measured here by building it.

A rule looks at the rows and at the weights, says what to change and what the limits of this
machine promise, and hands over both variants; the clock decides. What a change does to accuracy
is not known until the model has been trained with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn

from lamina.inspector.advice.compare import seconds_of_each
from lamina.inspector.advice.variants import exchanged, kept_energy, separated
from lamina.inspector.trace.untouched import untouched
from lamina.report.records import Advice, Row
from lamina.theory.limits import Machine, time_limit

__all__ = ["advise"]

_SHARE = 0.05  # of all MACs or parameters: less is not worth a change
_MOST = 3  # candidates of a rule that are built and timed
_FASTER = 1.10  # times, by theory and by the clock, before speed is a reason to change


@dataclass(frozen=True)
class Proposal:
    """Advice that has not been timed, and the two variants to be timed.

    Args:
        advice: what would be said.
        now: the layer as it is.
        then: what would take its place.
        input_shape: of what both are called on.
        layout: of that.
        saves_parameters: what is advised for those may take as long as before, but not longer.
    """

    advice: Advice
    now: Callable[[Tensor], Tensor]
    then: Callable[[Tensor], Tensor]
    input_shape: tuple[int, ...]
    layout: str
    saves_parameters: bool = False


def advise(
    model: nn.Module, rows: Sequence[Row], machine: Machine, seconds: float = 0.3
) -> list[Advice]:
    """Advice for a model, what saves most first.

    Args:
        model: the inspected module; nothing of it is changed.
        rows: its rows, with their limits.
        machine: peak and bandwidth, for predictions.
        seconds: how long each change is timed.
    """
    found = []
    # Building a variant draws random numbers, and a batch norm in training moves its statistics.
    with untouched(model, data=True):
        for rule in (
            _separable,
            _pooled_head,
            _norm_after_activation,
            _bias_before_norm,
            _exchange,
        ):
            for proposal in list(rule(model, rows, machine))[:_MOST]:
                advice = _tried(proposal, seconds)
                if advice is not None:
                    found.append(advice)
    return sorted(found, key=lambda advice: -(advice.measured_gain or 0.0))


def _tried(proposal: Proposal, seconds: float) -> Advice | None:
    """The advice with its gain; ``None`` where the theory or the clock speaks against it."""
    least = 1 / _FASTER if proposal.saves_parameters else _FASTER
    predicted = proposal.advice.predicted_gain
    if predicted is not None and (predicted < 0 or (predicted == 0 and least > 1)):
        return None
    x = _input(proposal.input_shape, proposal.layout)
    now, then = seconds_of_each([proposal.now, proposal.then], x, seconds)
    if now < least * then:
        return None
    evidence = {**proposal.advice.evidence, "now_ms": 1e3 * now, "then_ms": 1e3 * then}
    return replace(proposal.advice, measured_gain=now - then, evidence=evidence)


def _input(shape: tuple[int, ...], layout: str) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    wanted = layout == "channels_last" and len(shape) == 4
    return x.contiguous(memory_format=torch.channels_last) if wanted else x


def _module(model: nn.Module, row: Row) -> nn.Module | None:
    if row.type == "function" or row.call != 0:
        return None
    return dict(model.named_modules()).get(row.name)  # none of that name: Keras's, or made later


def _convolution(model: nn.Module, row: Row) -> nn.Conv2d | None:
    module = _module(model, row)
    plain = isinstance(module, nn.Conv2d) and not isinstance(module.padding, str)
    return module if isinstance(module, nn.Conv2d) and plain else None


def _source(rows: Sequence[Row], row: Row) -> Row | None:
    return rows[row.sources[0]] if len(row.sources) == 1 else None


def _separable(model: nn.Module, rows: Sequence[Row], machine: Machine) -> Iterator[Proposal]:
    """A depthwise separable convolution in the place of a convolution that does much."""
    total = sum(row.macs for row in rows) or 1
    for row in sorted(rows, key=lambda row: -row.macs):
        conv = _convolution(model, row)
        if row.kind != "conv2d" or conv is None or conv.groups != 1 or conv.in_channels < 8:
            continue
        if row.macs < _SHARE * total:
            return
        depthwise, pointwise = separated(conv)
        pixels = prod(row.output_shapes[0][2:]) * row.output_shapes[0][0]
        macs = pixels * (depthwise.weight.numel() + pointwise.weight.numel())
        if row.macs < _FASTER * macs:
            continue
        cost = replace(row.forward, macs=macs)
        energy = kept_energy(conv.weight.detach())
        yield Proposal(
            Advice(
                "separable_convolution",
                row.name,
                f"A depthwise separable convolution takes {row.macs / macs:.1f} times fewer MACs; "
                f"without retraining it can keep {energy:.0%} of the energy of these weights.",
                {"kept_energy": energy, "macs_now": row.macs, "macs_then": macs,
                 "share_of_macs": row.macs / total, "threshold_share": _SHARE},
                predicted_gain=time_limit(row.forward, machine) - time_limit(cost, machine),
            ),
            conv,
            nn.Sequential(depthwise, pointwise),
            row.input_shapes[0],
            row.layout,
        )  # fmt: skip


def _pooled_head(model: nn.Module, rows: Sequence[Row], machine: Machine) -> Iterator[Proposal]:
    """A global pool before the head in the place of a dense layer on every pixel."""
    total = sum(row.parameters + row.frozen for row in rows) or 1
    for row in rows:
        dense = _module(model, row)
        before = _source(rows, row)
        while before is not None and before.kind in ("flatten", "dropout", "activation", "view"):
            images = [shape for shape in before.input_shapes if len(shape) == 4]
            if images:
                break
            before = _source(rows, before)
        if not isinstance(dense, nn.Linear) or before is None or row.parameters < _SHARE * total:
            continue
        shape = next((s for s in before.input_shapes if len(s) == 4), ())
        if len(shape) != 4 or prod(shape[2:]) < 2 or prod(shape[1:]) != dense.in_features:
            continue
        small = nn.Linear(shape[1], dense.out_features, bias=dense.bias is not None)
        saved = row.parameters - sum(p.numel() for p in small.parameters())
        cost = replace(
            row.forward,
            macs=shape[0] * small.weight.numel(),
            bytes_read=4 * (prod(shape) + small.weight.numel()),
        )
        yield Proposal(
            Advice(
                "global_pooling_head",
                row.name,
                f"{saved / total:.0%} of all parameters are this layer's weights for single "
                f"pixels; a global average pool before it needs {saved:,} parameters less.",
                {"parameters_saved": saved, "share": saved / total, "threshold_share": _SHARE},
                predicted_gain=time_limit(row.forward, machine) - time_limit(cost, machine),
            ),
            nn.Sequential(nn.Flatten(), dense),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), small),
            shape,
            row.layout,
            saves_parameters=True,
        )


def _norm_after_activation(
    model: nn.Module, rows: Sequence[Row], machine: Machine
) -> Iterator[Proposal]:
    """A batch norm behind the activation, which no convolution before it can take over."""
    for row in rows:
        norm, before = _module(model, row), _source(rows, row)
        if not isinstance(norm, nn.BatchNorm2d) or before is None or before.kind != "activation":
            continue
        source = _source(rows, before)
        conv = _convolution(model, source) if source is not None else None
        if source is None or conv is None:
            continue
        act = _module(model, before)
        activation: nn.Module = nn.ReLU() if act is None else act
        yield Proposal(
            Advice(
                "norm_before_activation",
                row.name,
                f"It stands behind {before.label}. In front of it, it folds into {source.label} "
                "for inference and costs nothing there.",
                {"flops": row.forward.flops, "bytes": row.forward.bytes_moved},
                predicted_gain=time_limit(row.forward, machine),
            ),
            nn.Sequential(conv, activation, norm).eval(),
            nn.Sequential(conv, activation),
            source.input_shapes[0],
            source.layout,
        )  # fmt: skip


def _bias_before_norm(
    model: nn.Module, rows: Sequence[Row], machine: Machine
) -> Iterator[Proposal]:
    """A bias that the batch norm behind it takes out again."""
    for row in rows:
        before = _source(rows, row)
        if not row.kind.startswith("batch_norm") or before is None:
            continue
        conv = _convolution(model, before)
        if conv is None or conv.bias is None:
            continue
        bare = nn.Conv2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,  # type: ignore[arg-type]
            conv.padding, conv.dilation, conv.groups, bias=False,  # type: ignore[arg-type]
        )  # fmt: skip
        bare.weight = conv.weight
        cost = replace(before.forward, other_flops=0)
        yield Proposal(
            Advice(
                "bias_before_norm",
                before.name,
                f"{row.label} subtracts the mean, and with it this bias: "
                f"{conv.bias.numel():,} parameters do nothing in training.",
                {"parameters": conv.bias.numel(), "flops": before.forward.other_flops},
                predicted_gain=time_limit(before.forward, machine) - time_limit(cost, machine),
                accuracy="unchanged in training; fold the bias into the running mean first",
            ),
            conv,
            bare,
            before.input_shapes[0],
            before.layout,
            saves_parameters=True,
        )


def _exchange(model: nn.Module, rows: Sequence[Row], machine: Machine) -> Iterator[Proposal]:
    """A layer of torch.nn for which lamina.nn has a faster one; advised only if it is."""
    seen = set()
    slow_first = sorted(rows, key=lambda row: -(row.time_forward.median if row.time_forward else 0))
    for row in slow_first:
        module = _module(model, row)
        same = (row.type, row.settings, *row.input_shapes[:1])
        other = exchanged(module) if module is not None and same not in seen else None
        if module is None or other is None:
            continue
        seen.add(same)
        took = row.time_forward.median if row.time_forward else None
        limit = row.limit_forward or 0.0
        yield Proposal(
            Advice(
                "exchange_layer",
                row.name,
                f"lamina.nn.{type(other).__name__} computes the same faster here; lamina.optimize "
                "exchanges it and keeps weights and names.",
                {"threshold_times_faster": _FASTER},
                predicted_gain=None if took is None else took - limit,
                accuracy="unchanged: the same function",
            ),
            module,
            other,
            row.input_shapes[0],
            row.layout,
        )
