"""A finding as a part of a Markdown page: verdict, figure, rule, and the numbers folded away."""

from __future__ import annotations

from html import escape

from lamina.report.finding.page import results_table
from lamina.report.finding.records import Finding
from lamina.report.table import to_markdown
from lamina.report.units import duration


def markdown(finding: Finding, figure: str) -> str:
    """Return the section of a finding.

    Args:
        finding: what was found.
        figure: address of its SVG file from the page, without the suffix; beside it lies one of
            the same name and ``-narrow``, for a phone.
    """
    rule = "\n".join(
        f"- {'**Met**' if one.holds else '**Not met**'}: {one.statement}"
        + (f" (else: holds where {one.limit})" if one.limit else "")
        for one in finding.judgements
    )
    verdict = finding.verdict[0].upper() + finding.verdict[1:]
    return f"""## {finding.title}

*{finding.claim}* ({finding.source})

**{verdict}.**

<picture>
<source media="(max-width: 40rem)" srcset="{figure}-narrow.svg">
<img alt="{escape(finding.chart.label)}" src="{figure}.svg">
</picture>

{finding.theory}

{rule}

??? note "Method and numbers"

{_indented(finding.method)}

{_indented(to_markdown(results_table(finding.results)))}

    {finding.data}; {len(finding.seeds)} seeds; {duration(finding.seconds)}.
    `lamina lab {finding.name}` tries it again.
"""


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())
