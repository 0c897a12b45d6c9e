"""Choices as a file: taken without timing, or refused in one line with nothing taken."""

import json
from collections import OrderedDict

import pytest
import torch
from torch import nn

import lamina
from lamina.errors import InputError
from lamina.graph.running import contest
from lamina.ops.tuning import choice


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    """Nothing is known yet, and the cost model of no machine rules an algorithm out."""
    monkeypatch.setattr(contest, "choices", OrderedDict())
    monkeypatch.setattr(choice, "_DOUBT", float("inf"))


def model():
    torch.manual_seed(0)
    return lamina.optimize(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()).eval())


X = torch.linspace(-1, 1, 2 * 16 * 12 * 12).view(2, 16, 12, 12)


def test_a_second_process_times_nothing_and_computes_the_same(tmp_path, monkeypatch):
    with torch.no_grad():
        first = model()(X)
    assert lamina.save_plan(tmp_path / "plan.json") == len(contest.choices) == 1
    contest.choices.clear()
    assert lamina.load_plan(tmp_path / "plan.json") == 1
    monkeypatch.setattr(contest, "perf_counter", None)  # who asks for the time fails
    with torch.no_grad():
        assert torch.equal(model()(X), first)


def test_a_plan_rules_what_runs(tmp_path):
    with torch.no_grad():
        model()(X)
    ((key, first),) = contest.choices.items()
    for name in ("onednn", first):
        contest.choices[key] = name
        ours = model()
        with torch.no_grad():
            ours(X)
        assert [*ours.lamina_report.rows[0].chosen.values()] == [name]


def test_an_algorithm_that_may_not_run_is_chosen_anew(monkeypatch):
    with torch.no_grad():
        model()(X)
    (key,) = contest.choices
    contest.choices[key] = "an algorithm of another day"
    ours = model()
    with torch.no_grad():
        ours(X)
    assert contest.choices[key] != "an algorithm of another day"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a file of save_plan, .*No such file"),
        ("no plan", "expected a file of save_plan"),
        ("[]", "holds something else"),
        ('{"choices": {"a": 1}}', "holds something else"),
        ('{"choices": {}}', "was made with .* None, here it is"),
        ('{"choices": {"a": "b"}, "machine": {"processor": "Z80"}}', "'Z80'|was made with"),
    ],
)
def test_what_is_no_plan_of_this_machine_is_one_line(tmp_path, text, message):
    file = tmp_path / "plan.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=f"^plan: .*({message})") as error:
        lamina.load_plan(file)
    assert "\n" not in str(error.value) and not contest.choices


def test_another_version_is_named(tmp_path):
    file = tmp_path / "plan.json"
    lamina.save_plan(file)
    plan = json.loads(file.read_text())
    name = next(iter(plan["machine"]))
    plan["machine"][name] = "other"
    file.write_text(json.dumps(plan))
    with pytest.raises(InputError, match=f"was made with {name} 'other', here it is"):
        lamina.load_plan(file)


def test_strict_numerics_reach_the_plan():
    before = lamina.ops.get_numerics()
    try:
        lamina.set_numerics("strict")
        ours = model()
        with torch.no_grad():
            ours(X)
    finally:
        lamina.set_numerics(before)
    assert not any("winograd" in name for name in ours.lamina_report.rows[0].chosen.values())
    strict = dict(contest.choices)
    with torch.no_grad():
        ours(X)  # and the other way round: chosen anew
    assert dict(contest.choices) != strict
