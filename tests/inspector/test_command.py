"""`lamina inspect` from the outside: formats, budgets, and one line for what is wrong."""

import csv
import io
import json

import pytest
from torch import nn

from lamina import cli
from lamina.inspector import inspect


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))\n"
        "def broken():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(9))\n"
        "def nothing():\n"
        "    return 3\n"
        "def strange():\n"
        "    import torch\n"
        "    class Strange(nn.Module):\n"
        "        def forward(self, x):\n"
        "            return torch.linalg.svdvals(x)\n"
        "    return Strange()\n"
    )
    return str(path)


def run(*arguments):
    """Exit code of the command line."""
    try:
        cli.main(["inspect", *map(str, arguments)])
    except SystemExit as error:
        return error.code or 0
    return 0


def test_table(target, capsys):
    assert run(f"{target}:build", "--input", "1,3,8,8") == 0
    out = capsys.readouterr().out
    assert "conv2d" in out and "1×8×6×6" in out and "Total (complete)" in out


def test_json_has_rows_that_sum_up(target, capsys):
    assert run(f"{target}:build", "--input", "1,3,8,8", "--format", "json") == 0
    account = json.loads(capsys.readouterr().out)
    for key in ("macs", "flops", "bytes_read"):
        rows = sum(row["forward"][key] for row in account["rows"])
        assert rows == account["totals"]["forward"][key] > 0
    assert account["totals"]["coverage"] == "complete"


def test_csv_and_markdown(target, tmp_path, capsys):
    path = tmp_path / "cost.csv"
    assert run(f"{target}:build", "--input", "1,3,8,8", "-o", path) == 0
    lines = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [line["kind"] for line in lines][1:] == ["conv2d", "activation", "flatten", "dense"]
    assert lines[1]["output_shapes"] == "1x8x6x6"
    assert run(f"{target}:build", "--input", "1,3,8,8", "--format", "markdown") == 0
    assert capsys.readouterr().out.startswith("| Layer | Kind |")


def test_budgets(target, capsys):
    assert run(f"{target}:build", "--input", "1,3,8,8", "--fail-on", "macs<=1M,params<=1k") == 0
    assert run(f"{target}:build", "--input", "1,3,8,8", "--fail-on", "macs<=1k,params<=1M") == 1
    assert "macs<=1k, but macs is 8,352" in capsys.readouterr().err


def test_a_partial_count_does_not_pass_a_budget(target, capsys):
    assert run(f"{target}:strange", "--input", "4,4", "--fail-on", "macs<=1k") == 1
    assert "partial (aten._linalg_svd" in capsys.readouterr().err


def test_health_on_data(capsys):
    assert run("digits_cnn", "--train", "--data", "digits", "--format", "json") == 0
    account = json.loads(capsys.readouterr().out)
    assert account["training"] and account["diagnoses"] == []
    assert any(row["health"] and row["health"]["gradient_norm"] for row in account["rows"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}:build"], "input: expected a size"),
        (["digits_cnn", "--data", "digits"], "say --train as well"),
        (["digits_cnn", "--train", "--data", "digitz"], "did you mean 'digits'"),
        (["{}:broken", "--input", "1,3,8,8"], "1 (BatchNorm2d) raised in forward"),
        (["{}:build", "--input", "1,4,8,8"], "0 (Conv2d) raised in forward"),
        (["{}:nothing", "--input", "1,3"], "must return a torch.nn.Module, it returned int"),
        (["{}:none", "--input", "1,3"], "has no factory 'none'"),
        (["no_such_package:build", "--input", "1,3"], "importing no_such_package failed"),
        (["{}:build", "--input", "1,x"], "expected whole numbers"),
        (["{}:build", "--input", "a=1,3", "--input", "2"], "a name or none"),
        (["{}:build", "--input", "1,3,8,8", "--format", "jsn"], "did you mean 'json'"),
        (["{}:build", "--input", "1,3,8,8", "-o", "/no/such/folder/x.json"], "cannot write"),
        (["{}:build", "--input", "1,3,8,8", "--fail-on", "macs<600"], "got 'macs<600'"),
        (["{}:build", "--input", "1,3,8,8", "--fail-on", "mac<=6"], "did you mean 'macs'"),
        (["{}:build", "--input", "1,3,8,8", "--fail-on", "macs<=6MB"], "takes the units"),
        (["{}:build", "--input", "1,3,8,8", "--fail-on", "time<=6ms"], "needs --measure"),
    ],
)
def test_one_line_and_exit_code_2(target, capsys, arguments, message):
    assert run(*(argument.format(target) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1 and "Traceback" not in error


def test_a_place_that_cannot_be_written_is_noticed_before_the_work(target, tmp_path, capsys):
    assert run(f"{target}:broken", "--input", "1,3,8,8", "-o", tmp_path) == 2
    assert "it is a folder" in capsys.readouterr().err


def test_custom_code_is_a_matter_of_keras_files(target, capsys):
    assert run(f"{target}:build", "--input", "1,3,8,8", "--allow-custom-code") == 2
    assert "speaks of a .keras file" in capsys.readouterr().err


def test_the_page_of_a_notebook_says_whole_names_and_escapes_them():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)))
    model[0].add_module("<b>", nn.ReLU())
    text = inspect(model, (1, 3, 8, 8))._repr_html_()
    assert "<td>0.0</td>" in text and "<td>0.&lt;b&gt;</td>" in text
    assert "Total (complete)" in text and "<button" not in text


@pytest.mark.parametrize("suffix", ["json", "csv", "md", "html"])
def test_the_suffix_chooses_the_format(target, tmp_path, suffix):
    path = tmp_path / f"cost.{suffix}"
    assert run(f"{target}:build", "--input", "1,3,8,8", "-o", path) == 0
    start = {"json": "{", "csv": "label,name", "md": "| Layer |", "html": "<!doctype html>"}[suffix]
    assert path.read_text().startswith(start)
