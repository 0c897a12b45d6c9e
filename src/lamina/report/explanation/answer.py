"""The answer: classes and probabilities, where they come from, and what a moved image changes."""

from __future__ import annotations

import struct

from lamina.report import html, svg, units
from lamina.report.explanation.records import Answer, Array, ClassScore, Explanation, Shifts
from lamina.report.html import Content, Html, tag

__all__ = ["answer_section", "verdict"]

_CELL, _LEFT, _TOP = 56, 34, 30


def verdict(record: Explanation) -> str:
    """The answer in one line.

    Example:
        >>> from lamina.report.explanation.records import Array, Picture
        >>> picture = Picture(Array(bytes(1), (1, 1, 1), "uint8"), "dot.png", "")
        >>> verdict(Explanation("net", picture, (), (), None, (), None, 0, 0))
        'dot.png, followed from its pixels to the output.'
    """
    name = record.picture.name or "One image"
    if record.answer is None or not record.answer.classes:
        return f"{name}, followed from its pixels to the output."
    best = record.answer.classes[0]
    said = f"{_named(best)}, {units.percent(best.probability)}"
    return f"{said}. {name}, followed from its pixels to the class."


def answer_section(record: Explanation) -> Html | None:
    """Image with its class map, the classes, the moved image; None where there are no classes."""
    if record.answer is None or not record.answer.classes:
        return None
    figures = [_image(record), _classes(record.answer)]
    if record.shifts is not None:
        figures.append(_shifted(record.shifts, record.answer))
    return html.section("The answer", tag("div", figures, class_="answer"), identifier="answer")


def _named(score: ClassScore) -> str:
    """A class by its name, or by its number where it has none."""
    return f"class {score.name}" if score.name == str(score.index) else score.name


def _image(record: Explanation) -> Html:
    names = {score.index: _named(score) for score in record.answer.classes} if record.answer else {}
    choices: list[Content] = [
        _choice("The image alone", -1, checked=False),
        *(
            _choice(f"What speaks for {names.get(one.index, one.index)}", place, checked=not place)
            for place, one in enumerate(record.class_maps)
        ),
    ]
    canvas = tag("canvas", id="answer-image", role="img", aria_label="The image")
    note = tag("p", id="answer-note", class_="note")
    picker = tag("div", choices, role="radiogroup", aria_label="Class map")
    parts: list[Content] = [canvas, note, picker if record.class_maps else None]
    return html.figure(html.escape(parts), "The image", record.picture.preparation)


def _choice(title: str, value: int, *, checked: bool) -> Html:
    button = tag("input", type="radio", name="class-map", value=value, checked=checked)
    return tag("label", button, title, class_="check")


def _classes(answer: Answer) -> Html:
    lines = [
        tag(
            "li",
            tag("b", _named(one)),
            tag("span", units.percent(one.probability), data_value=str(one.probability)),
            tag(
                "svg",
                tag("rect", width=100 * one.probability, height=6),
                viewBox="0 0 100 6",
                preserveAspectRatio="none",
                aria_hidden="true",
            ),
        )
        for one in answer.classes
    ]
    made = "The model's own output." if answer.is_probability else "The softmax of its scores."
    hidden = answer.total - len(answer.classes)
    more = f" {hidden:,} more classes have less." if hidden > 0 else ""
    return html.figure(tag("ol", lines, class_="classes"), "Classes", made + more)


def _shifted(shifts: Shifts, answer: Answer) -> Html:
    """A cell per shift: the probability of the answer, and an edge where another class wins."""
    count = len(shifts.offsets)
    shares = _numbers(shifts.probabilities, "f")[: count * count]
    best = _numbers(shifts.best, "i")
    first = answer.classes[0]
    signed = [f"{offset:+d}".replace("-", "−") if offset else "0" for offset in shifts.offsets]
    parts: list[Content] = []
    for place, share in enumerate(shares):
        row, column = divmod(place, count)
        x, y = _LEFT + column * _CELL, _TOP + row * _CELL
        said = f"{signed[row]} down, {signed[column]} right: {_named(first)} {units.percent(share)}"
        winner = int(best[place])
        if winner != first.index:
            said += f"; the answer is {shifts.best_names.get(winner, winner)}"
        square = {"x": x + 1, "y": y + 1, "width": _CELL - 2, "height": _CELL - 2, "rx": 5}
        parts.append(tag("rect", tag("title", said), fill_opacity=0.06 + 0.94 * share, **square))
        if winner != first.index:
            parts.append(tag("rect", class_="other", **square))
        elif shifts.offsets[row] == shifts.offsets[column] == 0:
            parts.append(tag("rect", class_="unmoved", **square))
        shade = "dark" if share > 0.62 else None
        middle = {"x": x + _CELL / 2, "y": y + _CELL / 2 + 4}
        parts.append(tag("text", f"{100 * share:.3g}", class_=shade, **middle))
    for place, name in enumerate(signed):
        middle_of = place * _CELL + _CELL / 2
        parts.append(tag("text", name, x=_LEFT + middle_of, y=_TOP - 10, class_="axis-name"))
        parts.append(tag("text", name, x=_LEFT / 2, y=_TOP + middle_of + 4, class_="axis-name"))
    size = count * _CELL
    drawing = svg.drawing(
        _LEFT + size + 2, _TOP + size + 2, parts, class_="shift",
        label=f"Probability of {_named(first)} in percent when the image moves",
    )  # fmt: skip
    return html.figure(drawing, "The image moved, pixel by pixel", _shift_note(shares, best, first))


def _shift_note(shares: list[float], best: list[float], first: ClassScore) -> str:
    changed = sum(1 for winner in best if winner != first.index)
    low, high = units.percent(min(shares)), units.percent(max(shares))
    moved = f"Probability of {_named(first)} in percent, by the pixels it moves right and down."
    spread = f"It lies between {low} and {high}."
    times = "once" if changed == 1 else f"{changed} times"
    return f"{moved} {spread} " + (
        f"The answer changes {times} out of {len(best) - 1}." if changed else "The answer stays."
    )


def _numbers(array: Array, code: str) -> list[float]:
    return list(struct.unpack(f"<{len(array.data) // 4}{code}", array.data))
