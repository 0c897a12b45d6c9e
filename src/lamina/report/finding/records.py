"""What an experiment found, as plain data: numbers with their spread, judgements, a verdict."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lamina.report.finding.chart import Chart


@dataclass(frozen=True)
class Measurement:
    """A number, measured once per seed.

    Args:
        values: one per seed, in the seeds' order.
        unit: of the values; empty for a plain number, ``"%"`` for a share in [0, 1].
        predicted: what theory says; None where it says nothing.

    Example:
        >>> gap = Measurement((0.2, 0.1, 0.3), "%")
        >>> gap.median, gap.low, gap.high
        (0.2, 0.1, 0.3)
    """

    values: tuple[float, ...]
    unit: str = ""
    predicted: float | None = None

    @property
    def median(self) -> float:
        """Median over the seeds."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """Least over the seeds."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Largest over the seeds."""
        return max(self.values)

    def below(self, other: Measurement | float, factor: float = 1.0) -> bool:
        """Tell whether the median is below ``factor`` times the other's, for most seeds too.

        The seeds are taken in pairs: four of five must agree, as three would by chance.
        """
        others = other.values if isinstance(other, Measurement) else (other,) * len(self.values)
        pairs = list(zip(self.values, others, strict=True))
        agree = sum(mine < factor * theirs for mine, theirs in pairs)
        return self.median < factor * statistics.median(others) and agree >= 0.8 * len(pairs)

    def near(self, value: float, relative: float) -> bool:
        """Tell whether the median is within a relative distance of a value, 0.1 being a tenth."""
        return abs(self.median - value) <= relative * abs(value)


Results = Mapping[str, Measurement]


@dataclass(frozen=True)
class Judgement:
    """One criterion of the verdict, stated before the result.

    Args:
        statement: what must be so for the claim to hold.
        holds: whether it was.
        limit: where the claim holds if this fails; empty if it then does not hold at all.
    """

    statement: str
    holds: bool
    limit: str = ""


@dataclass(frozen=True)
class Finding:
    """What an experiment found.

    Args:
        name: of the experiment.
        title: the question, as people ask it.
        claim: the sentence that is tried.
        source: who says so.
        theory: what theory predicts.
        method: what was done.
        judgements: of each criterion.
        results: the numbers behind them, by name.
        chart: the figure.
        seeds: one run each.
        fast: whether sizes were cut for a quick run.
        data: what the images were.
        seconds: what it took.
        machine: processor, threads and versions.
    """

    name: str
    title: str
    claim: str
    source: str
    theory: str
    method: str
    judgements: Sequence[Judgement]
    results: Results
    chart: Chart
    seeds: Sequence[int]
    fast: bool
    data: str
    seconds: float
    machine: Mapping[str, str]

    @property
    def holds(self) -> bool:
        """Whether the claim holds, everywhere or within limits."""
        return all(judgement.holds or judgement.limit for judgement in self.judgements)

    @property
    def limits(self) -> list[str]:
        """Where the claim holds, by the criteria that were not met; empty where it falls."""
        return [one.limit for one in self.judgements if not one.holds] if self.holds else []

    @property
    def verdict(self) -> str:
        """``"holds"``, ``"holds where ..."`` or ``"does not hold"``."""
        if self.limits:
            return f"holds where {' and '.join(self.limits)}"
        return "holds" if self.holds else "does not hold"

    def to_json(self) -> str:
        """Return the finding as JSON, its verdict in words beside the judgements."""
        plain = {**asdict(self), "chart": self.chart.to_dict(), "verdict": self.verdict}
        return json.dumps(_finite(plain), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Finding:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        del values["verdict"]
        values["chart"] = Chart.from_dict(values["chart"])
        values["judgements"] = [Judgement(**one) for one in values["judgements"]]
        values["results"] = {
            name: Measurement(tuple(map(float, one["values"])), one["unit"], one["predicted"])
            for name, one in values["results"].items()
        }
        return cls(**values)


def _finite(value: Any) -> Any:  # noqa: ANN401 - plain values of any shape
    """Say "inf" and "nan" in words: JSON has no such numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [_finite(item) for item in value]
    return value
