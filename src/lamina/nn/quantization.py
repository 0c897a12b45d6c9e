"""What torch.ao's quantisation meets in a layer of ours: a line that says what to do.

It looks layers up by their class, finds torch.nn's own alone, and passes over others without a
word. Whatever it is about to do, it first tells every layer its ``qconfig``.
"""

from __future__ import annotations

from typing import NoReturn

import torch


def _refuse(layer: torch.nn.Module, qconfig: object) -> NoReturn:
    del qconfig
    raise TypeError(
        f"{type(layer).__name__}: torch.ao quantises the layers of torch.nn alone; "
        "call lamina.restore(model) first"
    )


refused_qconfig = property(fset=_refuse, doc="Refused: see ``lamina.restore``.")
