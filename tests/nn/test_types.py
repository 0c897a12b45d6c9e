"""What a type checker sees of ``from lamina import nn``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")

ROOT = Path(__file__).parents[2]

PROGRAM = """
import torch
from lamina import nn
from lamina.nn import functional as F


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding="same", algorithm="auto")
        self.rest = nn.Sequential(nn.ReLU(), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(None, 10))
        self.scale = nn.Parameter(torch.ones(1))
        nn.init.zeros_(self.scale)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.rest(F.relu(self.conv(image))) * self.scale
        return scores


loss: nn.Module = nn.CrossEntropyLoss()
reveal_type(nn.Conv2d(3, 8, 3))
reveal_type(nn.GroupNorm(2, 8))
"""

WRONG = ("nn.ReLUU()", "nn.Conv2d(3, 8, 3, algorithmm='auto')", "nn.SeparableConv2d(3)")


def test_a_program_has_types_and_its_slips_are_found(tmp_path: Path, monkeypatch) -> None:
    lines = [*PROGRAM.splitlines(), *WRONG]
    program = tmp_path / "program.py"
    program.write_text("\n".join(lines))
    monkeypatch.chdir(ROOT)  # where the configuration is, and a cache that the linter has filled
    monkeypatch.setenv("MYPYPATH", str(ROOT / "src"))
    found, errors, _ = api.run(["--no-error-summary", str(program)])
    assert not errors
    assert 'Revealed type is "lamina.nn.conv2d.Conv2d"' in found
    assert 'Revealed type is "torch.nn.modules.normalization.GroupNorm"' in found
    wrong_at = {int(line) for line in re.findall(r"program\.py:(\d+): error", found)}
    assert wrong_at == {lines.index(line) + 1 for line in WRONG}, found
