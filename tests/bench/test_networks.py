"""The networks' benchmark: what may be asked, its bookkeeping, its processes; no time is tested."""

import json
import math
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lamina import cli, models
from lamina.bench import network_rows, networks, sides, torch_worker, worker
from lamina.bench.network_cases import CASES, OURS, SIDES, TORCH, NetworkCase, plan
from lamina.bench.network_rows import Row
from lamina.errors import InputError
from lamina.report.table import to_text

RECORDED = Path(__file__).parent / "networks.json"
TINY = NetworkCase("inference-16", batch=2, pixels=32, training=False, calls=2)
STEP = NetworkCase("training", batch=2, pixels=32, training=True, calls=1)

FAKE = """
import os, sys, time
from lamina.bench.worker import serve

class Scores(list):
    def tolist(self):
        return list(self)

def build(job):
    if job["side"] == "torch-compile":
        raise ValueError("no compiler\\nno loader")
    if job["side"] == "lamina-models":
        os.write(2, b"out of registers\\n")
        os._exit(3)
    calls = []
    def call():
        calls.append(job["side"])
        if job["side"] == "torch-channels-last" and len(calls) > 6:
            os.kill(os.getpid(), 9)
        print("what a library says")
        time.sleep(0.001)
        return [Scores([3.0, 4.0 + 0.5 * (job["side"] == "lamina-optimize")])]
    return lambda: call, {"fake": str(job["batch"])}

serve(build)
"""


@pytest.fixture
def fake(monkeypatch):
    """Every side is a process that speaks the protocol and computes nothing."""
    monkeypatch.setattr(sides, "command", lambda side, peers: [sys.executable, "-c", FAKE])
    monkeypatch.setattr(networks, "PAUSE", 0.0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"networks": "resnet18,resnet5"}, r"networks: expected of .*got 'resnet5'; did you mean"),
        ({"cases": "trainin"}, r"cases: expected of .*; did you mean 'training'\?"),
        ({"sides": "tensorflow"}, "sides: expected of .*got 'tensorflow'"),
        ({"sides": "torch-nchw,openvino"}, "sides: openvino needs --peers PYTHON"),
        ({"rounds": 0}, "rounds: expected a whole number of at least 1, got 0"),
        ({"threads": -1}, "threads: expected a whole number of at least 1, got -1"),
        ({"peers": Path("no/python")}, "peers: expected an environment's python, got 'no/python'"),
    ],
)
def test_what_cannot_be_asked_is_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        plan(**arguments)
    assert "\n" not in str(error.value)


def test_a_plan_has_every_side_that_is_here():
    python = Path(sys.executable)
    assert {*plan(peers=python).sides} | {"torch-bf16"} == {*SIDES}
    chosen = plan("vgg16", "training, inference-1", "openvino,torch-bf16", peers=python)
    assert [case.name for case in chosen.cases] == ["training", "inference-1"]
    assert [chosen.sides_of(case) for case in chosen.cases] == [["torch-bf16"], ["openvino"]]
    assert chosen.rounds == 9 and chosen.threads >= 1
    assert [case.name for case in plan().cases] == [case.name for case in CASES]


def test_sides_that_fail_are_rows_that_say_why(fake):
    asked = plan(sides=",".join((*TORCH, *OURS)), rounds=3)
    rows, versions = networks.measure_case("vgg16", TINY, asked)
    found = {row.side: row for row in rows}
    assert list(found) == [*TORCH, *OURS]
    assert found["torch-compile"].reason == "ValueError: no compiler"
    assert found["lamina-models"].reason == "left with 3: out of registers"
    assert found["torch-channels-last"].reason.startswith("killed by signal 9")
    assert found["torch-channels-last"].median_ms is None
    for name in ("torch-nchw", "lamina-optimize"):
        row = found[name]
        assert row.rounds == 3 and not row.reason
        assert row.median_ms > 0 and row.ready_ms > 0 and row.peak_memory > 0
        assert row.spread_ms >= 0 and row.faults >= 0
    assert found["torch-nchw"].difference == 0.0
    assert found["lamina-optimize"].difference == pytest.approx(0.1)
    assert versions == {"fake": "2"}


def test_a_network_that_is_not_exported_is_the_runtimes_reason(fake, monkeypatch):
    monkeypatch.setattr(
        sides, "command", lambda side, peers: [sys.executable, "-c", "raise SystemExit('no onnx')"]
    )
    asked = plan(sides="onnxruntime,openvino", peers=Path(sys.executable), rounds=1)
    rows, _ = networks.measure_case("vgg16", TINY, asked)
    assert [row.reason for row in rows] == ["export to ONNX failed: left with 1: no onnx"] * 2


