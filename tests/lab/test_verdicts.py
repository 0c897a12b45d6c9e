"""Every experiment, cut for speed, comes to the verdict that its kept finding has."""

from pathlib import Path

import pytest

from lamina import lab
from lamina.lab.folder import kept
from lamina.lab.several import run_several

KEPT = Path(__file__).parents[2] / "docs/findings"
WITHIN_THE_SPREAD = {"compound-scaling"}
"""Networks grown in four ways lie within each other's spread: who is ahead is a seed's luck."""


@pytest.fixture(scope="module")
def found():
    findings = run_several(lab.NAMES, seed=0, fast=True, data="digits", processes=2)
    return {finding.name: finding for finding in findings}


@pytest.mark.parametrize("name", lab.NAMES)
def test_the_verdict_is_that_of_the_kept_finding(found, name):
    (full,) = (finding for finding in kept(KEPT) if finding.name == name)
    fast = found[name]
    assert len(fast.seeds) == len(full.seeds) == 5
    assert [judgement.statement for judgement in fast.judgements] == [
        judgement.statement for judgement in full.judgements
    ]
    if name not in WITHIN_THE_SPREAD:
        assert fast.holds == full.holds, [j for j in fast.judgements if not j.holds]
