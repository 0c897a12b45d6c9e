"""An account as one page: the network, the roofline, time and memory along depth, every layer."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.report import html, units
from lamina.report.html import Html, asset, tag
from lamina.report.inspection.cards import cards, findings
from lamina.report.inspection.drawing import bars_along_depth, roofline
from lamina.report.inspection.network import COLOURINGS, FAMILIES, levels, network
from lamina.report.inspection.table import CONVENTIONS, as_table, caveats
from lamina.report.records import Books, Row, Timing

__all__ = ["SCRIPT", "STYLE", "sections", "to_page"]

SCRIPT, STYLE = "inspect.js", "inspect.css"


def _facts(account: Books) -> Html:
    totals = account.totals
    facts = [
        ("Parameters", units.si(totals.parameters + totals.frozen), f"{totals.parameters:,} train"),
        ("MACs", units.si(totals.macs), f"{totals.coverage}, forward"),
        ("FLOPs", units.si(totals.flops), f"{units.si(totals.backward.flops)} backward"),
        ("Moved", units.binary_bytes(totals.forward.bytes_moved), "forward"),
        ("Saved", units.binary_bytes(totals.saved_bytes), "for backward"),
        ("Peak memory", units.binary_bytes(totals.peak_inference),
         f"{units.binary_bytes(totals.peak_training)} with backward"),
    ]  # fmt: skip
    if totals.time_forward is not None:
        limit = totals.limit_forward or 0.0
        facts.append(
            (
                "Forward",
                units.si(totals.time_forward.median, "s"),
                f"limit {units.si(limit, 's')}",
            )
        )
    if totals.time_backward is not None:
        facts.append(
            (
                "Backward",
                units.si(totals.time_backward.median, "s"),
                f"limit {units.si(totals.limit_backward, 's')}",
            )
        )
    return tag("div", html.stats(facts), class_=f"facts-{len(facts)}")


def _drawn(account: Books) -> list[tuple[int, Row]]:
    """Rows that do something of their own, each with its place among all."""
    return [
        (index, row)
        for index, row in enumerate(account.rows)
        if not row.is_container and row.call is not None and row.output_shapes
    ]


def _swatch(class_: str) -> Html:
    square = tag("rect", width=10, height=10, rx=2, class_=class_)
    return tag("svg", square, width=10, height=10, viewBox="0 0 10 10", aria_hidden="true")


def _network(account: Books, rows: Sequence[tuple[int, Row]]) -> Html:
    plain = [row for _, row in rows]
    known = [name for name in COLOURINGS if any(x is not None for x in levels(plain, name))]
    choices = [("kind", "Kind"), *((name, COLOURINGS[name][0]) for name in known)]
    switch = tag(
        "fieldset",
        tag("legend", "Colour by"),
        [
            tag(
                "label",
                tag("input", type="radio", name="colouring", value=name, checked=name == "kind"),
                title,
            )
            for name, title in choices
        ],
        class_="colouring",
    )
    kinds = tag(
        "p",
        [tag("span", _swatch(f"kind-{family}"), family) for family in FAMILIES],
        class_="key",
        data_key="kind",
    )
    scales = [
        tag(
            "p",
            tag("span", "least", [_swatch(f"heat-{level}") for level in range(7)], "most"),
            class_="key",
            data_key=name,
            hidden=True,
        )
        for name in known
    ]
    note = (
        "Width: channels. Height: resolution; thin blocks work on single values. "
        "A click opens a card."
    )
    return html.figure(
        Html(f"{switch}{kinds}{''.join(scales)}{network(account, rows)}"), "The network", note
    )


def _milliseconds(timing: Timing | None) -> float | None:
    return 1e3 * timing.median if timing else None


def _charts(account: Books, rows: Sequence[tuple[int, Row]]) -> list[Html]:
    charts = []
    timed = account.totals.time_forward is not None
    roof = roofline(account, rows)
    machine = account.machine
    if roof is not None and machine is not None:
        reached = "what it reached" if timed else "the most it may reach"
        note = (
            f"Each layer: its FLOPs per byte and {reached}. Under the slope memory decides. "
            f"Measured here: peak {units.si(machine.peak_flops, 'FLOP/s')}, memory "
            f"{units.si(machine.bandwidth, 'B/s')}; what fits a cache may lie above."
        )
        charts.append(html.figure(roof, "Roofline", note))
    time = bars_along_depth(
        rows,
        [
            ("ms forward", lambda row: _milliseconds(row.time_forward)),
            ("ms backward", lambda row: _milliseconds(row.time_backward)),
        ],
        label="Milliseconds of each layer from input to output",
        form=lambda value: f"{value:.3g}",
    )
    work = bars_along_depth(
        rows,
        [
            ("forward", lambda row: float(row.forward.flops)),
            ("backward", lambda row: float(row.backward.flops)),
        ],
        label="FLOPs of each layer from input to output",
        form=units.si,
    )
    memory = bars_along_depth(
        rows,
        [
            ("saved for backward", lambda row: float(row.saved_bytes)),
            ("parameters", lambda row: 4.0 * (row.parameters + row.frozen)),
        ],
        label="Bytes of each layer from input to output",
        form=lambda value: units.si(value, "B"),
    )
    gradient = bars_along_depth(
        rows,
        [("gradient norm", lambda row: row.health.gradient_norm if row.health else None)],
        label="Gradient norm of each layer from input to output",
        form=lambda value: f"{value:.2g}",
    )
    for drawing, title in (
        (time, "Time along depth"),
        (work, "FLOPs along depth"),
        (memory, "Memory along depth"),
        (gradient, "Gradient norm along depth"),
    ):
        if drawing is not None:
            charts.append(html.figure(drawing, title))
    return charts


def sections(account: Books, *, facts: bool = True) -> list[Html]:
    """The page's parts below its heading, for a page of one's own with ``STYLE`` and ``SCRIPT``.

    Args:
        account: what is shown.
        facts: begin with the totals.
    """
    rows = _drawn(account)
    found = findings(account)
    overview = tag(
        "div",
        tag("div", _charts(account, rows), class_="charts"),
        _network(account, rows),
        class_="overview",
    )
    searching = tag(
        "input", type="search", placeholder="Filter layers", aria_label="Filter layers",
        data_filter="layers",
    )  # fmt: skip
    notes = [tag("p", line, class_="note") for line in caveats(account)]
    return [
        *([tag("section", _facts(account), notes)] if facts else []),
        *([html.section("Findings", found)] if found else []),
        html.section("From input to output", overview, identifier="overview"),
        html.section(
            "Layers",
            searching,
            html.table(as_table(account), identifier="layers"),
            lede=f"{CONVENTIONS}. A click on a heading sorts, on a line opens its card.",
            identifier="every-layer",
        ),
        html.section("Cards", cards(account), lede="What each layer is, does, costs and needs."),
    ]


def to_page(account: Books, *, scripts: Sequence[str] = ()) -> str:
    """The whole page as text; ``scripts`` run after its own."""
    totals = account.totals
    mode = "training" if account.training else "inference"
    inputs = ", ".join(units.shape(shape) for shape in account.inputs)
    subtitle = f"{len(account.rows)} rows, input {inputs}, {mode} mode, count {totals.coverage}"
    return html.page(
        account.model,
        *sections(account),
        subtitle=subtitle,
        styles=[asset(STYLE)],
        scripts=[asset(SCRIPT), *scripts],
    )
