"""An account as text: the table of a terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lamina.report import html, table, units
from lamina.report.records import Books, Row, Timing
from lamina.report.table import Column, Table

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "as_table",
    "caveats",
    "render",
    "to_csv",
    "to_json",
    "to_markdown",
    "to_notebook",
    "to_text",
]

CONVENTIONS = "1 MAC = 2 FLOPs; FLOPs = 2·MACs + the rest; saved = kept by autograd for backward"


def milliseconds(seconds: float | None) -> str:
    """Write seconds as milliseconds.

    >>> milliseconds(0.0123), milliseconds(0.0000042)
    ('12.3', '0.0042')
    """
    return "–" if seconds is None else f"{1e3 * seconds:.3g}"


def measured_gain(seconds: float | None) -> str:
    """Write what a change brought when it was built and timed.

    >>> measured_gain(0.004), measured_gain(-0.032)
    ('measured here: saves 4 ms', 'measured here: no faster')
    """
    if seconds is None:
        return "not timed here"
    if seconds > 0:
        return f"measured here: saves {milliseconds(seconds)} ms"
    return "measured here: no faster"


def _columns(account: Books) -> list[Column]:
    def count(key: str, title: str) -> Column:
        return Column(key, title, units.count, "right")

    columns = [
        Column("layer", "Layer"),
        Column("kind", "Kind"),
        Column("settings", "Settings"),
        Column("output", "Output"),
        Column("field", "Sees", align="right"),
        count("parameters", "Parameters"),
        count("macs", "MACs"),
        Column("flops", "FLOPs", units.si, "right"),
        Column("backward", "Backward", units.si, "right"),
        Column("moved", "Moved", units.binary_bytes, "right"),
        Column("saved", "Saved", units.binary_bytes, "right"),
    ]
    if account.machine is not None:
        columns.append(Column("limit", "Limit ms", milliseconds, "right"))
        columns.append(Column("bound", "Bound by"))
    if account.totals.time_forward is not None:
        columns.append(Column("forward_time", "Forward ms", milliseconds, "right"))
        columns.append(Column("fraction", "Of limit", units.percent, "right"))
    if account.totals.time_backward is not None:
        columns.append(Column("backward_time", "Backward ms", milliseconds, "right"))
    return columns


def _median(timing: Timing | None) -> float | None:
    return timing.median if timing else None


def _cells(row: Row, *, tree: bool) -> dict[str, Any]:
    output = row.output_shapes[0] if row.output_shapes else None
    container = row.is_container
    return {
        "layer": _branch(row) if tree else row.label,
        "kind": "" if container else row.kind,
        "settings": row.settings,
        "output": units.shape(output) if output is not None else None,
        "field": units.shape(row.receptive_field) if row.receptive_field else None,
        "parameters": row.parameters + row.frozen or None,
        "macs": row.forward.macs or None,
        "flops": row.forward.flops or None,
        "backward": row.backward.flops or None,
        "moved": row.forward.bytes_moved or None,
        "saved": row.saved_bytes or None,
        "limit": row.limit_forward or None,
        "bound": row.bound_by if row.limit_forward else None,
        "forward_time": _median(row.time_forward),
        "fraction": row.fraction_of_limit,
        "backward_time": _median(row.time_backward),
    }


def _branch(row: Row) -> str:
    """The last part of the label, as deep as it was called: the tree shows the rest."""
    return "  " * row.depth + (row.label.rpartition(".")[2] or row.label)


def _rest(account: Books) -> Iterable[dict[str, Any]]:
    totals = account.totals
    if totals.rest_forward is not None:
        yield {
            "layer": "(rest)",
            "kind": "",
            "settings": "Python, autograd, gaps",
            "forward_time": totals.rest_forward,
            "backward_time": totals.rest_backward,
        }


def as_table(account: Books, *, tree: bool = False) -> Table:
    """The table of an account: a line per row, the totals last.

    Args:
        account: what is shown.
        tree: indent each layer below its caller; only where lines keep their order and spaces.
    """
    totals = account.totals
    sums = {
        "layer": f"Total ({totals.coverage})",
        "parameters": totals.parameters + totals.frozen,
        "macs": totals.macs,
        "flops": totals.flops,
        "backward": totals.backward.flops,
        "moved": totals.forward.bytes_moved,
        "saved": totals.saved_bytes,
        "limit": totals.limit_forward,
        "forward_time": _median(totals.time_forward),
        "backward_time": _median(totals.time_backward),
    }
    columns = _columns(account)
    rows = [_cells(row, tree=tree) for row in account.rows]
    return Table(columns, [*rows, *_rest(account)], total=sums)


def remarks(account: Books) -> list[str]:
    """What has to be said beside the table: memory, conventions, gaps, findings, advice."""
    totals = account.totals
    mode = "training" if account.training else "inference"
    inputs = ", ".join(units.shape(shape) for shape in account.inputs)
    lines = [
        f"Input {inputs}, {mode} mode. Peak memory {units.binary_bytes(totals.peak_inference)} "
        f"for inference, {units.binary_bytes(totals.peak_training)} forward and backward.",
        CONVENTIONS + ".",
    ]
    if totals.frozen or totals.buffers:
        kept = f"frozen {totals.frozen:,}, buffers {totals.buffers:,}"
        lines.append(f"Trainable {totals.parameters:,}, {kept}.")
    lines += caveats(account)
    lines += [f"{finding.where}: {finding.sentence}" for finding in account.diagnoses]
    for advice in account.advice:
        gain = measured_gain(advice.measured_gain)
        lines.append(f"Advice for {advice.where}: {advice.sentence} ({gain})")
    return [units.printable(line) for line in lines]


def caveats(account: Books) -> list[str]:
    """What limits the account: operators without a formula, and how it was counted."""
    totals, lines = account.totals, []
    if totals.uncounted:
        named = ", ".join(f"{name} ({count}x)" for name, count in totals.uncounted.items())
        lines.append(f"Partial: no formula for {named}.")
    lines += [f"Note: {note}." for note in account.notes]
    return lines


def render(account: Books) -> RenderableType:
    """What a rich console prints for an account."""
    from rich.console import Group
    from rich.text import Text

    title = Text(f"{units.printable(account.model)}", style="bold")
    lines = [Text(line, style="dim") for line in remarks(account)]
    return Group(title, table.to_terminal(as_table(account, tree=True)), *lines)


def to_text(account: Books) -> str:
    """The table as plain text at its natural width, so that nothing is cut when it is piped."""
    drawn = table.to_text(as_table(account, tree=True))
    return "\n".join([units.printable(account.model), drawn, *remarks(account)])


def to_notebook(account: Books) -> str:
    """The table as HTML, names escaped."""
    notes = [html.tag("p", line) for line in remarks(account)]
    head = html.tag("p", html.tag("b", account.model))
    return html.tag("div", head, html.table(as_table(account), sortable=False), notes)


def to_markdown(account: Books) -> str:
    """The table as GitHub-flavoured Markdown, with the remarks below."""
    lines = "\n".join(f"- {line}" for line in remarks(account))
    return f"{table.to_markdown(as_table(account))}\n\n{lines}\n"


def to_json(account: Books) -> str:
    """Everything an account holds; JSON knows no infinity, so what is not finite is null."""
    return json.dumps(_finite(account.as_dict()), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_CSV_FIELDS = [
    "label",
    "name",
    "call",
    "kind",
    "type",
    "depth",
    "settings",
    "role",
    "input_shapes",
    "output_shapes",
    "dtype",
    "layout",
    "receptive_field",
    "stride",
    "offset",
    "parameters",
    "frozen",
    "buffers",
    "saved_bytes",
    "bound_by",
    "limit_forward",
    "limit_backward",
    "complexity",
    "uncounted",
]


def to_csv(account: Books) -> str:
    """One line per row, every field of it; costs, times and health flattened."""
    rows = []
    for row in account.as_dict()["rows"]:
        flat = {key: _flat(row[key]) for key in _CSV_FIELDS}
        for direction in ("forward", "backward"):
            flat |= {f"{direction}_{key}": value for key, value in row[direction].items()}
            timing = row[f"time_{direction}"] or {}
            flat[f"time_{direction}_median"] = timing.get("median")
            flat[f"time_{direction}_spread"] = timing.get("spread")
        flat |= {f"health_{key}": value for key, value in (row["health"] or {}).items()}
        rows.append(flat)
    columns = {key: Column(key, key) for row in rows for key in row}
    return table.to_csv(Table(list(columns.values()), rows))


def _flat(value: object) -> object:
    """Sizes as 1x3x224x224, several of them apart by semicolons."""
    if not isinstance(value, list | tuple):
        return value
    if value and isinstance(value[0], list | tuple):
        return ";".join(str(_flat(item)) for item in value)
    separator = ";" if value and isinstance(value[0], str) else "x"
    return separator.join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
