"""Every ``lamina`` command that a page shows exists, with its options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from lamina import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:|bash|sh|console|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = typer.main.get_command(cli.app)


def lines(page: Path):
    """Commands of the blocks without a language; what continues a line is joined to it."""
    for block in BLOCK.findall(page.read_text()):
        if not re.match(r"\s*(?:\$ )?(?:lamina|make|pip|python|torchrun|cd|export|#)\b", block):
            continue  # what a command prints
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:\$ )?((?:torchrun .*? )?lamina [a-z].*)", line)
            if found:
                yield found[1]


SHOWN = [(page, line) for page in PAGES for line in lines(page)]


def test_pages_show_commands():
    assert len(SHOWN) > 30


@pytest.mark.parametrize(
    ("page", "line"), SHOWN, ids=lambda v: v.stem if isinstance(v, Path) else v
)
def test_a_command_exists_with_its_options(page, line):
    text = re.sub(r"\s#.*$", "", line)
    words = shlex.split(text.replace("$(which lamina)", "lamina").replace("...", ""))
    words = words[words.index("lamina") + 1 :]
    command = COMMANDS
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page.name}: no command {words[0]}"
        command = command.commands[words.pop(0)]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    for word in words:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert option in known | {"--help"}, f"{page.name}: {line}: no option {option}"
