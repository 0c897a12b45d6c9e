"""The table of traps, and the picture of what each does to an output."""

from __future__ import annotations

import runpy
from html import escape
from pathlib import Path

import pytest

from lamina.interchange.crossing import Note
from lamina.interchange.traps import TRAPS

ROOT = Path(__file__).parents[2]
DRAWN = runpy.run_path(str(ROOT / "book/traps.py"))


@pytest.mark.parametrize("key", DRAWN["SCENES"])
def test_a_port_that_ignores_a_trap_is_far_off(key: str) -> None:
    ours, theirs = DRAWN["maps"](key)
    assert key in TRAPS
    assert DRAWN["apart"](ours, theirs) > 0.2


def test_the_picture_is_the_one_that_is_checked_in() -> None:
    picture = DRAWN["FIGURE"].read_text()
    for key, (how, _) in DRAWN["SCENES"].items():
        assert escape(TRAPS[key].topic) in picture and escape(how) in picture
        ours, theirs = DRAWN["maps"](key)
        share = DRAWN["apart"](ours, theirs)
        assert (f">{share:.0%}<" if ours.shape == theirs.shape else "another shape") in picture


def test_a_note_names_a_row() -> None:
    with pytest.raises(ValueError, match="trap must be a key of TRAPS, got 'epsilonn'"):
        Note("norm", "changed", "epsilonn", "1e-3")


def test_the_page_has_every_row() -> None:
    page = (ROOT / "docs/guides/convert.md").read_text()
    for trap in TRAPS.values():
        assert f"| {trap.topic} | {trap.keras} | {trap.torch} | {trap.effect} |" in page
