"""What was chosen, as a file: another process starts at once and computes the same bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

from lamina.errors import InputError
from lamina.graph.running import contest
from lamina.ops.tuning.calibration import conditions

__all__ = ["load_plan", "save_plan"]


def save_plan(file: str | Path) -> int:
    """Write every choice among algorithms that this process has made, or loaded; return how many.

    Args:
        file: to write, JSON; one that exists is replaced.

    Raises:
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_plan(f"{folder}/plan.json") == load_plan(f"{folder}/plan.json")
        True
    """
    plan = {"machine": _machine(), "choices": dict(contest.choices)}
    Path(file).write_text(json.dumps(plan, indent=1) + "\n")
    return len(contest.choices)


def load_plan(file: str | Path) -> int:
    """Take choices from a file in the place of timing algorithms; return how many.

    Call it before the models' first calls. What the file does not know is timed as without it.

    Args:
        file: that ``save_plan`` wrote on a machine like this one.

    Raises:
        InputError: no such file, no plan, or one of another machine or other versions; nothing
            is taken from it then.
    """
    try:
        plan = json.loads(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"plan: expected a file of save_plan, {str(file)!r}: {error}") from None
    choices = plan.get("choices") if isinstance(plan, dict) else None
    if not isinstance(choices, dict) or not all(
        isinstance(text, str) for pair in choices.items() for text in pair
    ):
        raise InputError(f"plan: expected a file of save_plan, {str(file)!r} holds something else")
    here, there = _machine(), plan.get("machine")
    if here != there:
        there = there if isinstance(there, dict) else {}
        name = next(key for key in here if here[key] != there.get(key))
        raise InputError(
            f"plan: {str(file)!r} was made with {name} {there.get(name)!r}, here it is "
            f"{here[name]!r}; leave it out, and save a new one after the first calls"
        )
    contest.choices.update(choices)
    return len(choices)


def _machine() -> dict[str, str | int]:
    """What a choice was made on; the number of threads is in each of them."""
    return {name: value for name, value in conditions(1).items() if name != "threads"}
