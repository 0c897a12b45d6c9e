"""A configuration is right, or is refused in one line that names the setting."""

import json
import math

import pytest

from lamina.errors import InputError
from lamina.settings import TrainConfig
from lamina.train.config import RunDocument, read_config


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("data", "", "a name"),
        ("model", "", "a name"),
        ("epochs", 0, "an integer of at least 1"),
        ("epochs", 1.5, "an integer of at least 1"),
        ("epochs", True, "an integer of at least 1"),
        ("batch_size", -1, "an integer of at least 1"),
        ("lr", 0.0, "a finite number above 0"),
        ("lr", math.nan, "a finite number above 0"),
        ("lr", math.inf, "a finite number above 0"),
        ("lr", "high", "a finite number above 0"),
        ("weight_decay", -0.1, "a finite number of at least 0"),
        ("label_smoothing", 1.0, r"a finite number in \[0, 1\)"),
        ("label_smoothing", math.nan, r"a finite number in \[0, 1\)"),
        ("seed", -1, "an integer from 0 to 4294967295"),
        ("seed", 2**32, "an integer from 0 to 4294967295"),
        ("image_size", 0, "an integer of at least 1"),
        ("workers", -1, "an integer of at least 0"),
        ("augment", "heavy", "none or light or standard or strong"),
        ("on_bad_image", "skp", "error or skip"),
        ("device", "tpu", "auto or cpu or cuda"),
    ],
)
def test_a_value_out_of_range_names_the_setting_and_what_is_allowed(name, value, allowed):
    with pytest.raises(InputError, match=f"^{name}: expected {allowed}, got") as caught:
        TrainConfig(**{name: value})
    assert "\n" not in str(caught.value)


def test_a_written_configuration_is_read_back(tmp_path):
    config = TrainConfig(lr=1 / 3, seed=2**32 - 1, image_size=48, data="näme")
    path = tmp_path / "config.json"
    document = RunDocument(config, {"classes": ["a"]}, {"numerics": "fast"})
    path.write_text(document.text("0"), encoding="utf-8")
    assert read_config(path) == document


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no run folder"),
        ("{", "not the configuration of a run"),
        ("[]", "not the configuration of a run"),
        ('{"config": 3, "data": {}}', "not the configuration of a run"),
        ('{"config": {"lrr": 3}, "data": {}}', "unknown setting 'lrr'"),
        ('{"config": {"lr": -3}, "data": {}}', "lr: expected"),
    ],
)
def test_a_damaged_configuration_is_one_line(tmp_path, text, message):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[" * 100_000], ids=["not UTF-8", "too deep"])
def test_bytes_that_are_no_configuration_are_one_line(tmp_path, data):
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(InputError, match="not the configuration of a run"):
        read_config(tmp_path / "config.json")


def test_a_configuration_is_no_link_and_no_flood(tmp_path):
    path = tmp_path / "config.json"
    (tmp_path / "elsewhere").write_text("{}")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link"):
        read_config(path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="expected at most 16,777,216 bytes"):
        read_config(path)


def test_the_document_holds_every_setting():
    written = json.loads(RunDocument(TrainConfig(), {}).text("0"))["config"]
    assert TrainConfig(**written) == TrainConfig()
    assert written.keys() == TrainConfig.__dataclass_fields__.keys()
