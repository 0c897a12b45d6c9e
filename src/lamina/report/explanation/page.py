"""The magnifying glass as one page: the answer, the network, and the arithmetic of any number."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.report import html, units
from lamina.report.explanation.answer import answer_section, verdict
from lamina.report.explanation.path import rails
from lamina.report.explanation.payload import data_block
from lamina.report.explanation.records import Explanation, Layer
from lamina.report.explanation.words import STRINGS, about
from lamina.report.html import Html, asset, tag

__all__ = ["SCRIPTS", "STYLE", "to_page"]

STYLE = "explain/explain.css"
_ROOMS = ("data", "maps", "arithmetic", "kinds", "panel", "views", "answer", "explain")
SCRIPTS = tuple(f"explain/{room}.js" for room in _ROOMS)
# Of the record, what the script shows; the rest stands in the page as text.
_SCRIPTED = ("picture", "layers", "tensors", "class_maps")


def to_page(record: Explanation, *, scripts: Sequence[str] = ()) -> str:
    """The whole page as text: one file that loads nothing.

    Its address takes a view after ``#``, such as ``page.html#layer=conv1&channel=3&y=5&x=7``.

    Args:
        record: the image's way through the model; at least its input layer.
        scripts: further scripts, as text, that run after the page's own.

    Example:
        >>> from lamina.report.explanation.records import Array, Picture
        >>> picture = Picture(Array(bytes(1), (1, 1, 1), "uint8"), "dot.png", "")
        >>> page = to_page(Explanation("net", picture, (), (), None, (), None, 0, 0))
        >>> page.startswith("<!doctype html>"), "Inside net" in page
        (True, True)
    """
    shown: dict[str, object] = {name: getattr(record, name) for name in _SCRIPTED}
    scores = record.answer.classes if record.answer else ()
    shown["classes"] = {
        "total": record.answer.total if record.answer else 0,
        "names": {score.index: score.name for score in scores},
    }
    shown["about"] = {layer.kind: about(layer.kind) for layer in record.layers}
    return html.page(
        f"Inside {record.model}",
        [tag("p", note, class_="warning") for note in _notes(record)],
        answer_section(record),
        html.section("Look inside", _inside(record), lede=_lede(record), identifier="inside"),
        data_block("record", shown),
        data_block("strings", STRINGS),
        subtitle=verdict(record),
        styles=[asset(STYLE)],
        scripts=[*map(asset, SCRIPTS), *scripts],
    )


def _notes(record: Explanation) -> list[str]:
    random = "The weights are random: nothing was learned, so the answer means nothing."
    return [*([random] if record.random_weights else []), *record.notes]


def _lede(record: Explanation) -> str:
    counted = f"{units.count(record.parameters)} parameters, {units.si(record.macs)} MACs."
    kept = (
        ""
        if record.every_position
        else " To keep the page small, a layer can be opened at some of its positions and channels."
    )
    return (
        "Choose a layer, a channel and a pixel: below it stands the arithmetic of that very "
        f"number, made from the model's own. {counted}{kept}"
    )


def _inside(record: Explanation) -> Html:
    drawn = rails(
        [layer.inputs for layer in record.layers], [bool(layer.closed) for layer in record.layers]
    )
    names = tag("div", [_step(layer) for layer in record.layers], class_="layers")
    path = tag(
        "div",
        tag("div", drawn, names, class_="stack"),
        class_="path",
        role="listbox",
        aria_label="Layers from input to class",
    )
    missing = tag("p", "This part of the page needs JavaScript.", class_="note")
    panel = tag("article", tag("noscript", missing), id="panel", class_="panel", aria_label="Layer")
    return tag("div", path, panel, class_="inside")


def _step(layer: Layer) -> Html:
    what = [layer.type, units.shape(layer.output_shape[1:]) if layer.output_shape[1:] else ""]
    return tag(
        "button",
        tag("b", layer.name),
        tag("small", " · ".join(filter(None, what))),
        type="button",
        role="option",
        aria_selected="false",
        tabindex=-1,
        data_layer=layer.id,
        title=layer.closed or None,
    )
