"""A card per layer: what it is, its theory, its numbers, its health, and advice."""

from __future__ import annotations

from collections.abc import Iterable

from lamina.report import units
from lamina.report.html import Html, definitions, tag
from lamina.report.inspection.table import measured_gain, milliseconds
from lamina.report.records import Advice, Books, Row

__all__ = ["cards", "findings"]

_THEORY = {
    "depthwise_conv": "Each channel is filtered by kernels of its own. A channel takes k² MACs per "
    "pixel, however many channels there are; for so few, memory decides the time.",
    "pointwise_conv": "A matrix product over the channels at every pixel. It mixes channels and "
    "does not look at neighbours.",
    "separable_conv": "A depthwise convolution, then a pointwise one: k² + M MACs per input "
    "channel and pixel in the place of k²·M.",
    "conv_transpose": "The gradient of a convolution used forward: every input pixel is spread "
    "over a window of the output.",
    "conv": "Every output is a weighted sum over a window of all channels of its group.",
    "batch_norm": "Brings each channel to mean 0 and deviation 1, then scales and shifts it. In "
    "inference that is one multiplication and one addition, which the convolution before it can "
    "take over.",
    "max_pool": "Keeps the largest value of each window; its gradient goes to that value alone.",
    "avg_pool": "The mean of each window; its gradient is spread evenly.",
    "dense": "Every output depends on every input: a matrix product, bound by reading the weights "
    "once the batch is small.",
    "activation": "One number in, one number out: bound by memory.",
    "dropout": "Sets values to zero at random in training and scales the others up; the identity "
    "in inference.",
    "squeeze_excite": "Weighs the channels by what the whole image shows.",
    "attention": "Every position looks at every other one: work grows with the square of the "
    "positions.",
    "add": "Joins branches; its gradient goes to both unchanged.",
}


def theory_of(kind: str) -> str:
    """What every layer of a kind does.

    >>> theory_of("max_pool2d").startswith("Keeps the largest")
    True
    """
    return next((text for name, text in _THEORY.items() if kind.startswith(name)), "")


def _numbers(row: Row) -> dict[str, object]:
    facts: dict[str, object] = {
        "Class": row.type,
        "Settings": row.settings,
        "Input": ", ".join(units.shape(shape) for shape in row.input_shapes),
        "Output": ", ".join(units.shape(shape) for shape in row.output_shapes),
        "Layout, type": f"{row.layout}, {row.dtype}" if row.dtype else "",
    }
    if row.receptive_field and row.stride and row.offset:
        facts["Sees"] = f"{units.shape(row.receptive_field)} pixels"
        facts["Step, offset"] = (
            f"{'×'.join(f'{s:g}' for s in row.stride)}, {'×'.join(f'{o:g}' for o in row.offset)}"
        )
    for name, value in (
        ("Parameters", row.parameters),
        ("Frozen parameters", row.frozen),
        ("Buffers", row.buffers),
        ("MACs forward", row.forward.macs),
        ("MACs backward", row.backward.macs),
        ("Other FLOPs forward", row.forward.other_flops),
        ("Other FLOPs backward", row.backward.other_flops),
    ):
        if value:
            facts[name] = units.count(value)
    if row.forward.bytes_moved:
        read, written = row.forward.bytes_read, row.forward.bytes_written
        facts["Read, written"] = f"{units.binary_bytes(read)}, {units.binary_bytes(written)}"
        facts["FLOPs per byte"] = f"{row.forward.arithmetic_intensity:.3g}"
    if row.saved_bytes:
        facts["Saved for backward"] = units.binary_bytes(row.saved_bytes)
    facts |= _times(row)
    return {name: value for name, value in facts.items() if value}


def _times(row: Row) -> dict[str, object]:
    facts: dict[str, object] = {}
    for name, timing, limit in (
        ("Forward", row.time_forward, row.limit_forward),
        ("Backward", row.time_backward, row.limit_backward),
    ):
        if timing:
            facts[name] = f"{milliseconds(timing.median)} ms ± {milliseconds(timing.spread)}"
        if limit:
            facts[f"{name} limit"] = f"{milliseconds(limit)} ms"
    if row.fraction_of_limit:
        facts["Of the limit"] = units.percent(row.fraction_of_limit)
    if row.bound_by:
        facts["Bound by"] = row.bound_by
    if row.complexity:
        facts["FLOPs, as a formula"] = row.complexity.replace("**2", "²").replace("*", "·")
    return facts


def _health(row: Row) -> dict[str, str]:
    health = row.health
    if health is None:
        return {}
    seen = {
        "Activation mean": health.activation_mean,
        "Activation deviation": health.activation_std,
        "Gradient norm": health.gradient_norm,
        "Mean |gradient|": health.gradient_mean,
        "Update / weight": health.update_ratio,
        "Running against batch mean": health.statistics_gap,
    }
    shown = {name: f"{value:.3g}" for name, value in seen.items() if value is not None}
    if health.dead is not None:
        shown["Dead channels"] = units.percent(health.dead)
    return shown


def _advice(advice: Advice) -> Html:
    tried = measured_gain(advice.measured_gain)
    predicted = advice.predicted_gain
    hoped = f"predicted {1e3 * predicted:+.3g} ms; " if predicted else ""
    evidence = "; ".join(f"{name} {_figure(value)}" for name, value in advice.evidence.items())
    return tag(
        "p",
        advice.sentence,
        tag("small", f"{advice.rule} · {evidence} · {hoped}{tried} · accuracy {advice.accuracy}"),
        class_="finding",
    )


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def cards(account: Books) -> Html:
    """A closed card for every row in a closed list; JavaScript opens both where one is clicked."""
    return tag(
        "details",
        tag("summary", f"All {len(account.rows)}"),
        tag("div", list(_cards(account)), class_="cards"),
        class_="list",
    )


def _cards(account: Books) -> Iterable[Html]:
    for index, row in enumerate(account.rows):
        advice = [item for item in account.advice if item.where == row.name and row.call == 0]
        found = [item for item in account.diagnoses if item.where == row.name and row.call == 0]
        theory, health = theory_of(row.kind), _health(row)
        uncounted = f"No formula for {', '.join(row.uncounted)}." if row.uncounted else ""
        yield tag(
            "details",
            tag(
                "summary",
                tag("b", row.label),
                tag("span", "" if row.is_container else row.kind, class_="kind"),
                tag("span", row.role, class_="role"),
            ),
            tag(
                "div",
                tag("p", theory) if theory else None,
                definitions(_numbers(row)),
                (tag("h3", "Health"), definitions(health)) if health else None,
                tag("p", uncounted) if uncounted else None,
                [tag("p", item.sentence, class_="finding") for item in found],
                [_advice(item) for item in advice],
            ),
            id=f"card-{index}",
            class_="card says" if advice or found else "card",
        )


def findings(account: Books) -> Html | None:
    """Diagnoses and advice of the whole model, the first thing to read; ``None`` without any."""
    parts = [
        tag(
            "p",
            tag("b", item.where),
            " ",
            item.sentence,
            tag("small", f"{item.rule}: {item.measured:.4g}, threshold {item.threshold:.4g}"),
            class_="finding",
        )
        for item in account.diagnoses
    ]
    parts += [tag("div", tag("b", item.where), _advice(item)) for item in account.advice]
    return tag("div", parts) if parts else None