def test_the_command_prints_rows_and_means_and_writes_them(fake, tmp_path, capsys):
    out, page = tmp_path / "rows.json", tmp_path / "rows.md"
    arguments = "bench networks --networks resnet18,vgg16 --cases inference-16 --rounds 2"
    chosen = f"--sides torch-nchw,lamina-optimize --threads 1 --json {out} --markdown {page}"
    with pytest.raises(SystemExit) as left:
        cli.main(f"{arguments} {chosen}".split())
    assert not left.value.code
    facts, rows = network_rows.from_json(out.read_text())
    assert len(rows) == 4 and facts["threads"] == 1 and facts["fake"] == "16"
    said = capsys.readouterr().out
    assert all(network_rows.line(row) in said for row in rows)
    assert to_text(network_rows.means_table(rows)) in said
    lines = page.read_text().splitlines()
    assert sum(line.startswith("|") for line in lines) == (2 + 4) + (2 + 1)


@pytest.fixture
def tiny(monkeypatch):
    """One small network has every name."""

    def network(name, pixels):
        torch.manual_seed(0)
        model = models.get("digits_cnn", in_channels=3, num_classes=1000)
        torch_worker.give_statistics(model, torch_worker.images(2, 32))
        return model

    monkeypatch.setattr(torch_worker, "network", network)


@pytest.mark.parametrize("case", [TINY, STEP], ids=lambda case: case.name)
@pytest.mark.parametrize("side", ["torch-nchw", "torch-channels-last", "lamina-optimize"])
def test_the_sides_on_torch_compute_one_network(tiny, case, side):
    def outcome(side):
        job = {**asdict(case), "network": "vgg16", "threads": None, "side": side}
        torch.manual_seed(0)
        prepare, versions = torch_worker.build(job)
        assert versions == {"torch": torch.__version__}
        call = prepare()
        torch.manual_seed(0)  # of the masks of dropout
        return call()

    assert outcome(side).shape == ((2, 1000) if case is TINY else ())
    if case is TINY:
        torch.testing.assert_close(outcome(side), outcome("lamina-models"), rtol=0, atol=1e-3)
    else:
        assert math.isfinite(outcome(side))


def test_plain_sides_have_no_layer_of_laminas(tiny):
    for side in ("torch-nchw", "torch-channels-last", "torch-bf16"):
        model = torch_worker.PREPARE[side](torch_worker.network("vgg16", 32))
        assert not [m for m in model.modules() if type(m).__module__.startswith("lamina.nn")]


def test_no_side_always_follows_the_same_one(monkeypatch):
    turns = []

    class Named:
        reason = ""

        def __init__(self, name):
            self.name = name

        def turn(self, calls):
            turns.append(self.name)

    monkeypatch.setattr(networks, "PAUSE", 0.0)
    networks._take_turns([Named("a"), Named("b"), Named("c")], calls=1, rounds=7)
    rounds = [turns[at : at + 3] for at in range(0, len(turns), 3)]
    assert len(rounds) == 7 and all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert {before for before, name in pairwise(turns) if name == "a"} >= {"b", "c"}


def test_geometric_means_of_a_record():
    facts, rows = network_rows.from_json(RECORDED.read_text())
    assert facts["threads"] == 2
    assert json.loads(network_rows.to_json(facts, rows)) == json.loads(RECORDED.read_text())
    found = {(mean.case, mean.side): mean for mean in network_rows.means(rows)}
    inference = found["inference-16", "lamina-optimize"]
    # 20 / 10 and 4 / 8 to PyTorch's best; 5 / 10 alone to the runtimes, which failed for vgg16.
    assert inference.networks == 2
    assert inference.ratio_torch == pytest.approx(1.0)
    assert inference.ratio_runtimes == pytest.approx(0.5)
    training = found["training", "lamina-optimize"]
    assert training.ratio_torch == pytest.approx(3.0)  # bfloat16 is no peer
    assert training.ratio_runtimes is None
    assert ("inference-16", "lamina-models") not in found  # it failed


def test_a_table_says_why_there_is_no_time():
    facts, rows = network_rows.from_json(RECORDED.read_text())
    shown = to_text(network_rows.table(facts, rows))
    assert "RuntimeError: no kernel" in shown and "2.00×" in shown
    assert shown.count("\n") == 2 + len(rows) and "threads 2" in shown.splitlines()[0]
    assert "failed: RuntimeError: no kernel" in "\n".join(map(network_rows.line, rows))


def test_a_row_of_nothing_has_no_ratio():
    failed, fine = (Row("vgg16", "training", side) for side in ("torch-nchw", "lamina-models"))
    assert network_rows.best([failed, fine], "vgg16", "training", TORCH) is None
    assert network_rows.ratio([failed, fine], fine, TORCH) is None
    assert network_rows.means([failed, fine]) == []


def test_a_runtimes_process_needs_the_standard_library_alone():
    command = sides.command("openvino", Path("peers/bin/python"))
    assert command == ["peers/bin/python", "-I", worker.__file__]
