"""What the page on installing says: messages that exist, extras, variables, versions."""

import ast
import re
import tomllib
from functools import cache

import pytest

from lamina.extras import EXTRAS
from tests.book.test_pages import ROOT

TEXT = (ROOT / "docs/install.md").read_text()
MESSAGES = re.findall(
    r"^\| `(.+?)` \|", TEXT.partition("## Troubleshooting by message")[2], re.MULTILINE
)
DEPLOYING = (ROOT / "docs/guides/deploy.md").read_text().partition("## When it is refused")[2]
REFUSALS = re.findall(r"^\| `(.+?)` \|", DEPLOYING, re.MULTILINE)


@cache
def said():
    """Every text in the sources: literals of Python, with a mark where a value is put in."""
    texts = []
    for file in (ROOT / "src/lamina").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (n.value if isinstance(n, ast.Constant) else "\0" for n in node.values)
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    for pattern in ("CMakeLists.txt", "kernels/*.cmake", "kernels/common/*.cc"):
        for file in ROOT.glob(pattern):
            texts.append(re.sub(r'"\s*\+[^"\n]*\+\s*"|\$\{\w+\}', "\0", file.read_text()))
    return "\n".join(texts)


def exists(message):
    """Whether it is said; of ``...``, which differs, there is at most a little in the sources."""
    pattern = "[^\\n]{0,40}?".join(re.escape(part) for part in message.split("..."))
    return re.search(pattern, said()) is not None


@pytest.mark.parametrize("message", [*MESSAGES, *REFUSALS])
def test_each_message_exists(message):
    assert exists(message)


def test_there_are_messages_and_others_do_not_exist():
    assert len(MESSAGES) > 15 and len(REFUSALS) == 4
    assert not exists("device: expected cpu or auto, got 'cuda', and there is no card")


def test_the_extras_are_those_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|`]*)\|$", TEXT, re.MULTILINE)
    table = {name: tuple(packages.strip().split(", ")) for name, packages in rows}
    assert table.pop("all") == ("",)
    assert table == EXTRAS


def test_the_variables_are_read_somewhere():
    rows = re.findall(r"^\| `(LAMINA_\w+)` \|", TEXT, re.MULTILINE)
    assert len(rows) == 3
    assert all(name in said() for name in rows)


def test_the_versions_are_those_that_the_project_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11" and "Python 3.11 or newer" in TEXT
    [torch] = [line for line in project["dependencies"] if line.startswith("torch")]
    assert torch == "torch>=2.12,<2.15" and "| PyTorch | 2.12, 2.13, 2.14," in TEXT
    assert "| Keras | 3.15 | 3.13, 3.14, later 3 |" in TEXT
    assert "keras>=3.13,<4" in project["optional-dependencies"]["keras"]
