"""The page of findings says what the kept findings say, and all of them are kept."""

import runpy
from pathlib import Path

from lamina import lab
from lamina.lab.folder import kept
from lamina.report.finding.drawing import figure

ROOT = Path(__file__).parents[2]


def test_page_and_figures_are_the_findings():
    script = runpy.run_path(str(ROOT / "book/findings.py"))
    findings = kept(script["KEPT"])
    assert [one.name for one in findings] == list(lab.NAMES)
    assert all(len(one.seeds) >= 5 and not one.fast for one in findings)
    assert script["PAGE"].read_text() == script["page"](findings)
    for one in findings:
        wide, narrow = (script["KEPT"] / f"{one.name}{end}.svg" for end in ("", "-narrow"))
        assert wide.read_text() == figure(one.chart)
        assert narrow.read_text() == figure(one.chart, columns=1)


def test_a_kept_finding_was_judged_by_the_rule_that_stands():
    for one in kept(ROOT / "docs/findings"):
        criteria = lab.experiment(one.name).criteria
        judged = [criterion.applied(one.results) for criterion in criteria]
        assert judged == list(one.judgements), one.name
