"""The lab's habits: what is drawn is drawn from the seed, a folder keeps what is done."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lamina import lab, nn
from lamina.cli import main
from lamina.errors import InputError
from lamina.lab import folder
from lamina.lab.protocol import Criterion, Experiment, Outcome
from lamina.lab.tools.data import Images, Part, load, on_ground
from lamina.lab.tools.training import accuracy, fit
from lamina.report.finding.chart import Bars, Chart, Panel
from lamina.report.finding.records import Measurement


def planted(name="conv2d-sees", value=1.0, raises=None):
    def measure(setting):
        if raises is not None:
            raise raises
        values = tuple(value + seed + torch.rand(()).item() * 0 for seed in setting.seeds)
        chart = Chart("bars", [Panel("values", [Bars("", ["a"], [value])])])
        return Outcome({"value": Measurement(values)}, chart)

    criteria = [Criterion("the value is below 10", lambda results: results["value"].below(10))]
    return Experiment(name, "Is it?", "it is", "s", "t", "m", criteria, measure)


@pytest.fixture
def plant(monkeypatch):
    experiments = {}
    monkeypatch.setattr(lab, "experiment", lambda name: experiments.get(name) or planted(name))
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # in this process, which has what is planted
    return experiments


def test_every_name_is_a_whole_experiment():
    for name in lab.NAMES:
        found = lab.experiment(name)
        assert found.name == name
        for text in (found.title, found.claim, found.source, found.theory, found.method):
            assert len(text) > 10
        assert any(not criterion.limit for criterion in found.criteria)


def test_an_unknown_experiment_lists_the_known():
    with pytest.raises(InputError, match=r"conv2d-sees, .*got 'conv2d-see'; did you mean"):
        lab.experiment("conv2d-see")


def test_a_run_judges_over_five_seeds_and_leaves_the_random_state(plant):
    plant["conv2d-sees"] = planted(value=20.0)
    before = torch.random.get_rng_state()
    found = lab.run("conv2d-sees", seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert found.seeds == [3, 4, 5, 6, 7]
    assert found.results["value"].values == (23.0, 24.0, 25.0, 26.0, 27.0)
    assert found.verdict == "does not hold"
    assert lab.run("conv2d-sees", seed=0, data=load()).machine["threads"]


def test_training_is_drawn_from_its_seed():
    images = load()

    def trained(seed):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Dropout(0.2), torch.nn.Flatten(), nn.Linear(288, 10)
        )
        return model, fit(model, images.train.first(256), epochs=2, seed=seed, watched=images.test)

    (model, first), (_, again), (_, other) = trained(1), trained(1), trained(2)
    assert first == again and first.steps != other.steps
    assert len(first.loss) == len(first.train) == len(first.validation) == 2
    assert len(first.steps) == 2 * 4 and not model.training
    assert first.validation[-1] == accuracy(model, images.test) > 0.15


def test_a_loss_that_is_not_finite_ends_the_training():
    images = load()
    model = torch.nn.Sequential(torch.nn.Flatten(), nn.Linear(64, 10))
    history = fit(
        model,
        images.train.first(128),
        epochs=3,
        seed=0,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e38),
    )
    assert not np.isfinite(history.steps[-1]) and len(history.steps) < 6


def test_few_images_have_every_class():
    few = load().train.few(3, seed=1)
    assert torch.bincount(few.y).tolist() == [3] * 10
    assert not torch.equal(few.y, few.y.sort().values)


def test_an_image_keeps_its_pixels_wherever_it_is_put():
    x = load().train.x[:20]
    placed = on_ground(x, np.random.default_rng(0), side=20, scale=2)
    assert placed.shape == (20, 1, 20, 20)
    ground = float(x.min())
    for image, before in zip(placed - ground, x - ground, strict=True):
        assert image.sum().item() == pytest.approx(4 * before.sum().item(), rel=1e-5)
    assert len({tuple(image.flatten().nonzero()[0].tolist()) for image in placed - ground}) > 5


def test_images_are_mapped_part_by_part():
    images = load().mapped(lambda x, draw: on_ground(x, draw, 12), seed=4)
    assert images.size == (12, 12) and images.channels == 1
    assert isinstance(images, Images) and isinstance(images.test, Part)


def test_the_command_lists_experiments(capsys):
    main_exits(["lab"], 0)
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()] == list(lab.NAMES)


def main_exits(arguments, code):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert (left.value.code or 0) == code


def test_the_command_writes_data_figure_page_and_gallery(plant, tmp_path, capsys):
    out = tmp_path / "new" / "lab"
    main_exits(["lab", "conv2d-sees", "dense-head", "--fast", "-o", str(out)], 0)
    said = capsys.readouterr().out
    assert "conv2d-sees" in said and "holds" in said and str(out / "index.html") in said
    assert {path.name for path in out.iterdir()} == {
        *(f"conv2d-sees.{suffix}" for suffix in ("json", "svg", "html")),
        *(f"dense-head.{suffix}" for suffix in ("json", "svg", "html")),
        "index.html",
    }
    assert [found.name for found in folder.kept(out)] == ["conv2d-sees", "dense-head"]
    assert all(found.fast for found in folder.kept(out))


def test_finished_findings_stay_when_it_is_stopped(plant, tmp_path, capsys):
    plant["dense-head"] = planted("dense-head", raises=KeyboardInterrupt())
    main_exits(["lab", "conv2d-sees", "dense-head", "-o", str(tmp_path)], 130)
    assert "1 of 2 findings stand in" in capsys.readouterr().err
    assert (tmp_path / "index.html").exists() and not (tmp_path / "dense-head.json").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["no-such"], "expected one of conv2d-sees"),
        (["conv2d-sees", "no-such"], "expected one of"),
        (["conv2d-sees", "--all"], "names or --all"),
        (["conv2d-sees", "--data", "no-such-folder"], "data: expected digits, a folder"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path, capsys):
    main_exits(["lab", *arguments, "-o", str(tmp_path / "lab")], 2)
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "lab").exists()


def test_a_folder_that_cannot_be_written_is_said_before_the_work(plant, tmp_path, capsys):
    plant["conv2d-sees"] = planted(raises=AssertionError("the work began"))
    (tmp_path / "file").write_text("x")
    main_exits(["lab", "conv2d-sees", "-o", str(tmp_path / "file")], 2)
    assert "expected a folder" in capsys.readouterr().err
    main_exits(["lab", "conv2d-sees", "-o", str(tmp_path / "file" / "below")], 2)
    assert "is a file" in capsys.readouterr().err


def at_work(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            name, _, rest = file.read_text().rpartition(")")
            state, _, its_group, *_ = rest.split()
            if int(its_group) == group and state != "Z":
                found.append(name)
    return found


@pytest.mark.parametrize("said", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_when_the_command_is_stopped(tmp_path, said):
    """Ctrl-C reaches whoever works, and a kill its parent alone: nobody computes for nobody."""
    command = [sys.executable, "-m", "lamina", "lab", "dense-head", "compound-scaling", "--fast"]
    started = subprocess.Popen(
        [*command, "-o", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "trying dense-head" in started.stdout.readline()
    time.sleep(4)
    if said == signal.SIGINT:
        os.killpg(started.pid, said)
    else:
        started.kill()
    _, error = started.communicate(timeout=60)
    assert started.returncode == (130 if said == signal.SIGINT else -said)
    assert "Traceback" not in error
    if said == signal.SIGINT:
        assert "stopped: 0 of 2 findings stand in" in error
    for _ in range(50):
        if not at_work(started.pid):
            return
        time.sleep(0.1)
    raise AssertionError(at_work(started.pid))


def test_a_file_that_is_no_finding_is_named(plant, tmp_path, capsys):
    (tmp_path / "dense-head.json").write_text("{}")
    main_exits(["lab", "conv2d-sees", "-o", str(tmp_path)], 2)
    assert "dense-head.json: not a finding" in capsys.readouterr().err
