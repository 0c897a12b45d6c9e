"""Takes the findings of a folder into the documentation, and writes their page from them.

    lamina lab --all --out runs/lab
    python book/findings.py runs/lab

Without a folder it writes page and figures anew from the findings that the documentation has.
"""

import sys
from pathlib import Path

from lamina.lab.folder import kept
from lamina.report.finding.drawing import figure
from lamina.report.finding.markdown import markdown
from lamina.report.finding.records import Finding

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "docs/findings"
PAGE = ROOT / "docs/findings.md"

_HEAD = """# Claims about layers, tried

{held} of {count} claims hold, {limited} of them within limits. Each is a sentence that people say
about a kind of layer, with theory's prediction, a measurement over five seeds, and a verdict by a
rule that stands in the code. `lamina lab --all` tries them on your machine, `--data FOLDER` on your
images.

| claim | verdict |
|---|---|
{rows}

Measured on {machine}.
"""


def page(findings: list[Finding]) -> str:
    """The page, from findings alone."""
    lines = [f"| [{one.title}](#{_anchor(one.title)}) | {one.verdict} |" for one in findings]
    facts = findings[0].machine
    head = _HEAD.format(
        held=sum(one.holds for one in findings),
        count=len(findings),
        limited=sum(one.holds and one.verdict != "holds" for one in findings),
        rows="\n".join(lines),
        machine=f"{facts['processor']}, one thread, PyTorch {facts['torch']}",
    )
    return "\n".join([head, *(markdown(one, f"findings/{one.name}") for one in findings)])


def _anchor(title: str) -> str:
    kept_letters = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept_letters.strip().replace(" ", "-")


if __name__ == "__main__":
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT
    found = kept(source)
    KEPT.mkdir(exist_ok=True)
    for one in found:
        (KEPT / f"{one.name}.json").write_text(one.to_json())
        (KEPT / f"{one.name}.svg").write_text(figure(one.chart))
        (KEPT / f"{one.name}-narrow.svg").write_text(figure(one.chart, columns=1))
    PAGE.write_text(page(found))
