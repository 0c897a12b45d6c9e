"""A finding as a Markdown page: verdict, figure, rule, and the numbers folded away."""

from __future__ import annotations

from html import escape

from lamina.report.finding.page import results_table
from lamina.report.finding.records import Finding, Judgement
from lamina.report.finding.sheet import Words
from lamina.report.table import to_markdown
from lamina.report.units import duration


def markdown(finding: Finding, wide: str, narrow: str, words: Words | None = None) -> str:
    """Return the page of a finding.

    Args:
        finding: what was found.
        wide: address of its SVG file, from the page.
        narrow: address of the one for a phone.
        words: of another language.
    """
    words = words or {}

    def say(text: str, *values: object) -> str:
        said = words.get(text, text)
        return said.format(*values) if values else said

    rule = "\n".join(_rule(one, words) for one in finding.judgements)
    seeds, again = f"{len(finding.seeds)} seeds", "`lamina lab {}` tries it again."
    return f"""# {say(finding.title)}

*{say(finding.claim)}* ({finding.source})

**{said_verdict(finding, words)}.**

<picture>
<source media="(max-width: 40rem)" srcset="{narrow}">
<img alt="{escape(say(finding.chart.label))}" src="{wide}">
</picture>

## {say("What theory says")}

{say(finding.theory)}

## {say("The rule for the verdict")}

{rule}

??? note "{say("Method and numbers")}"

{_indented(say(finding.method))}

{_indented(to_markdown(results_table(finding.results, words)))}

    {say(finding.data)}; {say(seeds)}; {say(duration(finding.seconds))}.
    {say(again, finding.name)}
"""


def said_verdict(finding: Finding, words: Words | None = None) -> str:
    """Return the verdict as the beginning of a sentence, in the language of ``words``."""
    words = words or {}
    said = [words.get(limit, limit) for limit in finding.limits]
    if said:
        limits = words.get(" and ", " and ").join(said)
        verdict = words.get("holds where {}", "holds where {}").format(limits)
    else:
        verdict = words.get(finding.verdict, finding.verdict)
    return verdict[0].upper() + verdict[1:]


def _rule(one: Judgement, words: Words) -> str:
    met = "Met" if one.holds else "Not met"
    line = f"- **{words.get(met, met)}**: {words.get(one.statement, one.statement)}"
    if not one.limit:
        return line
    otherwise = words.get("(else: holds where {})", "(else: holds where {})")
    return f"{line} {otherwise.format(words.get(one.limit, one.limit))}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())
