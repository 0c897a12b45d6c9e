"""What Dynamo calls with a captured graph: ``torch.compile(model, backend="lamina")``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from lamina.graph import layout
from lamina.graph.pattern import groups, spellings
from lamina.graph.pattern.memory import read_after_writing
from lamina.graph.recompute import keep_buffers_out
from lamina.graph.report import Graph, Report, say
from lamina.graph.rewrite import rewrite, without_dropout
from lamina.graph.running.runner import Runner
from lamina.ops.runtime import native

__all__ = ["Backend", "backend"]


class Backend:
    """Compiles graphs, and reports on them.

    Args:
        report: where a `Graph` is added for each; None for none.
    """

    def __init__(self, report: Report | None = None) -> None:
        self.report = report

    def __call__(self, module: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        """The captured graph as a function that computes the same."""
        differentiates = torch.is_grad_enabled() and any(
            isinstance(tensor, Tensor) and tensor.requires_grad for tensor in inputs
        )
        record = Graph("training" if differentiates else "inference")
        if self.report is not None:
            self.report.graphs.append(record)
        record.problem = _obstacle(module) or ""
        if record.problem:
            return module.forward
        keep_buffers_out(module)
        captured = copy.deepcopy(module.graph)
        try:
            read_after_writing(module.graph)
            without_dropout(module.graph)
            spellings.by_name(module.graph)
            found = groups.find(module.graph, differentiates=differentiates)
            record.rows += rewrite(module, found)
            layout.restore_strides(module.graph)
            module.graph.lint()
        except Exception as error:  # whatever the graph holds, the model has to run
            record.rows.clear()
            record.problem = f"{type(error).__name__} while it was rewritten: {error}"
            module.graph = captured
        module.recompile()
        for line in (f"{record.mode}: {record.problem or 'captured'}", *record.rows):
            say(line)
        return module.forward if differentiates or record.problem else Runner(module, record)


def _obstacle(module: GraphModule) -> str | None:
    """Why a graph is left as it is."""
    if native.kernels is None:
        return f"kernels {native.reason_for_absence}"
    if torch.is_autocast_enabled("cpu"):
        return "under autocast PyTorch's ops cast, and lamina's kernels are float32"
    for node in module.graph.nodes:
        if node.op == "call_function" and "autocast" in getattr(node.target, "__name__", ""):
            return "it switches autocast on, and lamina's kernels are float32"
    return None


def backend(
    module: GraphModule, inputs: Sequence[Any], *, options: Any = None, mode: Any = None
) -> Callable[..., Any]:
    """The entry point of ``torch.compile(model, backend="lamina")``."""
    if options:
        raise ValueError(f"lamina's backend has no options, got {sorted(options)}")
    return Backend()(module, inputs)
