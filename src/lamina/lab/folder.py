"""A folder of findings: data, figure and page of each, and one page of all."""

from __future__ import annotations

import os
from pathlib import Path

from lamina.errors import InputError
from lamina.lab import NAMES
from lamina.report.finding.drawing import figure
from lamina.report.finding.page import gallery_page, to_page
from lamina.report.finding.records import Finding
from lamina.train.files import write_file

INDEX = "index.html"


def prepare(folder: Path) -> None:
    """Make the folder where it is missing, before the work rather than after it.

    Raises:
        InputError: a file, or a place that must not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"out: expected a folder, {error.filename} is a file") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"out: cannot write to {folder}: permission denied")


def keep(finding: Finding, folder: Path) -> None:
    """Write ``NAME.json``, ``NAME.svg`` and ``NAME.html``, and the gallery of all that is there.

    Args:
        finding: what was found.
        folder: exists.
    """
    for suffix, text in (
        (".json", finding.to_json()),
        (".svg", figure(finding.chart)),
        (".html", to_page(finding)),
    ):
        write_file(folder / f"{finding.name}{suffix}", text.encode())
    write_file(folder / INDEX, gallery_page(kept(folder)).encode())


def kept(folder: Path) -> list[Finding]:
    """The findings of a folder, in reading order.

    Raises:
        InputError: a file that is no finding.
    """
    findings = []
    for path in (folder / f"{name}.json" for name in NAMES):
        if path.exists():
            try:
                findings.append(Finding.from_json(path.read_text(encoding="utf-8")))
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: not a finding of lamina lab; move it away") from error
    return findings
