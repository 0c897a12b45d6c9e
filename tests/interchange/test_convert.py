"""`lamina convert`: what is written opens where it belongs, what is refused leaves no trace."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lamina import cli, interchange, models
from lamina.interchange.files import conversion
from tests.interchange.files.networks import keras_net, net

NETWORKS = Path(__file__).parent / "files" / "networks.py"


def run(*arguments):
    """Exit code of the command line."""
    try:
        cli.main(["convert", *map(str, arguments)])
    except SystemExit as error:
        return error.code or 0
    return 0


@pytest.fixture
def saved(tmp_path):
    model = keras_net()
    model.save(tmp_path / "model.keras")
    return model, tmp_path / "model.keras"


@pytest.fixture
def image():
    return np.random.default_rng(0).standard_normal((3, 8, 8, 3)).astype("float32")


def outputs_of_keras(model, image):
    with torch.no_grad():
        return keras.ops.convert_to_numpy(model(image, training=False))


def left(folder):
    """Names of the files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def close(a, b):
    return np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_a_keras_file_to_onnx_proven(saved, tmp_path, image, capsys):
    model, path = saved
    assert run(path, tmp_path / "model.onnx", "--verify") == 0
    said = capsys.readouterr().out
    assert "proven" in said and "TensorFlow" in said and "ONNX Runtime" in said
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (result,) = session.run(None, {session.get_inputs()[0].name: image.transpose(0, 3, 1, 2)})
    assert close(result, outputs_of_keras(model, image))
    opsets = onnx.load(tmp_path / "model.onnx").opset_import
    assert {entry.domain for entry in opsets} <= {"", "ai.onnx"}
    assert left(tmp_path) == ["model.keras", "model.onnx"]


