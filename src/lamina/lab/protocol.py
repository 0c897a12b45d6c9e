"""What an experiment is: a claim, theory's prediction, a rule stated first, a way to measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamina.lab.tools.data import Images
from lamina.report.finding.chart import Chart
from lamina.report.finding.records import Judgement, Results


@dataclass(frozen=True)
class Setting:
    """What a run of an experiment is given.

    Args:
        seeds: one repetition each; of what is drawn, seeds alone decide.
        fast: cut sizes, not seeds, so that all experiments together take under four minutes on two
            cores; the verdict is to be the same.
        images: to train on.
    """

    seeds: Sequence[int]
    fast: bool
    images: Images


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Args:
        results: the numbers that criteria speak of, by name.
        chart: the figure.
    """

    results: Results
    chart: Chart


@dataclass(frozen=True)
class Criterion:
    """One part of the rule for the verdict.

    Args:
        statement: what must be so for the claim to hold, as a sentence with its threshold.
        judge: decides it from the results.
        limit: completes "holds where ..." for a claim that stands without this part; empty where
            it falls with it.
    """

    statement: str
    judge: Callable[[Results], bool]
    limit: str = ""

    def applied(self, results: Results) -> Judgement:
        """Judge the results."""
        return Judgement(self.statement, bool(self.judge(results)), self.limit)


@dataclass(frozen=True)
class Experiment:
    """A claim about a kind of layer, and how it is tried.

    Args:
        name: as it is typed.
        title: the question, as people ask it.
        claim: one sentence that can be wrong.
        source: paper and section, or book, that makes it.
        theory: what follows from the formulas, with the number or the curve that is expected.
        method: what is done, with sizes; what ``fast`` cuts.
        criteria: the rule for the verdict.
        measure: runs it.
    """

    name: str
    title: str
    claim: str
    source: str
    theory: str
    method: str
    criteria: Sequence[Criterion]
    measure: Callable[[Setting], Outcome]
