"""Every layer of a model accounts for itself: what it is, does, costs, could cost, and needs.

``lamina.inspect(model, input_size=(1, 3, 224, 224))`` returns an :class:`Account`, which prints as
a table and goes to JSON, CSV, Markdown and HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lamina.dialects import is_keras
from lamina.inspector.advice.rules import advise
from lamina.inspector.health.examine import Batch, examine
from lamina.inspector.health.rules import diagnose
from lamina.inspector.limits import add_health, add_limits, add_times, contradiction
from lamina.inspector.rows import build_rows, operators_of, sealed_names, totals_of
from lamina.inspector.timing import measure_times
from lamina.inspector.trace.dialect import built_only
from lamina.inspector.trace.inputs import Sizes, arguments_of, materialised
from lamina.inspector.trace.recorder import ForwardError
from lamina.inspector.trace.run import trace
from lamina.inspector.trace.untouched import untouched
from lamina.ops.runtime.torch_private import inside
from lamina.ops.tuning import machine as machine_measurement
from lamina.report.account import Account
from lamina.report.records import Row, Totals
from lamina.theory.limits import Machine

__all__ = ["Account", "ForwardError", "Row", "Totals", "inspect"]


def inspect(
    model: nn.Module,
    input_size: Sizes | None = None,
    input_data: object = None,
    *,
    dtype: torch.dtype = torch.float32,
    training: bool | None = False,
    backward: bool = True,
    measure: bool = False,
    seconds: float = 3.0,
    machine: Machine | None = None,
    train_data: Iterable[Batch] | None = None,
    optimizer: Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer] = torch.optim.AdamW,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = cross_entropy,
) -> Account:
    """Count a model, layer by layer, without running it on data and without changing it.

    Args:
        model: any module: functional operators, shared and lazy modules, several inputs and
            outputs, Keras models on the torch backend.
        input_size: a size with the batch, ``(1, 3, 224, 224)``; several, or one per argument name.
            A Keras model that knows its inputs needs none: one sample is taken.
        input_data: in its place a tensor, a tuple of arguments or a dict of named arguments.
        dtype: of the inputs made from ``input_size``.
        training: count the model in training (True) or inference (False) mode; ``None`` leaves
            the modules' flags as they are.
        backward: count the backward pass and what is saved for it too.
        measure: measure the machine, run the model to time every row, and build and time the
            changes that may pay.
        seconds: how long to measure; a tenth of it for each change that is tried.
        machine: peak and bandwidth for the limits; by default measured, if ``measure`` is true.
        train_data: (input, target) batches; a copy of the model is trained on them, a step each,
            and the health of its layers is judged.
        optimizer: makes the optimiser for that from the parameters.
        loss: of the output and the target, for that.

    Returns:
        The account. The sum of its rows is its total; operators without a formula are listed and
        make the totals ``"partial"``.

    Raises:
        InputError: the input cannot be made of what was given, or the model is not built yet.
        ForwardError: the model raises; the message names the module.
        TypeError: ``model`` is no module.

    Example:
        >>> account = inspect(nn.Conv2d(3, 16, 3), input_size=(1, 3, 32, 32))
        >>> account.totals.macs, account.rows[0].output_shapes
        (388800, [(1, 16, 30, 30)])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    compiled, model = model, inside(model)
    args, kwargs = arguments_of(model, input_size, input_data, dtype)
    if training is not None and is_keras(model):
        kwargs.setdefault("training", training)  # Keras asks its call, not the module's flag
    with untouched(model, data=False), built_only(model):
        if training is not None:
            model.train(training)
        subject = materialised(model, args, kwargs)
        result = trace(subject, args, kwargs, gradients=backward)
        rows = build_rows(subject, result)
    totals = totals_of(rows, result)
    if measure:
        mode = partial(nn.Module.train, mode=result.training) if training is not None else id
        times = measure_times(
            subject,
            args,
            kwargs,
            sealed=sealed_names(result),
            backward=backward,
            seconds=seconds,
            prepare=mode,
        )
        totals = add_times(rows, totals, times)
        if machine is None:
            machine, doubt = _measured_machine(rows)
            result.notes.extend(doubt)
    if machine is not None:
        totals = add_limits(rows, totals, machine)
    advice = []
    if measure and machine is not None:
        advice = advise(subject, rows, machine, seconds / 10)
    diagnoses = []
    if train_data is not None:
        seen = examine(subject, train_data, loss=loss, optimizer=optimizer)
        add_health(rows, seen.health)
        diagnoses = diagnose(seen.health, seen.order, seen.losses)
    result.notes.extend(_of_compiler(compiled, model))
    return Account(
        model=type(model).__name__,
        rows=rows,
        totals=totals,
        machine=machine,
        inputs=result.inputs,
        training=result.training,
        notes=result.notes,
        operators=operators_of(result),
        diagnoses=diagnoses,
        advice=advice,
    )


def _of_compiler(compiled: nn.Module, model: nn.Module) -> list[str]:
    """What the books, which are the layers', do not show of a compiled model."""
    report = getattr(model, "lamina_report", None)
    if report is not None:
        return [f"lamina.optimize: {report.summary()}; model.lamina_report has a line for each"]
    return ["torch.compile: the books are the model's, before it is compiled"] * (
        compiled is not model
    )


_TRIES = 4  # to measure the machine, where a row shows that it can do more than was found


def _measured_machine(rows: Sequence[Row]) -> tuple[Machine | None, list[str]]:
    """Peak and bandwidth, the best of several tries; none, and why, where rows still deny them."""
    cache_bytes, _ = machine_measurement.last_cache()
    denied = None
    for attempt in range(_TRIES):
        machine = machine_measurement.measure(again=attempt > 0)
        denied = contradiction(rows, machine, cache_bytes)
        if denied is None:
            return machine, []
    return None, [f"no limits and no advice: {denied}; measure again while nothing else runs"]
