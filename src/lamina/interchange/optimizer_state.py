"""An optimiser with its moments, from one framework to the other: training goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamina.errors import InputError
from lamina.interchange.crossing import Crossing, WeightPair
from lamina.interchange.proof.names import Names
from lamina.interchange.traps import TRAPS

__all__ = ["optimizer_to_keras", "optimizer_to_torch"]

KerasOptimizer = Any
"""Keras has no types."""
Slots = tuple[tuple[str, str], ...]

# Keras's list of an optimiser's variables and PyTorch's name in its state.
_ADAM: Slots = (("_momentums", "exp_avg"), ("_velocities", "exp_avg_sq"))
_AMSGRAD: Slots = (*_ADAM, ("_velocity_hats", "max_exp_avg_sq"))
# What the other framework's optimiser has no argument for.
_OF_KERAS = {
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}
_OF_TORCH = {"maximize": False, "dampening": 0}


def optimizer_to_torch(optimizer: KerasOptimizer, crossing: Crossing) -> torch.optim.Optimizer:
    """A PyTorch optimiser for a crossing's torch model that goes on where Keras's stopped.

    SGD, with momentum or Nesterov's, Adam and AdamW, amsgrad too. Keras's momentum holds the
    learning rate, v = m·v − lr·g; PyTorch's buffer is −v/lr. Weight decay is apart from the
    gradient in Keras, which makes its Adam PyTorch's AdamW. Adam's epsilon is the same number,
    though PyTorch divides it by √(1 − β₂ᵗ): the first steps differ where gradients are that small.

    Args:
        optimizer: of ``keras.optimizers``; its moments come along once it has taken a step.
        crossing: of the model that it trained.

    Raises:
        InputError: another kind, a schedule, gradient clipping, averaging, accumulation, or weight
            decay together with momentum, none of which PyTorch's optimiser has.
    """
    kind = type(optimizer).__name__
    if kind not in ("SGD", "Adam", "AdamW"):
        _refuse(kind, "is neither SGD, Adam nor AdamW")
    _check_plain(kind, vars(optimizer), _OF_KERAS)
    rate = _rate(optimizer)
    decay = float(optimizer.weight_decay or 0.0)
    names = Names(crossing)
    groups = _groups(optimizer, crossing, names, decay)
    made: torch.optim.Optimizer
    if kind == "SGD":
        momentum = float(optimizer.momentum)
        if decay and momentum:
            _refuse(kind, "has weight decay apart from its momentum, PyTorch's has it in there")
        nesterov = bool(optimizer.nesterov and momentum)
        made = torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=nesterov)
        slots: Slots = (("momentums", "momentum_buffer"),) if momentum else ()
        if slots and not rate:
            _refuse(kind, "has a learning rate of 0, by which its momentum cannot be divided")
    else:
        chosen = torch.optim.AdamW if decay or kind == "AdamW" else torch.optim.Adam
        made = chosen(
            groups,
            lr=rate,
            betas=(float(optimizer.beta_1), float(optimizer.beta_2)),
            eps=float(optimizer.epsilon),
            amsgrad=bool(optimizer.amsgrad),
        )
        slots = _AMSGRAD if optimizer.amsgrad else _ADAM
    steps = int(_array(optimizer.iterations))
    if not optimizer.built or not steps:
        return made
    for variable, parameter, pair in _trained(crossing, names):
        at = optimizer._get_variable_index(variable)
        state = {} if kind == "SGD" else {"step": torch.tensor(float(steps))}
        for theirs, ours in slots:
            moment = _array(getattr(optimizer, theirs)[at])
            if kind == "SGD":
                moment = -moment / rate
            turned = np.ascontiguousarray(pair.rearrangement.to_torch(moment))
            state[ours] = torch.from_numpy(turned).to(parameter)
        made.state[parameter] = state
    return made


def optimizer_to_keras(optimizer: torch.optim.Optimizer, crossing: Crossing) -> KerasOptimizer:
    """A Keras optimiser for a crossing's Keras model that goes on where PyTorch's stopped.

    See `optimizer_to_torch`; it is its inverse.

    Args:
        optimizer: ``torch.optim.SGD``, ``Adam`` or ``AdamW`` of the crossing's torch model.
        crossing: of the model that it trained.

    Returns:
        The optimiser, built on the Keras model's trainable variables.

    Raises:
        InputError: another kind, groups that differ in more than having weight decay or none,
            weight decay inside of the gradient (Adam, or SGD with momentum), dampening, maximize,
            or parameters that have taken different numbers of steps.
    """
    import keras

    kind = type(optimizer).__name__
    if type(optimizer) not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        _refuse(kind, "is neither SGD, Adam nor AdamW")
    options, without_decay = _one_group(kind, optimizer)
    _check_plain(kind, options, _OF_TORCH)
    rate, decay = float(options["lr"]), float(options["weight_decay"])
    if kind == "SGD":
        momentum = float(options["momentum"])
        if decay and momentum:
            _refuse(kind, "has weight decay in its momentum, Keras's has it apart")
        made = keras.optimizers.SGD(
            rate, momentum=momentum, nesterov=bool(options["nesterov"]), weight_decay=decay or None
        )
        slots: Slots = (("momentums", "momentum_buffer"),) if momentum else ()
    else:
        apart = kind == "AdamW" or options.get("decoupled_weight_decay", False)
        if decay and not apart:
            _refuse(kind, "has weight decay in its gradient, Keras's has it apart")
        chosen = keras.optimizers.AdamW if apart else keras.optimizers.Adam
        made = chosen(
            rate,
            beta_1=float(options["betas"][0]),
            beta_2=float(options["betas"][1]),
            epsilon=float(options["eps"]),
            amsgrad=bool(options["amsgrad"]),
            weight_decay=decay or (0.0 if apart else None),
        )
        slots = _AMSGRAD if options["amsgrad"] else _ADAM
    names = Names(crossing)
    trained = list(_trained(crossing, names))
    excluded = [variable for variable, parameter, _ in trained if id(parameter) in without_decay]
    if excluded and decay:
        made.exclude_from_weight_decay(var_list=excluded)
    made.build(crossing.keras_model.trainable_variables)
    made.iterations.assign(_steps(kind, optimizer, [parameter for _, parameter, _ in trained]))
    for variable, parameter, pair in trained:
        state = optimizer.state.get(parameter, {})
        at = made._get_variable_index(variable)
        for theirs, ours in slots:
            if state.get(ours) is None:
                continue
            moment = state[ours].detach().cpu().numpy()
            if kind == "SGD":
                moment = -moment * rate
            getattr(made, theirs)[at].assign(pair.rearrangement.to_keras(moment, variable.shape))
    return made


def _trained(
    crossing: Crossing, names: Names
) -> Iterator[tuple[Any, torch.nn.Parameter, WeightPair]]:
    parameters = dict(crossing.torch_model.named_parameters(remove_duplicate=False))
    variables = crossing.keras_model.weights
    for pair in crossing.weights:
        variable = variables[names.number(pair)]
        if variable.trainable and pair.torch in parameters:
            yield variable, parameters[pair.torch], pair


def _groups(
    optimizer: KerasOptimizer, crossing: Crossing, names: Names, decay: float
) -> list[dict[str, Any]]:
    """Parameters with weight decay, and those that Keras was told to leave out."""
    by_decay: dict[float, list[torch.nn.Parameter]] = {}
    for variable, parameter, _ in _trained(crossing, names):
        own = decay if decay and optimizer._use_weight_decay(variable) else 0.0
        by_decay.setdefault(own, []).append(parameter)
    return [{"params": params, "weight_decay": own} for own, params in by_decay.items()]


def _one_group(kind: str, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], set[int]]:
    """The options that all groups have, and the parameters that are without weight decay."""
    decays = {float(group["weight_decay"]) for group in optimizer.param_groups}
    groups = [
        {name: value for name, value in group.items() if name not in ("params", "weight_decay")}
        for group in optimizer.param_groups
    ]
    if any(group != groups[0] for group in groups[1:]) or len(decays - {0.0}) > 1:
        _refuse(kind, "has groups with options of their own, Keras's has one of each")
    without = {
        id(parameter)
        for group in optimizer.param_groups
        for parameter in group["params"]
        if not group["weight_decay"]
    }
    return {**groups[0], "weight_decay": max(decays)}, without


def _steps(
    kind: str, optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter]
) -> int:
    """How many steps were taken; SGD does not count, and Keras's does not ask."""
    counts = {int(state["step"]) for p in parameters if "step" in (state := optimizer.state[p])}
    if len(counts) > 1:
        _refuse(kind, f"has parameters of {min(counts)} and of {max(counts)} steps, Keras has one")
    return counts.pop() if counts else 0


def _check_plain(kind: str, options: Mapping[str, Any], allowed: Mapping[str, Any]) -> None:
    for name, plain in allowed.items():
        if options.get(name, plain) not in (plain, None):
            _refuse(kind, f"has {name}={options[name]}, which the other framework's has not")


def _rate(optimizer: KerasOptimizer) -> float:
    """The learning rate, which a schedule makes depend on the step."""
    held = vars(optimizer).get("_learning_rate")
    if hasattr(held, "get_config") and not hasattr(held, "assign"):
        _refuse(
            type(optimizer).__name__,
            f"follows the schedule {type(held).__name__}; give it a number",
        )
    rate = float(_array(optimizer.learning_rate))
    if not math.isfinite(rate):
        _refuse(type(optimizer).__name__, f"has a learning rate of {rate}")
    return rate


def _array(variable: Any) -> NDArray[Any]:  # noqa: ANN401
    import keras

    found: NDArray[Any] = keras.ops.convert_to_numpy(variable)
    return found


def _refuse(kind: str, why: str) -> None:
    topic = TRAPS["optimizer"].topic
    raise InputError(f"{topic}: {kind} {why}")
