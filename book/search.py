"""A hook of MkDocs: a page without a translation is found once, in the language that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Leave copies of a page that stand among another language's out of the search."""
    if getattr(page.file, "locale", "") != getattr(page.file, "locale_alternate_of", ""):
        page.meta["search"] = {"exclude": True}
    return markdown
