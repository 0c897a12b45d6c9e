"""One table in five forms: each is read back."""

import csv
import io
import json

from rich.console import Console

from lamina.report import table as t
from lamina.report import units

COLUMNS = (t.Column("name", "Name"), t.Column("macs", "MACs", units.count, "right"))
TABLE = t.Table(
    COLUMNS,
    [{"name": "a|b", "macs": 1728, "hidden": 1}, {"name": "[red]x\x1b[2J", "macs": None}],
    {"name": "total", "macs": 1728},
    title="Layers",
)


def test_json_and_csv_give_the_values_back():
    assert json.loads(t.to_json(TABLE)) == {
        "rows": [{"name": "a|b", "macs": 1728}, {"name": "[red]x\x1b[2J", "macs": None}],
        "total": {"name": "total", "macs": 1728},
    }
    rows = list(csv.DictReader(io.StringIO(t.to_csv(TABLE))))
    assert [row["macs"] for row in rows] == ["1728", ""]
    assert rows[0]["name"] == "a|b"


def test_markdown_escapes_the_bar_and_ends_with_the_total():
    lines = t.to_markdown(TABLE).splitlines()
    assert lines[2] == "| a\\|b | 1,728 |"
    assert lines[-1] == "| **total** | **1,728** |"


def test_the_terminal_shows_names_as_they_are_and_obeys_none():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(t.to_terminal(TABLE))
    shown = console.export_text()
    assert "1,728" in shown
    assert "[red]x\\x1b[2J" in shown
    assert "\x1b[2J" not in shown


def test_a_total_names_only_what_it_sums():
    table = t.Table(COLUMNS, [{"name": "a", "macs": 1}], {"macs": 1})
    assert t.to_markdown(table).splitlines()[-1] == "|  | **1** |"


def test_units_at_their_edges():
    assert units.si(999.4) == "999"
    assert units.si(999.9) == "1 k"
    assert units.si(1e-9, "s") == "1 ns"
    assert units.si(float("nan")) == "nan"
    assert units.duration(59.96) == "60.0 s"
    assert units.duration(3600) == "1 h 0 min"
    assert units.binary_bytes(1023) == "1023 B"