def test_a_keras_file_to_source_that_runs_without_lamina(saved, tmp_path, image, on_torch):
    model, path = saved
    assert run(path, tmp_path / "small_net.py", "--verify") == 0
    assert left(tmp_path) == ["model.keras", "small_net.py", "small_net.safetensors"]
    np.save(tmp_path / "x.npy", image.transpose(0, 3, 1, 2))
    program = (
        "import sys; sys.modules['lamina'] = None\n"
        "import numpy as np, torch\n"
        "from safetensors.torch import load_file\n"
        "from small_net import SmallNet\n"
        "net = SmallNet().eval()\n"
        "net.load_state_dict(load_file('small_net.safetensors'))\n"
        "np.save('y.npy', net(torch.from_numpy(np.load('x.npy'))).detach().numpy())\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert close(np.load(tmp_path / "y.npy"), outputs_of_keras(model, image))


def test_torch_code_to_a_keras_file_that_tensorflow_opens(tmp_path, image):
    source = f"{NETWORKS}:net"
    assert run(source, tmp_path / "net.keras", "--input", "1,3,8,8", "--verify") == 0
    np.save(tmp_path / "x.npy", image)
    program = (
        "import os; os.environ['KERAS_BACKEND'] = 'tensorflow'\n"
        "import keras, numpy as np\n"
        "model = keras.models.load_model('net.keras')\n"
        "np.save('y.npy', model.predict(np.load('x.npy'), verbose=0))\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    with torch.no_grad():
        expected = net().eval()(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    assert close(np.load(tmp_path / "y.npy"), expected.numpy())


def test_torch_code_to_keras_source(tmp_path, image, on_torch):
    source = f"{NETWORKS}:net"
    assert run(source, tmp_path / "net.py", "--input", "1,3,8,8", "--verify") == 0
    assert left(tmp_path) == ["net.py", "net.weights.h5"]
    space = {"__name__": "net"}
    exec((tmp_path / "net.py").read_text(), space)
    model = space["net"]()
    model.load_weights(tmp_path / "net.weights.h5")
    with torch.no_grad():
        expected = net().eval()(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    assert close(outputs_of_keras(model, image), expected.numpy())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".pt2"])
def test_a_keras_file_to_pytorchs_files(saved, tmp_path, image, suffix):
    model, path = saved
    target = tmp_path / f"out{suffix}"
    assert run(path, target) == 0
    if suffix == ".pt2":
        module = torch.export.load(target).module()
    else:
        module = interchange.to_torch(path)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
        from lamina.interchange.files.weights import fit, read_pt, read_safetensors

        fit(module, (read_safetensors if suffix == ".safetensors" else read_pt)(target), "out")
    with torch.no_grad():
        result = module(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    assert close(result.numpy(), outputs_of_keras(model, image))


def test_weights_and_their_code_there_and_back(tmp_path):
    source = f"{NETWORKS}:net"
    torch.save(net().state_dict(), tmp_path / "a.pt")
    arguments = ("--model", source, "--input", "1,3,8,8")
    assert run(tmp_path / "a.pt", tmp_path / "a.keras", *arguments) == 0
    assert run(tmp_path / "a.pt", tmp_path / "a.safetensors", "--model", source) == 0
    assert run(tmp_path / "a.pt", tmp_path / "a.weights.h5", *arguments) == 0
    stated = json.loads((tmp_path / "config.json").read_text())
    assert stated["weights"] == "a.safetensors" and stated["model"] is None
    assert run(tmp_path / "a.keras", tmp_path / "b.pt") == 0
    again = torch.load(tmp_path / "b.pt", weights_only=True)
    assert torch.equal(again["stem.weight"], net().stem.weight)


def test_a_model_by_name_to_onnx(tmp_path):
    torch.manual_seed(0)
    arguments = ("--input", "1,1,8,8", "--verify")
    assert run("digits_cnn", tmp_path / "digits.onnx", *arguments) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "digits.onnx"))
    for batch in (1, 2, 7):
        x = np.random.default_rng(0).random((batch, 1, 8, 8), dtype=np.float32)
        torch.manual_seed(0)
        expected = models.get("digits_cnn").eval()(torch.from_numpy(x)).detach().numpy()
        (result,) = session.run(None, {"input": x})
        assert close(result, expected)


def test_an_exported_model_is_read_where_it_is_trusted(tmp_path, on_torch, capsys):
    interchange.convert(net(), tmp_path / "a.pt2", sizes=(1, 3, 8, 8), verify=True)
    arguments = ("--input", "1,3,8,8", "--verify", "--allow-custom-code")
    for target in ("b.onnx", "b.keras"):
        assert run(tmp_path / "a.pt2", tmp_path / target, *arguments) == 0
        assert capsys.readouterr().out.startswith("proven: ")


@pytest.fixture
def on_torch(monkeypatch):
    """Keras's side of proofs in this process, which TensorFlow's start would slow down."""
    monkeypatch.setattr(conversion, "prove", partial(conversion.prove, backend="torch"))


def test_a_trained_run_to_onnx(tmp_path, on_torch):
    try:
        cli.main(["train", "--epochs", "1", "--out", str(tmp_path / "run")])
    except SystemExit as error:
        assert not error.code
    assert run(tmp_path / "run", tmp_path / "run.onnx", "--verify") == 0
    assert run(tmp_path / "run", tmp_path / "run.keras", "--verify") == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "run.onnx"))
    x = np.zeros((3, 1, 8, 8), np.float32)
    assert session.run(None, {"input": x})[0].shape == (3, 10)


def test_a_report_names_every_layer_and_runs_nothing(tmp_path, on_torch):
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="<script>alert(1)<script>")(image)
    keras.Model(image, x).save(tmp_path / "m.keras")
    report = tmp_path / "report.html"
    assert run(tmp_path / "m.keras", tmp_path / "m.pt", "--verify", "--report", report) == 0
    text = report.read_text()
    assert "proven" in text and "alert(1)" in text and "<script>alert(1)" not in text


def spoiled(monkeypatch):
    """A crossing whose momentum was not converted."""
    cross = conversion.from_keras.cross

    def wrong(model, **options):
        crossing = cross(model, **options)
        for part in crossing.torch_model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 0.99
        return crossing

    monkeypatch.setattr(conversion.from_keras, "cross", wrong)


