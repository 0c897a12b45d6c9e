"""What a run was asked for and begun with: its ``config.json``."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lamina.errors import InputError
from lamina.settings import TrainConfig
from lamina.train.files import MAX_TEXT_BYTES, read_limited


@dataclass(frozen=True)
class RunDocument:
    """What a run's ``config.json`` says.

    Args:
        config: every setting.
        data: see `lamina.train.data.Facts`.
        choices: see `lamina.train.choices.Choices`; None in a run of an older lamina.
        extended: epochs after which it was given more, with a schedule of their own.
    """

    config: TrainConfig
    data: dict[str, Any]
    choices: dict[str, Any] | None = None
    extended: tuple[int, ...] = ()

    def text(self, version: str) -> str:
        """Return the file's text, which `read_config` reads."""
        return json.dumps({"lamina": version, **asdict(self)}, indent=2) + "\n"


def read_config(path: Path) -> RunDocument:
    """Read a run's ``config.json``.

    Raises:
        InputError: the file is missing, no JSON, or says what no configuration says.
    """
    try:
        text = read_limited(path, MAX_TEXT_BYTES)
    except OSError as error:
        raise InputError(f"{path.parent}: no run folder, {path.name} cannot be read") from error
    try:
        content = json.loads(text)
        config, facts, choices = content["config"], content["data"], content.get("choices")
        extended = tuple(int(epoch) for epoch in content.get("extended", ()))
        unknown = config.keys() - {field.name for field in fields(TrainConfig)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not the configuration of a run") from error
    if unknown:
        raise InputError(f"{path}: unknown setting {min(unknown)!r}")
    return RunDocument(TrainConfig(**config), facts, choices, extended)
