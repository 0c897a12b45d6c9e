"""The command line: what it prints, what it leaves, and its exit codes."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from PIL import Image

from lamina import cli, ops, settings
from lamina.train.data import load_data


@pytest.fixture
def call(capsys):
    """Call the command line in this process: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    with pytest.raises(SystemExit) as left:
        cli.main(["train", "--epochs", "2", "--out", str(out)])
    assert not left.value.code
    return out


@pytest.fixture
def digit(tmp_path):
    pixels = load_data("digits").images[0, ..., 0]
    Image.fromarray(pixels).save(tmp_path / "zero.png")
    return tmp_path / "zero.png"


def test_the_last_line_of_train_is_one_json_object_and_the_only_one_on_stdout(call, tmp_path):
    code, out, err = call("train", "--epochs", 1, "--out", tmp_path / "run", "--json")
    assert code == 0
    assert out.count("\n") == 1
    result = json.loads(out)
    assert result.keys() == {"accuracy", "loss", "epochs", "seconds", "parameters", "run"}
    assert result["run"] == str(tmp_path / "run")
    assert 0 <= result["accuracy"] <= 1
    assert "batch_norm2d" in err


def test_a_run_goes_where_its_data_and_model_say_unless_told(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("train", "--epochs", 1)[0] == 0
    assert (tmp_path / "runs" / "digits-digits_cnn" / "report.html").is_file()


def test_resume_goes_on_with_the_runs_own_settings(call, run_folder, tmp_path):
    code, out, _ = call("train", "--resume", run_folder, "--json")
    assert code == 0
    assert json.loads(out)["epochs"] == 2
    for option in (("--seed", 3), ("--out", tmp_path / "new")):
        code, _, err = call("train", "--resume", run_folder, *option)
        assert code == 2
        assert f"leave out '{option[0][2:]}'" in err


def test_every_setting_is_an_option_and_stands_in_the_documents():
    page = (Path(__file__).parents[1] / "docs" / "reference" / "cli.md").read_text()
    assert settings.as_markdown() in page, "python -m lamina.settings prints the table"
    command = typer.main.get_command(cli.app).commands["train"]
    options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    for one in fields(settings.TrainConfig):
        assert set(settings.option_of(one).split("/")) <= options
        assert f"{one.name}: {settings.described(one)}" in settings.TrainConfig.__doc__


def test_a_resumed_run_may_be_told_what_its_result_does_not_depend_on(call, run_folder):
    assert call("train", "--resume", run_folder, "--data", "digits", "--workers", 1)[0] == 0
    code, _, err = call("train", "--resume", run_folder, "--seed", 1)
    assert (code, err.count("\n")) == (2, 1)
    assert "its own settings but data, model, epochs, workers; leave out 'seed'" in err


def test_predict_takes_folders_and_names_every_bad_file(call, run_folder, digit, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    (tmp_path / "b.png").write_text("no image")
    code, out, err = call("predict", run_folder, tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "a.png" in err and "b.png" in err and "--skip-bad" in err
    code, out, err = call("predict", run_folder, tmp_path, "--skip-bad")
    assert (code, out.count("\n"), err.count("\n")) == (0, 1, 2)
    assert out.startswith(f"{digit}\t0\t")


def test_predict_gives_a_line_per_image_and_json_on_demand(call, run_folder, digit):
    code, out, _ = call("predict", run_folder, digit, digit)
    assert code == 0
    name, label, share = out.splitlines()[0].split("\t")
    assert (name, label) == (str(digit), "0")
    assert share.endswith(" %")
    code, out, _ = call("predict", run_folder, digit, "--json")
    [answer] = json.loads(out)
    assert answer["label"] == "0"
    assert answer["probabilities"].keys() == set("0123456789")


def test_doctor_says_what_runs_what_and_what_is_missing(call):
    from lamina.doctor import KINDS
    from lamina.ops.runtime import native

    code, out, _ = call("doctor", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["kinds"].keys() == set(KINDS)
    assert {"torch", "keras", "lightning", "numpy"} <= facts["versions"].keys()
    for kind, said in facts["kinds"].items():
        assert ("kernel (" in said) == (kind in native.kinds())
    if native.kinds():
        for kind, parts in (
            ("dense", {"conv2d"}),
            ("squeeze_excite", {"pool2d", "dense", "activation"}),
        ):
            said = facts["kinds"][kind]
            assert said.startswith("made of ")
            assert {part for part in KINDS if part in said} == parts
    _, out, _ = call("doctor")
    for kind in KINDS:
        assert kind in out
    for file in facts["openmp"]:
        assert Path(file).is_absolute() and Path(file).name in out


def test_doctor_shows_the_limits_that_were_measured(call, monkeypatch):
    from dataclasses import replace

    from lamina.ops.tuning import calibration

    measured = {"peak_flops": 234e9, "bandwidth": 61e9, "exchange": 52e9}
    machines = {pass_: replace(one, **measured) for pass_, one in calibration.MACHINES.items()}
    known = calibration.Calibration(machines, "2026-01-01T00:00:00+00:00")
    monkeypatch.setattr(calibration, "current", lambda: known)
    _, out, _ = call("doctor")
    for said in ("2026-01-01", "234 GFLOP/s", "61 GB/s", "52 GB/s"):
        assert said in out


def test_doctor_finds_one_openmp_runtime_and_remarks_on_a_second():
    program = "from lamina import cli; {} cli.main(['doctor', '--json'])"
    for first, count in (("", 1), ("import torch, sklearn;", 2)):
        done = subprocess.run(
            [sys.executable, "-c", program.format(first)], capture_output=True, text=True
        )
        facts = json.loads(done.stdout)
        assert len(facts["openmp"]) == count
        assert any("OpenMP runtimes in one process" in r for r in facts["remarks"]) == (count > 1)


def test_doctor_without_kernels_says_why(call, monkeypatch):
    from lamina.ops.runtime import native

    monkeypatch.setattr(native, "kernels", None)
    monkeypatch.setattr(native, "reason_for_absence", "not built: no C++ compiler was found")
    _, out, _ = call("doctor", "--json")
    facts = json.loads(out)
    assert facts["remarks"][0] == "native kernels not built: no C++ compiler was found"
    assert set(facts["kinds"].values()) == {"PyTorch's op: no kernels are loaded"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --epochs 0", "epochs: expected an integer of at least 1, got 0"),
        ("train --lr nan", "lr: expected a finite number above 0, got nan"),
        ("train --data digts", "a folder of images or a .csv file, got 'digts'; did you"),
        ("train --data {tmp}", "data: expected images of at least two classes"),
        ("train --model digits_cn", "did you mean 'digits_cnn'?"),
        ("train --model absent.py:net", "model: no file 'absent.py'"),
        ("train --model absent_package:net", "model: importing absent_package failed"),
        ("train --image-size 9", "image_size: expected none for digits"),
        ("train --on-bad-image skp", "on_bad_image: expected error or skip, got 'skp'; did you"),
        ("train --resume {tmp}", "no run folder"),
        (
            "train --epochs 1 --out /dev/null/run",
            "/dev/null/run: Not a directory",
        ),
        ("predict {tmp} {tmp}/image.png", "no run folder"),
        ("bench layers --kind conv3d", "conv3d'; did you mean 'conv2d'?"),
        ("bench layers --seconds -1", "seconds: expected a finite number above 0, got -1.0"),
        ("bench layers --kind dense --seconds nan", "seconds: expected a finite number above 0"),
        ("bench layers --kind dense --json {tmp}/no/rows.json", "there is no folder {tmp}/no"),
        ("bench algorithms --seconds 0", "seconds: expected a finite number above 0, got 0.0"),
        ("bench algorithms --growth --seconds inf", "seconds: expected a finite number above 0"),
        ("bench algorithms --markdown {tmp}", "cannot write {tmp}: it is a folder"),
        ("bench networks --networks vgg19", "got 'vgg19'; did you mean 'vgg16'?"),
        ("bench networks --sides openvino", "sides: openvino needs --peers PYTHON"),
        ("bench networks --rounds 0", "rounds: expected a whole number of at least 1, got 0"),
        ("bench networks --json {tmp}/no/rows.json", "there is no folder {tmp}/no"),
        ("inspect digits_cnn --input 1,1,8,8 -o x.weird", "ends in .txt, .json, .csv, .md, .html"),
        ("inspect digits_cnn --input 1,1,8,8 -o page", "or --format beside it, got 'page'"),
        ("inspect digits_cnn --input 1,1,8,8 -o {tmp}/no/x.json", "there is no folder {tmp}/no"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    call, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments.format(tmp=tmp_path).split())
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert message.format(tmp=tmp_path) in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["doctor --calibrate", "bench algorithms --growth"])
def test_what_chooses_between_kernels_says_where_there_are_none(call, monkeypatch, command):
    from lamina.ops.runtime import native

    monkeypatch.setattr(native, "kernels", None)
    code, out, err = call(*command.split())
    assert (code, out) == (1, "")
    assert err.endswith(": there are no native kernels to choose from\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown", "html"])
def test_a_full_disk_is_one_line(call, form):
    code, out, err = call(
        "inspect", "digits_cnn", "--input", "1,1,8,8", "--format", form, "-o", "/dev/full"
    )
    assert (code, out) == (2, "")
    assert err == "error: /dev/full: No space left on device\n"


@pytest.mark.parametrize("limit", [1 << 10, 1 << 14, 1 << 16])
def test_a_training_whose_files_the_system_refuses_is_one_line(tmp_path, limit):
    run = tmp_path / "run"
    program = (
        "import resource; from lamina import cli\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"cli.main(['train', '--epochs', '1', '--out', {str(run)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {run}")
    assert done.stderr.endswith(": File too large\n") and done.stderr.count("\n") == 1


def test_a_folder_that_only_reads_is_one_line(call, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(30, "Read-only file system", str(tmp_path / "config.json"))

    monkeypatch.setattr("lamina.train.run.write_file", refused)
    code, _, err = call("train", "--epochs", 1, "--out", tmp_path)
    assert code == 2
    assert err == f"error: {tmp_path / 'config.json'}: Read-only file system\n"


def test_a_file_that_was_there_keeps_its_rows_until_there_are_new_ones(call, tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text("[1]")
    assert call("bench", "layers", "--kind", "conv3d", "--json", rows)[0] == 2
    assert rows.read_text() == "[1]"


def test_a_keras_model_is_told_how_it_trains(call, tmp_path):
    source = "import keras\ndef net(): return keras.Sequential([keras.layers.Dense(10)])\n"
    (tmp_path / "mine.py").write_text(source)
    target = f"{tmp_path / 'mine.py'}:net"
    code, out, err = call("train", "--model", target, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert f"{target!r} is a Keras model, which trains with its own compile and fit" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_strict_numerics_are_part_of_the_run(call, tmp_path, digit):
    before = ops.get_numerics()
    try:
        code, *_ = call("--numerics", "strict", "train", "--epochs", "1", "--out", tmp_path / "run")
        assert code == 0 and ops.get_numerics() == "strict"
    finally:
        ops.set_numerics(before)
    choices = json.loads((tmp_path / "run/config.json").read_text())["choices"]
    assert choices["numerics"] == "strict"
    code, _, err = call("--numerics", "exact", "doctor")
    assert code == 2 and err == "error: numerics: expected fast or strict, got 'exact'\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --epochs many", "--epochs"),
        ("train --epoch 3", "--epochs"),
        ("trian", "train"),
        ("predict", "RUN"),
    ],
)
def test_bad_usage_is_explained_with_exit_code_2(call, arguments, message):
    code, out, err = call(*arguments.split())
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err


def test_an_out_folder_that_exists_is_left_alone(call, run_folder):
    before = sorted(path.stat().st_mtime_ns for path in run_folder.rglob("*"))
    code, _, err = call("train", "--out", run_folder)
    assert code == 2
    assert "expected a new or empty folder" in err
    assert sorted(path.stat().st_mtime_ns for path in run_folder.rglob("*")) == before


def test_an_image_that_is_none_is_named(call, run_folder, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    for name in ("text.png", "absent.png"):
        code, out, err = call("predict", run_folder, tmp_path / name)
        assert (code, out) == (2, "")
        assert name in err


def test_a_training_that_diverges_is_one_line_and_exit_code_1(call, tmp_path):
    code, _, err = call("train", "--lr", "1e30", "--augment", "none", "--out", tmp_path / "run")
    assert code == 1
    assert err.startswith("error: the loss is ")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_ctrl_c_leaves_a_run_that_can_be_resumed(call, tmp_path, monkeypatch):
    import signal

    from lamina.train.callbacks import Checkpointing

    real = Checkpointing.on_train_epoch_end

    def interrupted(self, trainer, module):
        real(self, trainer, module)
        if trainer.current_epoch == 0:
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpointing, "on_train_epoch_end", interrupted)
        code, _, err = call("train", "--epochs", 2, "--out", tmp_path / "run")
    signal.signal(signal.SIGINT, handler)
    assert code == 130
    assert f"lamina train --resume {tmp_path / 'run'}" in err
    code, out, _ = call("train", "--resume", tmp_path / "run", "--json")
    assert json.loads(out)["epochs"] == 2


def test_the_package_is_the_command_line_too():
    done = subprocess.run(
        [sys.executable, "-m", "lamina", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "doctor" in done.stdout
