"""Nested training state as JSON and tensors: what a pickle would hold, without one."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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


def unsaved_buffers(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the buffers that a model's ``state_dict`` leaves out, by name; a shared one once.

    Example:
        >>> model = torch.nn.Module()
        >>> model.register_buffer("calls", torch.tensor(3), persistent=False)
        >>> list(unsaved_buffers(model))
        [('calls', tensor(3))]
    """
    for prefix, module in model.named_modules():
        for name in sorted(module._non_persistent_buffers_set):
            buffer = module._buffers.get(name)
            if buffer is not None:
                yield (f"{prefix}.{name}" if prefix else name), buffer


def under_names_of(state: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return a model's saved state under the names that the same model has in this process.

    Keras numbers its layers and generators by how many the process has made, and these numbers
    are part of the names of a Keras layer's variables inside of a module.

    Example:
        >>> saved = {"drop._torch_params.seed_generator_4/state": 1, "dense.bias": 2}
        >>> under_names_of(saved, ["dense.bias", "drop._torch_params.seed_generator/state"])
        {'dense.bias': 2, 'drop._torch_params.seed_generator/state': 1}
    """
    saved, own = _without_numbers(state), _without_numbers(names)
    if saved.keys() != own.keys():
        return dict(state)  # of another model: whoever loads it says so
    return {name: state[saved[plain]] for plain, name in own.items()}


def _without_numbers(names: Iterable[str]) -> dict[tuple[str, int], str]:
    """The names by what stays of them without Keras's numbers, and by their order where equal."""
    found: dict[tuple[str, int], str] = {}
    met: Counter[str] = Counter()
    # By number, as Keras counts: of two generators in one layer the first made has the lower.
    for name in sorted(names, key=lambda n: [int(p) if p.isdigit() else 0 for p in _DIGITS(n)]):
        module, keras, variable = name.partition("._torch_params.")
        plain = module + keras + re.sub(r"_\d+(?=/|$)", "", variable)
        found[plain, met[plain]] = name
        met[plain] += 1
    return found


_DIGITS = re.compile(r"\d+|\D+").findall


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
