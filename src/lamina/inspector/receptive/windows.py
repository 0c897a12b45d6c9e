"""How sliding windows change receptive fields: convolution, pooling, resampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lamina.inspector.receptive.field import Call, Field, Rule, Span

__all__ = ["WINDOW_RULES", "per_dim", "slide"]

WINDOW_RULES: dict[str, Rule] = {}


def window_rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for the operators of those names."""

    def register(rule: Rule) -> Rule:
        WINDOW_RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def per_dim(value: int | Sequence[int], rank: int) -> list[int]:
    """One value for all of ``rank`` axes, or one per axis, as a list."""
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def slide(
    call: Call, windows: Sequence[tuple[int, float, float, int]], mixes: bool
) -> Field | None:
    """Slide windows (size, stride, padding, dilation) over the last axes."""
    field = call.field()
    if field is None:
        return None
    shape, rank = call.shape(), len(windows)
    spatial = len(shape) - rank
    spans = field.without([spatial - 1] if mixes and spatial else [], shape)
    axes = list(field.axes)
    if mixes and spatial:
        axes[spatial - 1] = None
    for dim, window in enumerate(windows, start=spatial):
        source = axes[dim]
        if source is not None:
            spans[source] = spans[source].window(*window)
    return Field(tuple(axes), spans)


@window_rule("convolution", "_convolution")
def _convolution(call: Call) -> Field | None:
    stride, padding, dilation, transposed = call.args[3:7]
    kernel = call.shape(1)[2:]
    rank = len(kernel)
    windows = list(
        zip(kernel, *(per_dim(v, rank) for v in (stride, padding, dilation)), strict=True)
    )
    if not transposed:
        return slide(call, windows, mixes=True)
    field = call.field()
    if field is None:
        return None
    spans = field.without([1], call.shape())
    for source, window in zip(field.axes[2:], windows, strict=True):
        if source is not None:
            spans[source] = spans[source].spread(*window)
    return Field((field.axes[0], None, *field.axes[2:]), spans)


@window_rule("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool1d_with_indices")
def _max_pool(call: Call) -> Field | None:
    return _pool(call, call.arg(4, "dilation", 1))


@window_rule("avg_pool2d", "avg_pool3d", "avg_pool1d")
def _avg_pool(call: Call) -> Field | None:
    return _pool(call, 1)


def _pool(call: Call, dilation: int | Sequence[int]) -> Field | None:
    rank = call.out.dim() - 1 if call.out.dim() < 4 else call.out.dim() - 2
    kernel = per_dim(call.args[1], rank)
    stride = per_dim(call.arg(2, "stride") or kernel, len(kernel))
    padding = per_dim(call.arg(3, "padding", 0), len(kernel))
    windows = zip(kernel, stride, padding, per_dim(dilation, len(kernel)), strict=True)
    return slide(call, list(windows), mixes=False)


@window_rule(
    "_adaptive_avg_pool2d", "adaptive_max_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool3d"
)
def _adaptive(call: Call) -> Field | None:
    windows = []
    rank = len(call.args[1])
    for size, bins in zip(call.shape()[-rank:], call.out.shape[-rank:], strict=True):
        # Bins that do not divide the size overlap by up to a pixel on either side.
        ragged = 0 if size % bins == 0 else 1
        windows.append((-(-size // bins) + 2 * ragged, size / bins, ragged, 1))
    return slide(call, windows, mixes=False)


@window_rule(
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d"
)
def _nearest(call: Call) -> Field | None:
    return _resample(call, lambda ratio: (ratio - 1.0, 0.0))


@window_rule(
    "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa"
)
def _linear(call: Call) -> Field | None:
    return _resample(call, lambda ratio: ((ratio - 1) / 2 - 1, (ratio - 1) / 2 + 1))


def _resample(call: Call, reach: Callable[[float], tuple[float, float]]) -> Field | None:
    field = call.field()
    if field is None:
        return None
    spans = dict(field.spans)
    for dim in range(2, len(field.axes)):
        source = field.axes[dim]
        if source is not None:
            ratio = call.shape()[dim] / call.out.shape[dim]
            low, high = reach(ratio)
            span = spans[source]
            spans[source] = Span(
                span.step * ratio, span.low + low * span.step, span.high + high * span.step, True
            )
    return Field(field.axes, spans)
