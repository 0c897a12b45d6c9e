"""The pieces of a self-contained page: escaped elements, tables, sections and the shell.

Everything that is no `Html` is escaped where it enters an element, so that a layer, a class or a
file may have any name. A page loads nothing: its style and scripts stand in it, and its
content-security policy allows exactly those, by hash.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from lamina.report.table import Column, Table, cell_text

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Html(str):
    """Markup whose text is already escaped."""

    __slots__ = ()


Content = Html | str | float | Iterable["Content"] | None


def escape(content: Content) -> Html:
    """Return ``content`` as markup: `Html` as it is, text escaped, None empty, lists in a row."""
    if isinstance(content, Html):
        return content
    if content is None:
        return Html("")
    if isinstance(content, str | int | float):
        return Html(html.escape(str(content)))
    return Html("".join(escape(part) for part in content))


def tag(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Html:
    """Build one element; an attribute's ``_`` is ``-``, a last ``_`` avoids a Python keyword.

    None and False leave an attribute out, True writes its name alone; numbers are written with
    at most two decimals, which is what a drawing needs.

    >>> tag("td", "a < b", class_="number", data_value=2.0)
    '<td class="number" data-value="2">a &lt; b</td>'
    """
    written = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            written.append(f" {key}")
            continue
        text = f"{round(value, 2):.12g}" if isinstance(value, float) else str(value)
        written.append(f' {key}="{html.escape(text)}"')
    opening = f"<{name}{''.join(written)}>"
    return Html(opening if name in _VOID else f"{opening}{escape(content)}</{name}>")


def table(data: Table, *, identifier: str = "", sortable: bool = True) -> Html:
    """Draw a `Table`; a click on a heading sorts it (numbers by value, not by what is shown)."""
    heads = [
        tag(
            "th",
            tag("button", column.title, type="button") if sortable else column.title,
            class_="number" if column.align == "right" else None,
            scope="col",
        )
        for column in data.columns
    ]

    def line(row: Mapping[str, Any], *, total: bool = False) -> Html:
        cells = []
        for column in data.columns:
            value = row.get(column.key)
            cells.append(
                tag(
                    "td",
                    "" if total and column.key not in row else cell_text(column, row),
                    class_=_cell_class(column, value),
                    # Python writes 1e-05 and JavaScript reads it; str() also keeps whole numbers.
                    data_value=str(value) if isinstance(value, int | float) else None,
                )
            )
        return tag("tr", cells)

    return tag(
        "div",
        tag(
            "table",
            tag("caption", data.title) if data.title else None,
            tag("thead", tag("tr", heads)),
            tag("tbody", [line(row) for row in data.rows]),
            tag("tfoot", line(data.total, total=True)) if data.total is not None else None,
            id=identifier or None,
            class_="sortable" if sortable else None,
        ),
        class_="table",
    )


def stats(facts: Sequence[tuple[str, str, str]]) -> Html:
    """Draw a row of (label, value, note) facts, the values large."""
    return tag(
        "dl",
        [
            tag(
                "div",
                tag("dt", label),
                tag("dd", tag("b", value), tag("small", note) if note else None),
            )
            for label, value, note in facts
        ],
        class_="stats",
    )


def definitions(facts: Mapping[str, object]) -> Html:
    """Draw name and value pairs, such as a configuration."""
    return tag(
        "dl",
        [tag("div", tag("dt", name), tag("dd", _word(value))) for name, value in facts.items()],
        class_="definitions",
    )


def figure(drawing: Html, title: str, note: Content = None) -> Html:
    """Set a drawing under its title, with a note below."""
    return tag(
        "figure",
        tag("figcaption", tag("b", title)),
        drawing,
        tag("p", note, class_="note") if note else None,
    )


def section(title: str, *content: Content, lede: Content = None, identifier: str = "") -> Html:
    """Draw a section: heading, one or two sentences that say what is to be seen, content."""
    return tag(
        "section",
        tag("h2", title),
        tag("p", lede, class_="lede") if lede else None,
        content,
        id=identifier or None,
    )


def asset(name: str) -> str:
    """Return the text of a style sheet or script that lies in ``report/assets``."""
    return (resources.files("lamina.report") / "assets" / name).read_text(encoding="utf-8")


def page(
    title: str,
    *content: Content,
    subtitle: Content = None,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> str:
    """Return a whole page as text: one file, nothing loaded, nothing but its own scripts run.

    Args:
        title: heading and title of the window.
        content: what stands below the heading, usually `section`s.
        subtitle: a line below the heading.
        styles: further style sheets, as text, after the shared one.
        scripts: further scripts, as text, after the shared one; they run when the page stands.
    """
    shared = "".join(map(asset, ("palette.css", "chart.css", "page.css")))
    sheets = [shared, *styles]
    programs = [asset("page.js"), *scripts]
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {' '.join(map(_source, sheets))}; script-src {' '.join(map(_source, programs))}"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content="lamina"),
        tag("title", title),
        [tag("style", Html(sheet)) for sheet in sheets],
    )
    header = tag(
        "header",
        tag("p", "lamina", class_="wordmark"),
        tag("h1", title),
        tag("p", subtitle, class_="subtitle") if subtitle else None,
    )
    body = tag(
        "body",
        tag("main", header, content),
        [tag("script", Html(program)) for program in programs],
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _cell_class(column: Column, value: object) -> str | None:
    if column.align == "left":
        return None
    return "number none" if value == 0 else "number"


def _word(value: object) -> str:
    words = {None: "–", True: "yes", False: "no"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
