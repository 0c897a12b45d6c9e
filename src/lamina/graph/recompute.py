"""Activation checkpoints of a captured graph: their bodies run again in the backward pass.

Dynamo hands the body every tensor that it reads, the buffers among them that it changes, and
PyTorch's checkpoint then refuses to run backward because they were changed. In an eager model the
body finds its buffers by itself; so it does here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.fx import GraphModule
from torch.utils.checkpoint import checkpoint

from lamina.graph.pattern.memory import written

__all__ = ["keep_buffers_out"]


def keep_buffers_out(module: GraphModule) -> None:
    """Have checkpoints save no tensor that their body changes."""
    for node in list(module.graph.nodes):
        if getattr(node.target, "_name", "") != "tag_activation_checkpoint":
            continue
        body = getattr(module, node.args[0].target)
        places = [n for n in body.graph.nodes if n.op == "placeholder"]
        changed = {target for inner in body.graph.nodes for target in written(inner)}
        with module.graph.inserting_after(node):
            new = module.graph.call_function(
                _checkpointed(body, [place not in changed for place in places]),
                tuple(node.args[1:]),
                dict(node.kwargs),
            )
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)


def _checkpointed(body: GraphModule, saved: list[bool]) -> Callable[..., Any]:
    def recomputed(*operands: Any, **options: Any) -> Any:
        def run(*given: Any) -> Any:
            rest = iter(given)
            return body(
                *(
                    next(rest) if keep else operand
                    for keep, operand in zip(saved, operands, strict=True)
                )
            )

        kept = [operand for keep, operand in zip(saved, operands, strict=True) if keep]
        return checkpoint(run, *kept, **options)

    return recomputed
