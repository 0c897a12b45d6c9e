"""Sentences of the pages on speed whose numbers are those of the benchmarks' rows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from statistics import median
from typing import Any

from lamina.bench import layer_rows, network_rows
from lamina.bench.network_cases import RUNTIMES

_OURS = "lamina-optimize"
_MEMORY = ("batch_norm2d", "activation", "pool2d", "depthwise_conv2d", "dropout")
_PAST_THE_CACHES = [32, 96, 112, 112]
_MANY_CHANNELS = {("3×3 s2", 256), ("1×1 to 1024", 256), ("1×1 to 2048", 512)}


def speed(known: dict[str, Any], rows: Sequence[network_rows.Row]) -> str:
    """Whole networks against PyTorch and the runtimes, by geometric means."""
    means = {mean.case: mean for mean in network_rows.means(rows) if mean.side == _OURS}
    one, sixteen, step = (means[case] for case in ("inference-1", "inference-16", "training"))
    return _filled(
        f"Whole networks run {one.ratio_torch:.1f} times as fast as by the fastest of PyTorch's "
        f"ways for one image, {sixteen.ratio_torch:.1f} times for sixteen, "
        f"{step.ratio_torch:.1f} times in a training step; against the better of ONNX Runtime and "
        f"OpenVINO it is {one.ratio_runtimes:.1f} times for one and "
        f"{sixteen.ratio_runtimes:.1f} times for sixteen. Geometric means, float32, "
        f"{known['threads']} threads of an {known['processor']}."
    )


def behind(
    rows: Sequence[network_rows.Row], case: str, peers: Sequence[str]
) -> tuple[int, list[str]]:
    """How many networks were timed, and those in which one of the peers is the faster."""
    ours = [row for row in rows if (row.case, row.side) == (case, _OURS)]
    ratios = {row.network: network_rows.ratio(rows, row, peers) for row in ours}
    return len(ours), [name for name, ratio in ratios.items() if ratio and ratio < 1]


def shortfalls(rows: Sequence[network_rows.Row]) -> str:
    """Where a runtime, or PyTorch in bfloat16, is the faster."""
    images, slower = behind(rows, "inference-1", RUNTIMES)
    steps, halves = behind(rows, "training", ("torch-bf16",))
    return _filled(
        f"The better runtime is the faster for one image in {len(slower)} of {images} networks, "
        f"and PyTorch's bfloat16 in the training of {len(halves)} of {steps}"
        f"{': ' if halves else ''}{', '.join(halves)}."
    )


def accuracy(rows: Sequence[dict[str, Any]]) -> str:
    """How far outputs of other people's networks are from float64's, beside PyTorch's."""
    times = [row["our_error"] / row["torch_error"] for row in rows if row["torch_error"]]
    return _filled(
        f"The outputs are compared with float64's in the same run. In the median they are "
        f"{median(times):.1f} times as far from it as PyTorch's, at most {max(times):.1f} times."
    )


def products(rows: Sequence[layer_rows.Row]) -> str:
    """What oneDNN leaves of the peak where convolutions have many channels."""
    bound = [
        row
        for row in rows
        if (row.case, row.shape[1]) in _MANY_CHANNELS
        and (row.kind, row.layout, row.direction) == ("conv2d", "channels_last", "forward")
    ]
    peers = [row.limit_ms / min(row.peers_ms.values()) for row in bound]
    return _filled(
        f"At stride 2 with 256 channels, and in pointwise layers of 256 channels to 1024 and 512 "
        f"to 2048, PyTorch's best runs at {_percents(peers)} of the limit forward and we at "
        f"{_percents([row.limit_fraction for row in bound])}: little is left to gain."
    )


def memory(rows: Sequence[layer_rows.Row]) -> str:
    """How near the limit layers run that move more than the caches hold."""
    past = [
        row.limit_fraction
        for row in rows
        if row.kind in _MEMORY and row.direction == "both" and list(row.shape) == _PAST_THE_CACHES
    ]
    shape = "×".join(map(str, _PAST_THE_CACHES))
    return _filled(
        f"These layers are bound by memory. Past the caches, at {shape}, they run at "
        f"{_percents(past)} of the limit, both ways, {median(past) * 100:.0f} % in the median."
    )


def _percents(shares: Sequence[float]) -> str:
    return f"{min(shares) * 100:.0f} to {max(shares) * 100:.0f} %"


def _filled(said: str) -> str:
    return textwrap.fill(said, 100)
