"""From one file or model to a file of another kind, proven on the way where that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lamina import models
from lamina.dialects import is_keras
from lamina.errors import InputError
from lamina.interchange import from_keras, from_torch
from lamina.interchange.crossing import Crossing
from lamina.interchange.files import checksums
from lamina.interchange.files.exported import compare_written
from lamina.interchange.files.kinds import kind_to_write
from lamina.interchange.files.reading import read_model
from lamina.interchange.files.writers import Work, check_target, write
from lamina.interchange.files.writing import Staging, check_place
from lamina.interchange.proof import verify as prove
from lamina.interchange.proof.comparing import example_inputs
from lamina.interchange.proof.rows import Rows
from lamina.interchange.traps import TRAPS
from lamina.report.conversion import Change, Conversion, Proof

__all__ = ["convert"]

Sizes = Sequence[Sequence[int]]
_RUNNABLE = (".pt2", ".onnx")


def convert(
    source: str | Path | nn.Module,
    target: str | Path,
    *,
    model: str | None = None,
    verify: bool = False,
    force: bool = False,
    sizes: Sizes | Sequence[int] | None = None,
    flavour: str | None = None,
    keep_layout: bool = False,
    allow_custom_code: bool = False,
    name: str | None = None,
) -> Conversion:
    """Write a model as a file of another kind, which its suffix says.

    Args:
        source: a file, a name of `lamina.models`, ``pkg.mod:factory``, ``file.py:factory``, or a
            model itself: a Keras one or a torch module.
        target: ``.keras``, ``.weights.h5``, ``.safetensors`` (with a ``config.json`` beside it),
            ``.pt``, ``.pth``, ``.pt2``, ``.onnx``, or ``.py``: the other framework's source, with
            a file of weights beside it.
        model: the code of the model that ``source`` are the weights of.
        verify: run both sides and compare, see `lamina.interchange.verify`; a ``.pt2`` or ``.onnx``
            file is run too.
        force: write although they differ.
        sizes: of every input, or of the one, with the batch, as the source has it; needed where
            that is a torch model, and for sizes that a Keras model leaves open.
        flavour: whose layers the other framework's model gets: ``"torch"`` or ``"keras"``, which
            are the defaults, or ``"lamina"``.
        keep_layout: have the Keras model of a torch one take (N, C, H, W).
        allow_custom_code: run what a ``.keras`` file holds or names, and unpickle a ``.pt2`` file.
        name: of a model that is given as one, for the report.

    Returns:
        What became of every layer, and the proof. Where that fails nothing is written, unless
        ``force``.

    Raises:
        InputError: what cannot be read, cannot cross or cannot be written; the target is untouched.
        RunError: a side fails when it runs.

    Example:
        >>> convert("digits_cnn", "model.onyx")
        Traceback (most recent call last):
        ...
        lamina.errors.InputError: DST: expected a name that ends in .keras, ...; did you mean ...
    """
    target = Path(target)
    sizes = _of_every_input(sizes)
    kind = kind_to_write(target)
    check_place(target)
    check_target(target)
    remarks: list[str] = []
    if isinstance(source, nn.Module):
        given, said = source, name or type(source).__name__
    else:
        given = read_model(str(source), model=model, allow_custom_code=allow_custom_code)
        said = str(source)
        remarks += filter(None, [checksums.remark(Path(source))])
    side = "keras" if is_keras(given) else "torch"
    wanted = kind.side if kind.side != "other" else {"keras": "torch", "torch": "keras"}[side]
    if side == wanted and (flavour is not None or keep_layout):
        raise InputError(f"flavour, keep-layout: SRC and DST both hold a {side} model; leave out")
    crossing = _crossed(given, wanted, sizes, flavour, keep_layout) if side != wanted else None
    work = _work(given, crossing, sizes, target, source if source in models.names() else None)
    if verify and crossing is None and target.suffix.lower() not in _RUNNABLE:
        raise InputError(f"verify: SRC and DST both hold a {side} model: nothing is to be proven")
    inner = [size[1:] for size in sizes] if sizes and side == "keras" else None
    proof = None
    if verify and crossing is not None:
        is_exported = isinstance(source, str | Path) and Path(source).suffix.lower() == ".pt2"
        proof = prove(crossing, sizes=inner, training=not is_exported)
    with Staging(target.parent) as staging:
        written: list[str] = []
        if proof is None or proof.holds or force:
            written = write(work, staging.folder / target.name)
            if verify and target.suffix.lower() in _RUNNABLE:
                proof = _run(proof, work, staging.folder / target.name)
        if written and (proof is None or proof.holds or force):
            staging.commit(written)
        else:
            written = []
    return _conversion(said, target, work, proof, written, remarks)


def _of_every_input(sizes: Sizes | Sequence[int] | None) -> Sizes | None:
    if sizes is None or not sizes:
        return None
    listed = list(sizes)
    one = [size for size in listed if isinstance(size, int)]
    return [one] if len(one) == len(listed) else [tuple(size) for size in listed]  # type: ignore[arg-type]


def _crossed(
    given: nn.Module, wanted: str, sizes: Sizes | None, flavour: str | None, keep_layout: bool
) -> Crossing:
    if flavour not in (None, wanted, "lamina"):
        raise InputError(f"flavour: expected {wanted} or lamina, got {flavour!r}")
    ours = flavour == "lamina"
    if wanted == "torch":
        if keep_layout:
            raise InputError("keep-layout: speaks of a Keras model that is made of a torch one")
        return from_keras.cross(given, flavour="lamina" if ours else "torch")
    return from_torch.cross(
        given,
        tuple(_drawn(sizes)),
        flavour="lamina" if ours else "keras",
        keep_layout=keep_layout,
    )


def _drawn(sizes: Sizes | None) -> list[Tensor]:
    """Inputs of given sizes, two in a batch: of one the exporters would make a constant."""
    if not sizes:
        raise InputError("input: a torch model does not say its inputs' sizes; --input 1,3,224,224")
    random = np.random.default_rng(0)
    return [
        torch.from_numpy(random.standard_normal((2, *size[1:])).astype(np.float32))
        for size in sizes
    ]


def _work(
    given: nn.Module,
    crossing: Crossing | None,
    sizes: Sizes | None,
    target: Path,
    model: str | None,
) -> Work:
    """What is to be written, with examples of its inputs."""
    if crossing is None:
        needed = not is_keras(given) and (sizes or target.suffix.lower() in _RUNNABLE)
        return Work(given, _drawn(sizes) if needed else [], None, model)
    if not is_keras(given):
        return Work(crossing.keras_model, [], crossing, None)
    is_open = sizes is None and any(None in x.shape[1:] for x in crossing.keras_model.inputs)
    if is_open and target.suffix.lower() not in _RUNNABLE:  # nothing in there has a size
        return Work(crossing.torch_model, [], crossing, None)
    random = np.random.default_rng(0)
    inner = [size[1:] for size in sizes] if sizes else None
    arrays = example_inputs(crossing.keras_model, 2, inner, random)
    tensors = [
        torch.from_numpy(x if axes is None else x.transpose(np.argsort(axes)).copy())
        for x, axes in zip(arrays, crossing.input_axes, strict=True)
    ]
    examples = [x.float() if x.is_floating_point() else x for x in tensors]
    return Work(crossing.torch_model, examples, crossing, None)


def _run(proof: Proof | None, work: Work, path: Path) -> Proof:
    """The proof with the outputs of the written file."""
    rows = Rows(1e-4)
    ran_on = compare_written(path, work.module, work.examples, rows)
    inputs = [tuple(x.shape) for x in work.examples]
    known = proof or Proof([], [], "", inputs, 0)
    if not ran_on:
        return replace(known, remark="onnxruntime is not installed: the file was not run")
    return replace(
        known,
        rows=[*known.rows, *rows.finished()],
        ran_on=[*known.ran_on, f"{path.suffix} on {ran_on}"],
    )


def _conversion(
    said: str,
    target: Path,
    work: Work,
    proof: Proof | None,
    written: Sequence[str],
    remarks: Sequence[str],
) -> Conversion:
    crossing, module = work.crossing, work.module
    if crossing is not None:
        layers, notes = [pair.layer for pair in crossing.pairs], crossing.notes
    else:
        layers, notes = _layers(module), []
    changes = [
        Change(note.layer, note.fate, note.what, TRAPS[note.trap].topic, TRAPS[note.trap].effect)
        for note in notes
    ]
    elements = sum(t.numel() for t in module.state_dict().values() if isinstance(t, Tensor))
    return Conversion(said, str(target), layers, elements, changes, proof, written, remarks)


def _layers(module: nn.Module) -> list[str]:
    if is_keras(module):
        return [layer.name for layer in module.layers]  # type: ignore[union-attr]
    return [name for name, part in module.named_modules() if name and not any(part.children())]
