"""One pass over a captured graph: what belongs together runs as one op, chosen for its shapes.

capture (Dynamo) -> pattern: spellings, groups -> rewrite -> layout -> running: steps, runner
"""

from lamina.graph.dynamo import Backend, backend
from lamina.graph.report import Graph, Report, Row
from lamina.graph.running.contest import without_a_clock
from lamina.graph.running.plan import load_plan, save_plan

__all__ = [
    "Backend",
    "Graph",
    "Report",
    "Row",
    "backend",
    "load_plan",
    "save_plan",
    "without_a_clock",
]
