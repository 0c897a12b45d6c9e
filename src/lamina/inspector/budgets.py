"""Budgets: what a model may cost at most, ``"macs<=600M,params<=5M,peak_memory<=200MB"``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lamina.errors import InputError, closest
from lamina.report.account import Account

__all__ = ["Budget", "exceeded", "parse_budgets"]


def _peak(account: Account) -> float:
    totals = account.totals
    return totals.peak_training if account.training else totals.peak_inference


def _forward_time(account: Account) -> float:
    if account.totals.time_forward is None:
        raise InputError("--fail-on: a budget for time needs --measure")
    return account.totals.time_forward.median


_QUANTITIES: dict[str, tuple[str, Callable[[Account], float]]] = {
    "macs": ("", lambda account: account.totals.macs),
    "flops": ("", lambda account: account.totals.flops),
    "params": ("", lambda account: account.totals.parameters + account.totals.frozen),
    "peak_memory": ("B", _peak),
    "saved": ("B", lambda account: account.totals.saved_bytes),
    "time": ("s", _forward_time),
}
_PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_FORM = re.compile(r"\s*(\w+)\s*<=\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True)
class Budget:
    """An upper bound of one quantity, in elements, operations, bytes or seconds."""

    quantity: str
    most: float
    written: str


def parse_budgets(text: str) -> list[Budget]:
    """Read budgets, apart by commas.

    Quantities: macs, flops (forward), params, peak_memory, saved (bytes for backward), time
    (forward). Units: k, M, G, T (powers of 1000); for memory kB ... GB and KiB ... GiB; for time
    s, ms, us.

    Raises:
        InputError: something that is no budget; the message quotes it.

    Example:
        >>> [(b.quantity, b.most) for b in parse_budgets("macs<=600M, peak_memory<=200MB")]
        [('macs', 600000000.0), ('peak_memory', 200000000.0)]
    """
    budgets = []
    for part in text.split(","):
        match = _FORM.fullmatch(part)
        if match is None:
            raise InputError(f"--fail-on: expected QUANTITY<=NUMBER[UNIT], got {part.strip()!r}")
        quantity, number, unit = match.groups()
        if quantity not in _QUANTITIES:
            known = list(_QUANTITIES)
            hint = closest(quantity, known)
            raise InputError(
                f"--fail-on: no quantity {quantity!r}{hint} (known: {', '.join(known)})"
            )
        budgets.append(Budget(quantity, float(number) * _scale(quantity, unit), part.strip()))
    return budgets


def _scale(quantity: str, unit: str) -> float:
    base = _QUANTITIES[quantity][0]
    if base == "s":
        scales = _SECONDS
    elif base == "B":
        scales = {f"{prefix}B": scale for prefix, scale in (_PREFIXES | _BINARY).items()}
        scales[""] = 1.0
    else:
        scales = _PREFIXES
    if unit not in scales:
        allowed = ", ".join(filter(None, scales)) or "none"
        raise InputError(f"--fail-on: {quantity} takes the units {allowed}, got {unit!r}")
    return scales[unit]


def exceeded(account: Account, budgets: list[Budget]) -> list[str]:
    """A line for each budget that the account is above."""
    lines = []
    for budget in budgets:
        value = _QUANTITIES[budget.quantity][1](account)
        if value > budget.most:
            lines.append(f"budget exceeded: {budget.written}, but {budget.quantity} is {value:,g}")
        if budget.quantity in ("macs", "flops") and account.totals.uncounted:
            lines.append(
                f"budget not shown: {budget.written}, but the count is partial "
                f"({', '.join(account.totals.uncounted)})"
            )
    return lines
