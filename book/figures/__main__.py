"""Writes every figure of this package in both languages: ``python -m book.figures [NAME ...]``."""

from __future__ import annotations

import sys

from book.figures import IMAGES, drawings

if __name__ == "__main__":
    for name, picture in drawings(sys.argv[1:]):
        (IMAGES / name).write_text(picture, encoding="utf-8")
        print(name)
