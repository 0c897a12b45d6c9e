"""Builds the pages into ``site/``, says what is missing, and builds what it can."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTIAL = ROOT / ".mkdocs-partial.yml"

_PLUGINS = {
    "i18n": ("mkdocs_static_i18n", "pages in Korean have addresses of their own, .ko.html"),
    "mkdocstrings": ("mkdocstrings", "the reference has names alone"),
    "autorefs": ("mkdocs_autorefs", "names in the reference do not lead to each other"),
}
_HOOKS_OF_PLUGINS = {"i18n": ("book/search.py",), "mkdocstrings": ()}
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing_plugins(found: Callable[[str], object] = find_spec) -> list[str]:
    """The plugins of ``mkdocs.yml`` that are not installed."""
    return [name for name, (module, _) in _PLUGINS.items() if found(module) is None]


def remarks(
    found: Callable[[str], object] = find_spec,
    which: Callable[[str], str | None] = shutil.which,
    fonts: Callable[[], str | None] = lambda: _korean_fonts(),
) -> list[str]:
    """A line for each thing that this machine lacks, with what comes of it."""
    lines = [
        f"docs: {_PLUGINS[name][0].replace('_', '-')} is missing (pip install '.[docs]'): "
        f"{_PLUGINS[name][1]}"
        for name in missing_plugins(found)
    ]
    if not any(map(which, _BROWSERS)):
        lines.append("docs: no chromium: widths, contrast and scripts of pages are not looked at")
    if fonts() == "":
        lines.append("docs: no Korean font is installed here: pictures of Korean pages show boxes")
    return lines


def _korean_fonts() -> str | None:
    """Their names, empty where there are none; None where nobody can tell."""
    if shutil.which("fc-list") is None:
        return None
    return subprocess.run(["fc-list", ":lang=ko"], capture_output=True, text=True).stdout.strip()


def partial(text: str, without: list[str]) -> str:
    """``mkdocs.yml`` without some plugins and the hooks that are theirs."""
    import yaml

    config = yaml.safe_load(text)
    config["plugins"] = [
        plugin
        for plugin in config["plugins"]
        if (plugin if isinstance(plugin, str) else next(iter(plugin))) not in without
    ]
    hooks = {hook for name in without for hook in _HOOKS_OF_PLUGINS.get(name, ())}
    config["hooks"] = [hook for hook in config.get("hooks", []) if hook not in hooks]
    return str(yaml.safe_dump(config, allow_unicode=True, sort_keys=False))


def main() -> int:
    """Build; return the exit code: 0 for all of it or what there could be, 2 for nothing."""
    if find_spec("mkdocs") is None or find_spec("material") is None:
        print("docs: mkdocs-material is missing (pip install '.[docs]'); docs/ reads as it is")
        return 2
    for line in remarks():
        print(line)
    without = missing_plugins()
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(ROOT / "site")]
    if not without:
        return subprocess.run([*command, "--strict"], cwd=ROOT).returncode
    PARTIAL.write_text(partial((ROOT / "mkdocs.yml").read_text(), without))
    try:
        return subprocess.run([*command, "--config-file", str(PARTIAL)], cwd=ROOT).returncode
    finally:
        PARTIAL.unlink()


if __name__ == "__main__":
    sys.exit(main())
