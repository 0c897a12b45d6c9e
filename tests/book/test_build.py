"""``make docs`` says what a machine lacks, and builds what it can."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from book import build


def all_there(_):
    return object()


def test_a_machine_with_everything_is_told_nothing():
    assert not build.remarks(all_there, lambda name: "/usr/bin/x", lambda: "Nanum")
    assert not build.remarks(all_there, lambda name: "/usr/bin/x", lambda: None)


@pytest.mark.parametrize("name", ["i18n", "mkdocstrings", "autorefs"])
def test_a_plugin_that_is_missing_is_named(name):
    module = build._PLUGINS[name][0]
    lines = build.remarks(lambda one: None if one == module else object(), all_there, lambda: "x")
    (line,) = lines
    assert line.startswith(f"docs: {module.replace('_', '-')} is missing (pip install '.[docs]')")


def test_a_browser_and_fonts_that_are_missing_are_named():
    lines = build.remarks(all_there, lambda name: None, lambda: "")
    assert ["chromium" in lines[0], "Korean font" in lines[1], len(lines)] == [True, True, 2]


def test_without_plugins_the_pages_are_built(tmp_path):
    text = (build.ROOT / "mkdocs.yml").read_text()
    config = yaml.safe_load(build.partial(text, ["i18n", "mkdocstrings", "autorefs"]))
    assert config["plugins"] == ["search", "offline"]
    assert config["nav"] == yaml.safe_load(text)["nav"]
    config |= {
        "docs_dir": str(build.ROOT / "docs"),
        "hooks": [str(build.ROOT / hook) for hook in config["hooks"]],
    }
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", "site"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert "lamina" in (tmp_path / "site/kinds/conv2d.html").read_text()
    assert (tmp_path / "site/kinds/conv2d.ko.html").exists()
