"""One table, six forms: terminal, text, JSON, CSV, Markdown; HTML stands in `report.html`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.table import Table as RichTable

from lamina.report.units import printable


@dataclass(frozen=True)
class Column:
    """A column of a `Table`.

    Args:
        key: the field of a row that it shows; the name of the field in JSON and CSV.
        title: its heading for people.
        form: how a value is written for people; JSON and CSV get the value itself.
        align: ``"right"`` for numbers.
    """

    key: str
    title: str
    form: Callable[[Any], str] = str
    align: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class Table:
    """Rows of plain values with the columns that show them.

    Args:
        columns: what is shown, in order.
        rows: a mapping per row; a missing or None value is shown as an en dash.
        total: a last row set apart, or None.
        title: a line above the table in a terminal; a caption elsewhere.

    Example:
        >>> columns = (Column("kind", "Kind"), Column("macs", "MACs", "{:,}".format, "right"))
        >>> table = Table(columns, [{"kind": "Conv2d", "macs": 1728}])
        >>> print(to_markdown(table))
        | Kind | MACs |
        | --- | ---: |
        | Conv2d | 1,728 |
    """

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    total: Mapping[str, Any] | None = None
    title: str = ""


def cell_text(column: Column, row: Mapping[str, Any]) -> str:
    """Write one cell for people, control characters spelt out."""
    value = row.get(column.key)
    return "–" if value is None else printable(column.form(value))


def to_terminal(table: Table) -> RichTable:
    """Return a rich table, to be printed by a `rich.console.Console`."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=table.title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_footer=table.total is not None,
        header_style="bold",
        footer_style="bold",
        pad_edge=False,
    )
    for column, total in zip(table.columns, _total_cells(table), strict=True):
        drawn.add_column(Text(column.title), Text(total), justify=column.align, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell_text(column, row)) for column in table.columns))
    return drawn


def to_text(table: Table) -> str:
    """Return the table as plain text at its natural width, so that nothing is cut when piped.

    Example:
        >>> columns = (Column("kind", "Kind"), Column("macs", "MACs", "{:,}".format, "right"))
        >>> print(to_text(Table(columns, [{"kind": "Conv2d", "macs": 1728}])))
        Kind     MACs
        ─────────────
        Conv2d  1,728
    """
    head = [column.title for column in table.columns]
    body = [[cell_text(column, row) for column in table.columns] for row in table.rows]
    foot = [_total_cells(table)] if table.total is not None else []
    widths = [max(map(len, cells)) for cells in zip(head, *body, *foot, strict=True)]

    def line(cells: Iterable[str]) -> str:
        padded = [
            cell.rjust(width) if column.align == "right" else cell.ljust(width)
            for column, cell, width in zip(table.columns, cells, widths, strict=True)
        ]
        return "  ".join(padded).rstrip()

    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line(head), rule, *map(line, body)]
    for cells in foot:
        lines += [rule, line(cells)]
    return "\n".join([table.title, *lines] if table.title else lines)


def _total_cells(table: Table) -> list[str]:
    """The total, cell by cell; empty where it names no value: a dash means "unknown"."""
    total = table.total or {}
    return [cell_text(column, total) if column.key in total else "" for column in table.columns]


def to_json(table: Table) -> str:
    """Return ``{"rows": [...], "total": {...} | null}`` with the values themselves."""

    def shown(row: Mapping[str, Any]) -> dict[str, Any]:
        return {column.key: row.get(column.key) for column in table.columns}

    total = None if table.total is None else shown(table.total)
    return json.dumps({"rows": [shown(row) for row in table.rows], "total": total}, indent=2)


def to_csv(table: Table) -> str:
    """Return comma-separated values with the keys as header; None is an empty field."""
    out = io.StringIO()
    writer = csv.DictWriter(
        out, [c.key for c in table.columns], extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(table.rows)
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """Return a GitHub-flavoured Markdown table; the total is its last row, in bold."""

    def cell(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|")

    lines = [
        [cell(column.title) for column in table.columns],
        ["---:" if column.align == "right" else "---" for column in table.columns],
    ]
    lines += [[cell(cell_text(c, row)) for c in table.columns] for row in table.rows]
    if table.total is not None:
        lines.append([f"**{cell(text)}**" if text else "" for text in _total_cells(table)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
