"""What the tests of both dialects ask of a model that is exported: that it runs elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager

BATCH = torch.export.Dim("batch", min=2, max=1 << 20)


def foreign_operators(program: torch.export.ExportedProgram) -> set[str]:
    """Those that PyTorch alone would not have."""
    targets = [
        node.target
        for node in program.graph.nodes
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)
    ]
    return {str(target) for target in targets if target.namespace != "aten"}


_ELSEWHERE = """
import json, sys
sys.modules["lamina"] = None  # from here on its import fails
import torch
faults = {}
for name, (path, x, expected) in torch.load(sys.argv[1]).items():
    try:
        program = torch.export.load(path).module()
        torch.manual_seed(0)
        torch.testing.assert_close(program(x), expected, rtol=1e-5, atol=1e-6)
    except Exception as error:
        faults[name] = repr(error)
print(json.dumps(faults))
"""


def faults_elsewhere(
    runs: dict[str, tuple[torch.export.ExportedProgram, Tensor]], folder: Path
) -> dict[str, str]:
    """What fails, by name, when programs are saved, loaded by a process without lamina, and run."""
    faults, saved = {}, {}
    for at, (name, (program, x)) in enumerate(runs.items()):
        path = folder / f"{at}.pt2"
        try:
            torch.export.save(program, path)
        except Exception as error:
            faults[name] = repr(error)
            continue
        torch.manual_seed(0)
        saved[name] = (str(path), x, program.module()(x))
    torch.save(saved, folder / "runs.pt")
    command = [sys.executable, "-c", _ELSEWHERE, str(folder / "runs.pt")]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout) | faults


class Beside(torch.nn.Module):
    """Layers that are called each by itself; an export of many takes little more than of one."""

    def __init__(self, layers: Sequence[torch.nn.Module], inputs: Sequence[int]) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)
        self.inputs = tuple(inputs)
        """Which of the inputs goes to each layer."""

    def forward(self, *inputs: Tensor) -> list[Any]:
        return [layer(inputs[at]) for layer, at in zip(self.layers, self.inputs, strict=True)]


def export_to_onnx(
    model: torch.nn.Module, inputs: Sequence[Tensor], path: Path, *, dynamo: bool, dynamic: bool
) -> None:
    """By PyTorch's newer exporter or its older one; ``dynamic`` leaves every batch size open."""
    names = [f"x{at}" for at in range(len(inputs))]
    options: dict[str, Any] = {"dynamo": dynamo, "input_names": names, "verbose": False}
    if dynamic and dynamo:
        batches = tuple({0: torch.export.Dim(f"batch{at}", min=2)} for at in range(len(inputs)))
        options["dynamic_shapes"] = (batches,) if isinstance(model, Beside) else batches
    elif dynamic:
        options["dynamic_axes"] = {name: {0: f"batch_{name}"} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, tuple(inputs), str(path), **options)


def run_onnx(path: Path, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of onnxruntime, which knows the standard's operators alone."""
    model = onnx.load(path)
    assert {operator.domain for operator in model.opset_import} <= {"", "ai.onnx"}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    feed = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return [torch.from_numpy(y) for y in session.run(None, feed)]


def count_graphs(model: Any, inputs: Sequence[Tensor]) -> int:
    """How many graphs ``torch.compile(dynamic=True)`` runs for inputs of several sizes."""
    ran: set[int] = set()

    def backend(graph: torch.fx.GraphModule, examples: list[Any]) -> Any:
        compiled = aot_eager(graph, examples)

        def run(*args: Any) -> Any:
            ran.add(id(compiled))
            return compiled(*args)

        return run

    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, dynamic=True)
    for x in inputs:
        compiled(x)
    return len(ran)