def test_a_difference_leaves_with_1_and_nothing_is_written(
    saved, tmp_path, monkeypatch, capsys, on_torch
):
    spoiled(monkeypatch)
    target = tmp_path / "model.pt"
    target.write_text("as it was")
    assert run(saved[1], target, "--verify") == 1
    said = capsys.readouterr()
    assert "statistic of layer 'norm'" in said.out and "momentum of batch" in said.out
    assert "--force" in said.err and target.read_text() == "as it was"
    assert left(tmp_path) == ["model.keras", "model.pt"]
    assert run(saved[1], target, "--verify", "--force") == 1
    assert torch.load(target, weights_only=True)


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        ("model.keras", "model.onyx", (), "did you mean '.onnx'"),
        ("model.keras", "model", (), "expected a name that ends in .keras"),
        ("model.keras", "gone/model.pt", (), "there is no folder"),
        ("model.keras", "model.h5", (), "NAME.weights.h5"),
        ("gone.keras", "model.pt", (), "no file"),
        ("broken.keras", "model.pt", (), "no .keras file"),
        ("lambda.keras", "model.pt", (), "layer 'double' is a keras.layers.Lambda"),
        ("model.keras", "model.pt", ("--flavour", "keras"), "flavour: expected torch or lamina"),
        ("model.keras", "model.pt", ("--keep-layout",), "keep-layout: speaks of a Keras model"),
        ("model.keras", "m.weights.h5", ("--flavour", "lamina"), "both hold a keras model"),
        ("model.keras", "m.weights.h5", ("--verify",), "nothing is to be proven"),
        ("digits_cnn", "model.keras", (), "--input 1,3,224,224"),
        ("digits_cnn", "model.onnx", (), "--input 1,3,224,224"),
        ("digits", "model.onnx", (), "did you mean 'digits_cnn'"),
        ("lstm.keras", "model.pt", (), "memory"),
        ("weights.pt", "model.onnx", ("--model", "digits_cnn", "--input", "1,1,8,8"), "weights.pt"),
    ],
)
def test_what_is_refused_is_one_line_and_the_target_untouched(
    saved, tmp_path, monkeypatch, capsys, source, target, options, message
):
    monkeypatch.chdir(tmp_path)
    Path("broken.keras").write_bytes(saved[1].read_bytes()[:-700])
    four = keras.Input((4, 4))
    doubled = keras.layers.Lambda(lambda x: x * 2, name="double")(four)
    keras.Model(four, doubled).save("lambda.keras")
    keras.Model(four, keras.layers.LSTM(3, name="memory")(four)).save("lstm.keras")
    torch.save(net().state_dict(), "weights.pt")
    known = Path(target).parent.is_dir() and Path(target).suffix
    if known:
        Path(target).write_text("as it was")
    before = left(tmp_path)
    capsys.readouterr()
    assert run(source, target, *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error
    assert left(tmp_path) == before
    assert not known or Path(target).read_text() == "as it was"


def test_a_stranger_s_configuration_is_not_overwritten(saved, tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"architectures": ["Bert"]}')
    assert run(saved[1], tmp_path / "model.safetensors") == 2
    assert "config.json" in capsys.readouterr().err
    assert (tmp_path / "config.json").read_text() == '{"architectures": ["Bert"]}'


def test_a_failure_while_writing_leaves_the_old_file(saved, tmp_path, monkeypatch):
    (tmp_path / "model.pt").write_text("as it was")

    def fails(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fails)
    assert run(saved[1], tmp_path / "model.pt") == 2
    assert (tmp_path / "model.pt").read_text() == "as it was"
    assert left(tmp_path) == ["model.keras", "model.pt"]


def test_a_size_that_is_open_has_to_be_given(tmp_path, on_torch, capsys):
    layers = [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, 2, "same")]
    keras.Sequential(layers).save(tmp_path / "m.keras")
    assert run(tmp_path / "m.keras", tmp_path / "m.pt") == 0
    assert run(tmp_path / "m.keras", tmp_path / "m.pt", "--verify") == 2
    assert "the model leaves a size open, ?,?,3; give one" in capsys.readouterr().err
    assert run(tmp_path / "m.keras", tmp_path / "m.pt", "--verify", "--input", "1,9,12,3") == 0


def test_interchange_imports_no_keras_until_it_is_used():
    program = (
        "import sys, lamina, lamina.interchange\n"
        "assert 'keras' not in sys.modules\n"
        "lamina.interchange.convert\n"
        "assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
