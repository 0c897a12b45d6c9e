"""What became of each layer of a compiled model, and why nothing faster serves it."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch.fx import Node

__all__ = ["Graph", "Report", "Row", "layer_of", "say"]


@dataclass
class Row:
    """A call of a compiled graph.

    Args:
        layer: the qualified name of the module that it stands for; of several, all.
        what: it computes: "conv2d + batch_norm + relu6".
        runs: as what: an op of lamina's or PyTorch's.
        note: why nothing faster serves it; "" for nothing.
        fused: how many of the model's calls it stands for.
        chosen: the algorithm by the shape of the input.
    """

    layer: str
    what: str
    runs: str
    note: str = ""
    fused: int = 1
    chosen: dict[tuple[int, ...], str] = field(default_factory=dict)

    def __str__(self) -> str:
        chosen = ", ".join(f"{'×'.join(map(str, k))}: {v}" for k, v in self.chosen.items())
        text = f"{self.layer}: {self.what} -> {self.runs}"
        return text + (f" ({chosen})" if chosen else "") + (f" - {self.note}" if self.note else "")


@dataclass
class Graph:
    """One captured graph: the model in one mode, or a part of it between two breaks.

    Args:
        mode: "inference" or "training".
        rows: a row for each of its calls.
        problem: why nothing in it was changed; "" for nothing.
        native: how many of its calls run without Python between them since its second call.
    """

    mode: str
    rows: list[Row] = field(default_factory=list)
    problem: str = ""
    native: int = 0


@dataclass
class Report:
    """What `lamina.optimize` made of a model; prints as a list, a line for each call.

    Args:
        model: its class.
        graphs: those that were captured, in the order of their first calls.
    """

    model: str
    graphs: list[Graph] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """Of all graphs."""
        return [row for graph in self.graphs for row in graph.rows]

    @property
    def left(self) -> list[Row]:
        """What PyTorch's own ops run, for a reason that the row gives."""
        return [row for row in self.rows if row.runs.startswith("torch.")]

    def summary(self) -> str:
        """One line.

        Example:
            >>> Report("Net").summary()
            'Net: not called yet'
        """
        if not self.graphs:
            return f"{self.model}: not called yet"
        return f"{self.model}: " + "; ".join(self._summaries())

    def _summaries(self) -> Iterator[str]:
        for graph in self.graphs:
            if graph.problem:
                yield f"{graph.mode}: as it was, {graph.problem}"
                continue
            counts = Counter(row.runs for row in graph.rows)
            before = sum(row.fused for row in graph.rows)
            calls = ", ".join(f"{count} {runs}" for runs, count in counts.items())
            yield f"{graph.mode}: {before} calls run as {len(graph.rows)}: {calls}"

    def __str__(self) -> str:
        lines = [self.summary()]
        for graph in self.graphs:
            lines += [f"  {row}" for row in graph.rows]
            if graph.native:
                lines.append(f"  {graph.native} of them without Python between")
        return "\n".join(lines)


def say(line: object) -> None:
    """Under ``LAMINA_VERBOSE=1``: on standard error, for who watches a model being compiled."""
    if os.environ.get("LAMINA_VERBOSE") == "1":
        print(f"lamina: {line}", file=sys.stderr, flush=True)


def layer_of(node: Node) -> str:
    """The qualified name of the module whose forward called a node; "" for the model's own.

    Dynamo writes it as ``L['self']._modules['features']._modules['0']`` or ``L['self'].stem``.

    Example:
        >>> from torch.fx import Graph
        >>> node = Graph().placeholder("x")
        >>> node.meta["nn_module_stack"] = {"": ("L['self']._modules['stem'].conv[0]", None)}
        >>> layer_of(node)
        'stem.conv.0'
    """
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(next(reversed(stack.values()))[0])
    path = re.sub(r"^L\['\w+'\]", "", path).replace("_modules", "")
    return ".".join(re.findall(r"\w+", path))
