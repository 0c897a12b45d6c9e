"""A finding as one page: verdict first, the figure, the rule and its numbers, how it was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamina.report import html, units
from lamina.report.finding.drawing import panels
from lamina.report.finding.records import Finding, Measurement
from lamina.report.finding.sheet import Words
from lamina.report.html import Html, asset, tag
from lamina.report.table import Column, Table

STYLE = "finding.css"


def to_page(finding: Finding, words: Words | None = None) -> str:
    """Return the page of a finding.

    Args:
        finding: what was found.
        words: labels of the figure in another language.
    """
    return html.page(
        finding.title,
        verdict(finding),
        figure(finding, words),
        html.section(
            "The rule",
            judgements(finding),
            lede="It stands in the code, with its thresholds, before a run; code decides.",
        ),
        html.section("Theory", tag("p", finding.theory)),
        html.section("Method", tag("p", finding.method), tag("p", "Claimed by: ", finding.source)),
        html.section(
            "Numbers",
            html.table(results_table(finding.results), sortable=False),
            lede=f"Medians over {len(finding.seeds)} seeds, with the least and the largest.",
        ),
        _footer(finding),
        subtitle=finding.claim,
        styles=[asset(STYLE)],
    )


def gallery_page(findings: Sequence[Finding], words: Words | None = None) -> str:
    """Return a page with every finding: its question, verdict and figure, linked to its own page.

    Args:
        findings: in reading order; the page of each is ``NAME.html`` beside this one.
        words: labels of the figures in another language.
    """
    sections = [
        html.section(
            finding.title,
            verdict(finding),
            figure(finding, words),
            tag("p", tag("a", "Rule, method and numbers", href=f"{finding.name}.html")),
            lede=finding.claim,
            identifier=finding.name,
        )
        for finding in findings
    ]
    held = sum(finding.holds for finding in findings)
    said = f"{held} of {len(findings)} claims hold here, some within limits."
    return html.page("Claims about layers, tried", sections, subtitle=said, styles=[asset(STYLE)])


def verdict(finding: Finding) -> Html:
    """The verdict as a line of its own."""
    word = "holds" if finding.holds else "fails"
    return tag(
        "p", tag("b", finding.verdict[0].upper() + finding.verdict[1:]), class_=f"verdict {word}"
    )


def figure(finding: Finding, words: Words | None = None) -> Html:
    """The panels, beside each other where there is room."""
    drawn = [tag("figure", panel) for panel in panels(finding.chart, words)]
    return tag("div", drawn, class_="columns")


def judgements(finding: Finding) -> Html:
    """Each criterion, and whether it was met."""
    return tag(
        "ul",
        [
            tag(
                "li",
                tag("b", "met" if judgement.holds else "not met"),
                f" {judgement.statement}",
                f" (else: holds where {judgement.limit})" if judgement.limit else None,
                class_="met" if judgement.holds else "unmet",
            )
            for judgement in finding.judgements
        ],
        class_="criteria",
    )


def results_table(results: Mapping[str, Measurement], words: Words | None = None) -> Table:
    """Median, spread and prediction of each result, in the language of ``words``."""
    words = words or {}
    titles = [words.get(one, one) for one in ("Result", "Median", "Least to largest", "Theory")]
    columns = [
        Column(key, title, align="left" if key == "name" else "right")
        for key, title in zip(("name", "median", "spread", "predicted"), titles, strict=True)
    ]
    spread = words.get("{} to {}", "{} to {}")
    rows = [
        {
            "name": words.get(name, name),
            "median": written(one.median, one.unit),
            "spread": spread.format(written(one.low, one.unit), written(one.high, one.unit)),
            "predicted": "–" if one.predicted is None else written(one.predicted, one.unit),
        }
        for name, one in results.items()
    ]
    return Table(columns=columns, rows=rows)


def written(value: float, unit: str) -> str:
    """A value with its unit, in three figures."""
    if unit == "%":
        return units.percent(value)
    return units.si(value, unit) if unit else f"{value:.3g}"


def _footer(finding: Finding) -> Html:
    facts = ", ".join(f"{name} {value}" for name, value in finding.machine.items())
    fast = ", cut for speed" if finding.fast else ""
    return tag(
        "footer",
        f"{finding.data}; seeds {finding.seeds[0]} to {finding.seeds[-1]}{fast}; "
        f"{units.duration(finding.seconds)}; {facts}",
    )
