"""PyTorch models for other runtimes: ``.pt2`` of torch.export and ``.onnx``, for any batch size."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.errors import InputError, MissingExtraError
from lamina.interchange.files.checksums import check_archive
from lamina.interchange.keras_file import LARGEST
from lamina.interchange.proof.rows import Rows
from lamina.interchange.proof.torch_side import flat

__all__ = ["compare_written", "read_pt2", "require_onnx", "write_onnx", "write_pt2"]

_LARGEST_ONNX = 2**31 - 2**24  # a protobuf's limit, less what the graph takes


def write_pt2(module: nn.Module, inputs: Sequence[Tensor], path: Path) -> None:
    """Export a module, in evaluation, with an open batch size.

    Raises:
        InputError: it cannot be exported; the message is PyTorch's.
    """
    torch.export.save(_exported(module, inputs), path)


def read_pt2(path: Path, *, largest: int = LARGEST) -> nn.Module:
    """The module of a ``.pt2`` file, in the mode in which it was exported.

    PyTorch unpickles it: only for a file that is trusted.

    Args:
        path: the file.
        largest: bytes that it, unpacked, may take.

    Raises:
        InputError: it is damaged, too large, or cannot be read.
    """
    check_archive(path, f"model {str(path)!r}", ".pt2 file", largest)
    try:
        module = torch.export.load(path).module()
    except Exception as error:  # whatever a damaged file makes of it
        raise InputError(f"model {str(path)!r}: no .pt2 file: {_brief(error)}") from error
    for name in ("train", "eval"):  # which PyTorch has raise, as they change nothing in there
        module.__dict__.pop(name, None)
    return module


def require_onnx() -> None:
    """Raise unless what writes ``.onnx`` is installed.

    Raises:
        MissingExtraError: it is not; the message says what to install.
    """
    absent = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingExtraError(
            f"a .onnx file needs {', '.join(absent)}: pip install 'lamina[convert]'"
        )


def write_onnx(module: nn.Module, inputs: Sequence[Tensor], path: Path) -> None:
    """Write a module, in evaluation, as ONNX with an open batch size and standard operators alone.

    Args:
        module: takes the inputs.
        inputs: an example each, with the batch first.
        path: one file, the weights in it.

    Raises:
        InputError: it cannot be exported, needs an operator that the standard has not, or is larger
            than the 2 GB that one file may have.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    require_onnx()
    size = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    if size > _LARGEST_ONNX:
        raise InputError(f".onnx: one file holds 2 GB at most, the weights have {size:,} bytes")
    names = ["input"] if len(inputs) == 1 else [f"input_{at}" for at in range(len(inputs))]
    program = _exported(module, inputs)
    # It tells of packages that it could use and that are not installed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = torch.onnx.export(
                program, tuple(inputs), input_names=names, dynamo=True, verbose=False
            )
            assert written is not None
            written.save(path, external_data=False)
    except Exception as error:
        raise InputError(f".onnx: PyTorch cannot write the model: {_brief(error)}") from error
    import onnx

    domains = {entry.domain for entry in onnx.load(path, load_external_data=False).opset_import}
    if foreign := sorted(domains - {"", "ai.onnx"}):
        raise InputError(f".onnx: the model needs operators of {', '.join(foreign)}")


def compare_written(path: Path, module: nn.Module, inputs: Sequence[Tensor], rows: Rows) -> str:
    """Compare a written file's outputs with its module's, at the example's batch size and another.

    Returns:
        What ran it; empty where that is not installed and nothing was compared.
    """
    if path.suffix == ".onnx" and importlib.util.find_spec("onnxruntime") is None:
        return ""
    double = copy.deepcopy(module).double().eval()
    for batch in (len(inputs[0]), len(inputs[0]) + 1):
        sized = [torch.cat([x, x])[:batch] for x in inputs]
        with torch.no_grad():
            exact = flat(double(*(_double(x) for x in sized)))
        found = _run_onnx(path, sized) if path.suffix == ".onnx" else _run_pt2(path, sized)
        for number, (ours, expected) in enumerate(zip(found, exact, strict=True)):
            what = f"output {number}, batch {batch}"
            rows.add("output", "file", what, np.asarray(ours), expected.numpy())
    if path.suffix != ".onnx":
        return f"PyTorch {torch.__version__}"
    import onnxruntime

    return f"ONNX Runtime {onnxruntime.__version__}"


def _exported(module: nn.Module, inputs: Sequence[Tensor]) -> torch.export.ExportedProgram:
    # One symbol for all inputs: their batches are of one size.
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    shapes: tuple[Any, ...] = tuple({0: batch} for _ in inputs)
    kinds = {one.kind for one in inspect.signature(module.forward).parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        shapes = (shapes,)
    modes = [(part, part.training) for part in module.modules()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module.eval(), tuple(inputs), dynamic_shapes=shapes)
    except Exception as error:
        raise InputError(f"the model cannot be exported: {_brief(error)}") from error
    finally:
        for part, training in modes:
            part.training = training


def _run_onnx(path: Path, inputs: Sequence[Tensor]) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    feed = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    outputs: list[Any] = session.run(None, feed)
    return outputs


def _run_pt2(path: Path, inputs: Sequence[Tensor]) -> list[Any]:
    with torch.no_grad():
        return flat(read_pt2(path)(*inputs))


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _brief(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:200]}".rstrip(": ")
