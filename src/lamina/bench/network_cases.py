"""What the networks' benchmark can be asked for: networks, cases, sides."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lamina.errors import InputError, closest

NETWORKS = (
    "mobilenet_v2",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "resnet50",
    "vgg16",
)
"""Names of `lamina.models`; the peers run what ``lamina.restore`` makes of them."""


@dataclass(frozen=True)
class NetworkCase:
    """Images through a network, or a step of its training; ``calls`` of it are timed in a turn."""

    name: str
    batch: int
    pixels: int
    training: bool
    calls: int


CASES = (
    NetworkCase("inference-16", 16, 128, training=False, calls=3),
    NetworkCase("inference-1", 1, 224, training=False, calls=10),
    NetworkCase("training", 16, 128, training=True, calls=2),
)

TORCH = ("torch-nchw", "torch-channels-last", "torch-compile")
"""PyTorch's sides in float32: the first peers."""

BFLOAT16 = "torch-bf16"
"""Autocast, in training, where the processor has instructions for it: other numbers, no peer."""

OURS = ("lamina-optimize", "lamina-models")

RUNTIMES = ("onnxruntime", "openvino")
"""The second peers, in inference."""

SIDES = (*TORCH, BFLOAT16, *OURS, *RUNTIMES)


@dataclass(frozen=True)
class Plan:
    """What is benchmarked: checked, and whole.

    Args:
        networks: of `NETWORKS`.
        cases: of `CASES`.
        sides: of `SIDES`.
        rounds: turns that each side has in a case.
        threads: that each side may use.
        peers: the Python that has ONNX Runtime and OpenVINO; None where neither is a side.
    """

    networks: tuple[str, ...]
    cases: tuple[NetworkCase, ...]
    sides: tuple[str, ...]
    rounds: int
    threads: int
    peers: Path | None

    def sides_of(self, case: NetworkCase) -> list[str]:
        """Those that a case has: the runtimes do not train, and autocast does nothing else.

        Example:
            >>> plan(peers=None).sides_of(CASES[0])[-2:]
            ['lamina-optimize', 'lamina-models']
        """
        others = RUNTIMES if case.training else (BFLOAT16,)
        return [side for side in self.sides if side not in others]


def plan(
    networks: str | None = None,
    cases: str | None = None,
    sides: str | None = None,
    rounds: int = 9,
    threads: int | None = None,
    peers: Path | None = None,
) -> Plan:
    """Read what was typed; names stand between commas, and None is all that there are here.

    Raises:
        InputError: an unknown name, a number below 1, runtimes without a Python that has them.

    Example:
        >>> plan("resnet18,vgg16", cases="training").networks
        ('resnet18', 'vgg16')
        >>> plan("resnet19")
        Traceback (most recent call last):
        lamina.errors.InputError: networks: expected of mobilenet_v2, mobilenet_v3_large, \
efficientnet_b0, resnet18, resnet50, vgg16; got 'resnet19'; did you mean 'resnet18'?
    """
    for name, number in (("rounds", rounds), ("threads", threads)):
        if number is not None and number < 1:
            raise InputError(f"{name}: expected a whole number of at least 1, got {number}")
    here = [
        *TORCH,
        *([BFLOAT16] if has_bfloat16() else []),
        *OURS,
        *(RUNTIMES if peers else ()),
    ]
    chosen = _chosen("sides", sides, SIDES, here)
    runtimes = [side for side in chosen if side in RUNTIMES]
    if runtimes and peers is None:
        raise InputError(f"sides: {runtimes[0]} needs --peers PYTHON, an environment that has it")
    if peers is not None and not (peers.is_file() and os.access(peers, os.X_OK)):
        raise InputError(f"peers: expected an environment's python, got {str(peers)!r}")
    by_name = {case.name: case for case in CASES}
    return Plan(
        _chosen("networks", networks, NETWORKS, NETWORKS),
        tuple(by_name[name] for name in _chosen("cases", cases, by_name, by_name)),
        chosen,
        rounds,
        threads or cores(),
        peers,
    )


def _chosen(
    name: str, typed: str | None, known: Iterable[str], unless: Iterable[str]
) -> tuple[str, ...]:
    if typed is None:
        return tuple(unless)
    known, words = list(known), [word.strip() for word in typed.split(",")]
    for word in words:
        if word not in known:
            raise InputError(
                f"{name}: expected of {', '.join(known)}; got {word!r}{closest(word, known)}"
            )
    return tuple(dict.fromkeys(words))


def cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 by instructions of its own: AMX."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text(errors="replace").split()
