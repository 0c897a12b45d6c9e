"""One line of theory for a layer, with the sizes of this call put in."""

from __future__ import annotations

from lamina.inspector.count.facts import times
from lamina.inspector.explain.parts import Gates, Part
from lamina.inspector.explain.readings import (
    Convolution,
    Dense,
    Elementwise,
    Join,
    Normalisation,
    Pool,
)
from lamina.report.units import count, si

__all__ = ["theory_of"]


def theory_of(part: Part) -> str:
    """The line; empty where theory has nothing to say."""
    match part.reading:
        case Convolution() as found:
            return f"{_window(found, tuple(found.weight.shape[2:]))}; {_convolution(found, part)}"
        case Pool() as found if found.is_global:
            values = times(found.x.shape[1:])
            made = "largest" if found.mode == "max" else "mean"
            return f"the {made} of {values} values for each of {found.x.shape[0]} channels"
        case Pool() as found if found.kernel is not None:
            taps = found.kernel[0] * found.kernel[1]
            done = "comparisons" if found.mode == "max" else "additions"
            return (
                f"{_window(found, found.kernel)}; {taps} {done} at most for each of "
                f"{times(found.y.shape)} outputs; no parameters"
            )
        case Pool() as found:
            return f"{times(found.x.shape[1:])} pixels in {times(found.y.shape[1:])} windows"
        case Dense() as found:
            features, outputs = found.x.numel(), found.y.numel()
            bias = f" + {outputs}" if found.bias is not None else ""
            held = features * outputs + (outputs if found.bias is not None else 0)
            return (
                f"{features} · {outputs}{bias} = {count(held)} parameters; "
                f"{features} multiplications for each of {outputs} outputs = "
                f"{_macs(features * outputs)}"
            )
        case Normalisation() as found:
            return (
                f"y = (x − mean) / √(variance + {found.epsilon:g}) · weight + bias, four numbers "
                f"for each of {found.x.shape[0]} channels, the same at {times(found.x.shape[1:])} "
                "positions"
            )
        case Elementwise() as found:
            return f"y = {found.function.formula}, for each of {count(found.x.numel())} values"
        case Gates() as found:
            channels, hidden = found.gates.numel(), found.hidden.numel()
            return (
                f"{channels} means → {hidden} → {channels} gates = "
                f"{_macs(2 * channels * hidden)}; then {times(found.x.shape)} values by their gate"
            )
        case Join() as found:
            return _join(found)
    return _moved(part)


def _macs(number: int) -> str:
    return f"{si(number)} MACs"


def _window(reading: Convolution | Pool, kernel: tuple[int, ...]) -> str:
    """How many windows fit: one axis where both are alike."""
    lines = []
    for axis in (0, 1):
        before, after = reading.padding[axis]
        reach = reading.dilation[axis] * (kernel[axis] - 1) + 1
        padding = f" + {before} + {after}" if before or after else ""
        step = reading.stride[axis]
        size, out = reading.x.shape[1 + axis], reading.y.shape[1 + axis]
        exact = size + before + after - reach
        rounded = "⌈" if exact // step + 1 < out else "⌊"
        closing = "⌉" if rounded == "⌈" else "⌋"
        inner = f"{size}{padding} − {reach}"
        fitted = f"{rounded}({inner}) / {step}{closing}" if step > 1 else inner
        lines.append(f"{out} = {fitted} + 1")
    return lines[0] if lines[0] == lines[1] else f"rows {lines[0]}, columns {lines[1]}"


def _convolution(reading: Convolution, part: Part) -> str:
    window = reading.weight.shape[1:]
    terms = " · ".join(str(size) for size in window if size > 1) or "1"
    outputs = " · ".join(map(str, reading.y.shape))
    return (
        f"{terms} multiplications for each of {outputs} outputs = "
        f"{_macs(reading.weight[0].numel() * reading.y.numel())}"
    )


def _join(reading: Join) -> str:
    values = f"each of {times(reading.y.shape)} values"
    match reading.operation:
        case "add":
            return f"y = a + b, for {values}; no parameters"
        case "subtract":
            return f"y = a − b, for {values}; no parameters"
        case "multiply":
            return f"y = a · b, for {values}; no parameters"
    parts = " + ".join(str(getattr(one, "shape", [1])[0]) for one in reading.operands)
    return f"{parts} = {reading.y.shape[0]} channels; nothing is computed"


def _moved(part: Part) -> str:
    if part.kind == "input":
        return ""
    if part.closed:
        return part.visit.row.complexity
    if "dropout" in part.kind or "drop_path" in part.kind:
        return "in use y = x; a training step drops values at random and scales the others up"
    before = part.steps[0].operands[0].shape if part.steps[0].operands else ()
    after = part.last.result.shape
    if tuple(before) != tuple(after):
        return f"{times(before)} laid out as {times(after)}; nothing is computed"
    return "the numbers stay as they are"
