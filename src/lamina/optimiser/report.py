"""What `lamina.optimize` did to each layer of a model, and why it left others alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from lamina.report.table import Column, Table, to_json, to_markdown, to_text

_COLUMNS = (
    Column("name", "layer"),
    Column("before", "was"),
    Column("after", "is"),
    Column("note", "note"),
)


@dataclass(frozen=True)
class Row:
    """A layer of the model.

    Args:
        name: its qualified name; ``"(model)"`` for the model itself.
        before: its class before.
        after: what it is now; None where it was left.
        note: what it is fused with, or why the layer was left or not fused; "" for nothing.
        fused: whether it is half of a pair of normalisation and activation.
    """

    name: str
    before: str
    after: str | None
    note: str = ""
    fused: bool = False


@dataclass(frozen=True)
class Report:
    """A row for every layer; prints as a table.

    Args:
        model: class of the model.
        rows: in the order of ``named_modules``.
        fused: how many pairs of normalisation and activation run in one pass.
        channels_last: layers whose weight was brought into that memory format.
    """

    model: str
    rows: tuple[Row, ...]
    fused: int = 0
    channels_last: tuple[str, ...] = ()

    @property
    def exchanged(self) -> list[Row]:
        """The layers that are lamina's now."""
        return [row for row in self.rows if row.after is not None]

    @property
    def left(self) -> list[Row]:
        """The layers that stayed what they were."""
        return [row for row in self.rows if row.after is None]

    def summary(self) -> str:
        """One line: how many layers were exchanged, how many pairs fused, how many left."""
        return (
            f"{self.model}: {len(self.exchanged)} layers exchanged, "
            f"{self.fused} batch norms fused with activations, {len(self.left)} left"
        )

    def to_markdown(self) -> str:
        """A GitHub-flavoured table."""
        return to_markdown(self._table())

    def to_json(self) -> str:
        """``{"rows": [{"name", "before", "after", "note"}, ...], "total": null}``."""
        return to_json(self._table())

    def __str__(self) -> str:
        """The layers that were left or might have been fused; the others by their number."""
        lines = [self.summary()]
        noted = [row for row in self.rows if row.note and not row.fused]
        if noted:
            lines += ["", to_text(self._table(noted)), ""]
        for verb, fused in (("exchanged", False), ("fused", True)):
            counts = Counter(row.before for row in self.exchanged if row.fused is fused)
            if counts:
                layers = ", ".join(f"{count} {kind}" for kind, count in counts.items())
                lines.append(f"{verb}: {layers}")
        return "\n".join(lines).rstrip()

    def _table(self, rows: list[Row] | None = None) -> Table:
        return Table(_COLUMNS, [asdict(row) for row in (self.rows if rows is None else rows)])
