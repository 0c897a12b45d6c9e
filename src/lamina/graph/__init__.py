"""One pass over a captured graph: what belongs together runs as one op, chosen for its shapes.

capture (Dynamo) -> nodes -> memory -> patterns -> rewrite -> layout -> steps, contest
"""

from lamina.graph.contest import without_a_clock
from lamina.graph.dynamo import Backend, backend
from lamina.graph.plan import load_plan, save_plan
from lamina.graph.report import Graph, Report, Row

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
