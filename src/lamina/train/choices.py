"""What chooses between algorithms whose results differ by rounding: a run keeps to one choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from lamina.errors import InputError
from lamina.ops.runtime.numerics import Numerics, get_numerics, set_numerics
from lamina.ops.tuning import calibration
from lamina.ops.tuning.calibration import Calibration


@dataclass(frozen=True)
class Choices:
    """Everything outside of the configuration that the last bits of a result depend on.

    Args:
        calibration: the figures by which convolutions choose their algorithms.
        numerics: see `lamina.set_numerics`.
        conditions: threads, processor, instruction set and versions.
    """

    calibration: Calibration
    numerics: Numerics
    conditions: Mapping[str, str | int]

    @classmethod
    def here(cls, *, settle: bool) -> Choices:
        """Return what this process would choose by.

        Args:
            settle: measure the figures where that was never tried on this machine, so that the
                same run chooses alike from now on; else take what there is.
        """
        figures = calibration.settled() if settle else calibration.current()
        return cls(figures, get_numerics(), calibration.conditions(torch.get_num_threads()))

    @classmethod
    def agreed(cls) -> Choices:
        """Return what the first of the processes that train together settles on, on all of them."""
        if not dist.is_initialized():
            return cls.here(settle=True)
        # One measures, and alone: two at once would slow each other down and differ.
        agreed = [cls.here(settle=True).to_dict() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(agreed, src=0)
        assert agreed[0] is not None
        return cls.from_dict(agreed[0])

    @property
    def made_here(self) -> bool:
        """Whether this machine, with these versions, would give the same numbers by them."""
        return dict(self.conditions) == calibration.conditions(int(self.conditions["threads"]))

    @contextmanager
    def in_force(self, *, threads: bool = True) -> Iterator[None]:
        """Have this process choose by them, and afterwards as before.

        Args:
            threads: run with their number of threads, too.
        """
        before = get_numerics(), torch.get_num_threads()
        try:
            set_numerics(self.numerics)
            if threads and before[1] != self.conditions["threads"]:
                torch.set_num_threads(int(self.conditions["threads"]))
            with calibration.only(self.calibration):
                yield
        finally:
            set_numerics(before[0])
            if torch.get_num_threads() != before[1]:
                torch.set_num_threads(before[1])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``config.json``."""
        return {
            "conditions": dict(self.conditions),
            "numerics": self.numerics,
            "calibration": self.calibration.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Any) -> Choices:  # noqa: ANN401 - whatever a file said
        """Read what `to_dict` wrote.

        Raises:
            InputError: a field is missing or not of its type.
        """
        try:
            figures = Calibration.from_dict(values["calibration"])
            conditions, numerics = dict(values["conditions"]), values["numerics"]
            right = numerics in ("fast", "strict") and 1 <= conditions["threads"] <= _MAX_THREADS
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError("config.json: the choices of the run are damaged") from error
        if not right:
            raise InputError("config.json: the choices of the run are damaged")
        return cls(figures, numerics, conditions)


_MAX_THREADS = 4096
