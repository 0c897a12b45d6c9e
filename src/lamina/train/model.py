"""A run's network: built, refused where it cannot serve, and given its lazy layers' sizes."""

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from lamina.dialects import is_keras
from lamina.errors import InputError
from lamina.models.target import is_code, load_model
from lamina.settings import TrainConfig
from lamina.train.data import Facts


def build_model(target: str, facts: Facts) -> torch.nn.Module:
    """Build the network that ``target`` names for images and classes such as these.

    Raises:
        InputError: there is no such factory, it returns a Keras model, or a network that raises
            for such an image or answers anything but (1, classes) floats.
    """
    classes = len(facts.classes)
    model = load_model(target, num_classes=classes, in_channels=facts.channels)
    if is_keras(model):
        raise InputError(
            f"model: {target!r} is a Keras model, which trains with its own compile and fit; "
            "expected a torch.nn.Module that takes images (N, C, H, W)"
        )
    shape, expected = facts.input_shape, (1, classes)
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            output = model(torch.zeros(shape))
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"model: fails for images of shape {shape}: {reason[0]}") from error
    finally:
        for module, training in modes:
            module.training = training
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        raise InputError(f"model: expected a float tensor of shape {expected}, got {_said(output)}")
    if tuple(output.shape) != expected:
        raise InputError(
            f"model: expected an output of shape {expected} (images, classes), "
            f"got {tuple(output.shape)}; num_classes is handed to the factory if it takes it"
        )
    return model


def chosen_model(run: Path, config: TrainConfig, model: str | None) -> str:
    """Return the target to build for a run, which runs no code that the caller has not named.

    Raises:
        InputError: the run's model is code, and the caller named none.
    """
    if model is None and is_code(config.model):
        raise InputError(
            f"{run}: its model is code outside of lamina; say --model {config.model} to run it"
        )
    return model or config.model


def is_worth_compiling(model: torch.nn.Module, input_shape: tuple[int, ...], images: int) -> bool:
    """Whether so many images take long enough on a CPU that compiling the model first is less.

    Args:
        model: as it is.
        input_shape: (1, C, H, W).
        images: that go through it.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval()(torch.zeros(input_shape))
    finally:
        for module, training in modes:
            module.training = training
    seconds = counter.get_total_flops() * images / (_FLOPS_OF_A_THREAD * torch.get_num_threads())
    return not torch.cuda.is_available() and seconds > _WORTH_COMPILING


_FLOPS_OF_A_THREAD = 30e9  # per second: what convolutional networks get of a server's core
_WORTH_COMPILING = 120.0  # seconds: training, evaluation and their last batches take some 15


def _said(output: object) -> str:
    if isinstance(output, torch.Tensor):
        return f"{output.dtype} of shape {tuple(output.shape)}"
    return type(output).__name__
