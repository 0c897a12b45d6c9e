"""What the findings say in another language: a catalogue from English."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class Catalogue(Mapping[str, str]):
    """Texts by their English.

    A text without an entry of its own is looked up with ``{}`` for each number, and then by its
    parts: before and behind a colon, then the last comma.

    Args:
        said: text by English text.

    Attributes:
        missing: English texts that were asked for and are not known.
        used: entries that served.

    Example:
        >>> korean = Catalogue({"accuracy": "정확도", "{} layers": "{}개 층"})
        >>> korean["accuracy, 16 layers"]
        '정확도, 16개 층'
        >>> korean.get("loss", "?"), korean.missing
        ('?', {'loss'})
    """

    def __init__(self, said: Mapping[str, str]) -> None:
        self._said = said
        self.missing: set[str] = set()
        self.used: set[str] = set()

    def __getitem__(self, text: str) -> str:
        found = self._find(text)
        if found is None:
            self.missing.add(text)
            raise KeyError(text)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def _find(self, text: str) -> str | None:
        if not text:
            return text
        for entry, numbers in ((text, []), (_NUMBER.sub("{}", text), _NUMBER.findall(text))):
            if entry in self._said:
                self.used.add(entry)
                return self._said[entry].format(*numbers) if numbers else self._said[entry]
        for mark, (first, between, last) in (
            (": ", text.partition(": ")),
            (", ", text.rpartition(", ")),
        ):
            if between:
                parts = self._find(first), self._find(last)
                if None not in parts:
                    return mark.join(map(str, parts))
        return None


def korean() -> Catalogue:
    """Return what the pages say in Korean."""
    return Catalogue(json.loads((Path(__file__).parent / "ko.json").read_text("utf-8")))
