"""Takes the findings of a folder into the documentation, and writes their pages from them.

    lamina lab --all --out runs/lab
    python -m book.findings runs/lab

Without a folder it writes pages and figures anew from the findings that the documentation has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from book.words import Catalogue, korean
from lamina.lab.folder import kept
from lamina.report.finding.drawing import NARROW, figure
from lamina.report.finding.markdown import markdown, said_verdict
from lamina.report.finding.records import Finding

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
KEPT = DOCS / "findings"


class Card(NamedTuple):
    """What the gallery shows of a finding.

    Args:
        answer: to the title's question, as the claim has it.
        panel: of the figure, counted from 0.
        more: the documentation's page on what the claim is about.
    """

    answer: str
    panel: int
    more: str


CARDS = {
    "conv2d-sees": Card("What it learns in one place, it knows in all.", 2, "kinds/conv2d.md"),
    "conv2d-complexity": Card(
        "Its time grows as its multiplications are counted.", 0, "kinds/conv2d.md"
    ),
    "batchnorm-gradients": Card(
        "Gradients neither vanish nor explode, whatever the weights.", 0, "kinds/batch_norm2d.md"
    ),
    "pooling-resolution": Card(
        "A quarter of the arithmetic, and a steadier answer.", 0, "kinds/pool2d.md"
    ),
    "separable-cost": Card(
        "A ninth of the arithmetic; of the time, less is saved.", 0, "kinds/separable_conv2d.md"
    ),
    "dropout-overfitting": Card(
        "The gap between training and unseen images shrinks.", 3, "kinds/dropout.md"
    ),
    "dense-head": Card(
        "Behind the mean, it needs fewer weights and over-fits less.", 0, "kinds/dense.md"
    ),
    "two-dialects": Card("The same functions, under other conventions.", 1, "guides/keras.md"),
    "compound-scaling": Card("All three together, at the same cost.", 0, "reference/models.md"),
}

_GALLERY = """# {title}

{lede}

<div class="grid cards" markdown>

{cards}

</div>

{machine}
"""
_LEDE = (
    "{} of {} claims hold, {} of them within limits. Each is a sentence that people say about a "
    "kind of layer. Theory predicts, five seeds are measured, and a rule in the code gives the "
    "verdict. `lamina lab --all` tries them on your machine, `--data FOLDER` on your images."
)
_CARD = """-   <a id="{anchor}"></a>**[{title}](findings/{name}.md)**

    [![{label}](findings/{picture})](findings/{name}.md)

    {answer}

    **{verdict}.**"""


def files(findings: Sequence[Finding], words: Catalogue | None = None) -> Iterator[tuple[str, str]]:
    """Give the text of every page and figure by its name within the documentation.

    Args:
        findings: in reading order.
        words: of another language; English without.
    """
    suffix, ending = ("-ko", ".ko.md") if words is not None else ("", ".md")
    for one in findings:
        name, chart = one.name, one.chart
        wide, narrow = f"{name}{suffix}.svg", f"{name}-narrow{suffix}.svg"
        yield f"findings/{wide}", figure(chart, words)
        yield f"findings/{narrow}", figure(chart, words, columns=1, width=NARROW)
        yield (
            f"findings/{name}-card{suffix}.svg",
            figure(chart, words, width=NARROW, only=CARDS[name].panel),
        )
        yield f"findings/{name}{ending}", _page(one, wide, narrow, words)
    yield f"findings{ending}", _gallery(findings, suffix, words)


def _page(finding: Finding, wide: str, narrow: str, words: Catalogue | None) -> str:
    links = {"All claims": "findings.md", "More on it": CARDS[finding.name].more}
    said = [
        f"[{text if words is None else words.get(text, text)}](../{page})"
        for text, page in links.items()
    ]
    return f"{markdown(finding, wide, narrow, words)}\n{' · '.join(said)}\n"


def _gallery(findings: Sequence[Finding], suffix: str, words: Catalogue | None) -> str:
    """The page of all, a card each; English titles are the anchors in every language."""

    def say(text: str, *values: object) -> str:
        return (text if words is None else words.get(text, text)).format(*values)

    cards = [
        _CARD.format(
            anchor=_anchor(one.title),
            title=say(one.title),
            name=one.name,
            label=say(one.chart.panels[CARDS[one.name].panel].title),
            picture=f"{one.name}-card{suffix}.svg",
            answer=say(CARDS[one.name].answer),
            verdict=said_verdict(one, words),
        )
        for one in findings
    ]
    facts = findings[0].machine
    return _GALLERY.format(
        title=say("Claims about layers, tried"),
        lede=say(
            _LEDE,
            sum(one.holds for one in findings),
            len(findings),
            sum(bool(one.limits) for one in findings),
        ),
        cards="\n\n".join(cards),
        machine=say("Measured on {}, one thread, PyTorch {}.", facts["processor"], facts["torch"]),
    )


def _anchor(title: str) -> str:
    kept_letters = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept_letters.strip().replace(" ", "-")


if __name__ == "__main__":
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT
    found = kept(source)
    KEPT.mkdir(exist_ok=True)
    words = korean()
    for one in found:
        (KEPT / f"{one.name}.json").write_text(one.to_json())
    for name, text in [*files(found), *files(found, words)]:
        (DOCS / name).write_text(text)
    for text in sorted(words.missing):
        print(f"book/words/ko.json: no Korean for {text!r}", file=sys.stderr)
