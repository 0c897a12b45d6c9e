"""Nested training state as JSON and tensors: what a pickle would hold, without one."""

from collections.abc import Mapping
from typing import Any

import torch


def pack(value: Any, tensors: dict[str, torch.Tensor], place: str = "") -> Any:  # noqa: ANN401
    """Return ``value`` as JSON can hold it and put its tensors into ``tensors``.

    Args:
        value: None, bools, numbers, text and tensors, in lists, tuples and mappings.
        tensors: gets each tensor under its place in ``value``, such as ``optimizer.0.exp_avg``.
        place: where ``value`` stands in the whole.

    Raises:
        TypeError: something else, named with its place: only a pickle could hold it.

    Example:
        >>> tensors = {}
        >>> pack({"lr": 0.1, 0: torch.zeros(2)}, tensors)
        {'$items': [['lr', 0.1], [0, {'$tensor': '.0'}]]}
        >>> list(tensors)
        ['.0']
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        # A copy: safetensors refuses tensors that share memory, and training goes on meanwhile.
        tensors[place] = value.detach().cpu().clone().contiguous()
        # The order in memory decides how later sums round, so it is part of an exact state.
        last = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
        return {"$tensor": place, "channels_last": True} if last else {"$tensor": place}
    if isinstance(value, list | tuple):
        parts = [pack(part, tensors, f"{place}.{index}") for index, part in enumerate(value)]
        return {"$tuple": parts} if isinstance(value, tuple) else parts
    if isinstance(value, Mapping):
        items = [[key, pack(part, tensors, f"{place}.{key}")] for key, part in value.items()]
        plain = all(isinstance(key, str) and not key.startswith("$") for key in value)
        return dict(items) if plain else {"$items": items}
    raise TypeError(f"{place or 'state'}: {type(value).__name__} cannot be saved without a pickle")


def unpack(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:  # noqa: ANN401
    """Return what `pack` was given."""
    if isinstance(value, list):
        return [unpack(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        tensor = tensors[value["$tensor"]]
        last = value.get("channels_last", False)
        return tensor.contiguous(memory_format=torch.channels_last) if last else tensor
    if "$tuple" in value:
        return tuple(unpack(part, tensors) for part in value["$tuple"])
    if "$items" in value:
        return {key: unpack(part, tensors) for key, part in value["$items"]}
    return {key: unpack(part, tensors) for key, part in value.items()}


def random_state() -> dict[str, Any]:
    """Return the state of this process's generators, such as `pack` takes it."""
    import random

    import numpy as np

    numpy_state = np.random.get_state(legacy=True)
    assert isinstance(numpy_state, tuple)
    name, words, *rest = numpy_state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (name, torch.from_numpy(words.astype(np.int64)), *rest),
        "python": random.getstate(),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set this process's generators to what `random_state` returned."""
    import random

    import numpy as np

    torch.set_rng_state(state["torch"])
    # A run may be resumed where there are fewer or other devices; their generators start anew.
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, words, *rest = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
