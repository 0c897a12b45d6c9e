"""A model's account: the books that the inspector keeps, in every form that a reader wants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lamina.report.inspection import page, table
from lamina.report.records import Books

__all__ = ["Account"]


@dataclass
class Account(Books):
    """A model's rows and totals, which print as a table and go to JSON, CSV, Markdown and HTML.

    Example:
        >>> import torch, lamina
        >>> account = lamina.inspect(torch.nn.Linear(4, 2), input_size=(1, 4))
        >>> account.totals.macs, account.totals.coverage
        (8, 'complete')
    """

    def __str__(self) -> str:
        return table.to_text(self)

    def _repr_html_(self) -> str:
        return table.to_notebook(self)

    def to_json(self) -> str:
        """Everything, as JSON text; costs with ``flops`` spelt out."""
        return table.to_json(self)

    def to_csv(self) -> str:
        """One line per row; shapes as 1x3x224x224."""
        return table.to_csv(self)

    def to_markdown(self) -> str:
        """The table that a terminal shows, as Markdown."""
        return table.to_markdown(self)

    def to_html(self, path: str | Path | None = None) -> str:
        """One self-contained page as text, also written to ``path`` if that is given.

        Raises:
            OSError: the path cannot be written.
        """
        text = page.to_page(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text
