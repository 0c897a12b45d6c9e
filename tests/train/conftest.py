"""A trained run and a folder of images, made once."""

import contextlib
import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from lamina.train import TrainConfig, train


@contextlib.contextmanager
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks gain nothing from threads, and wait for them where the machine is busy."""
    with _one_thread():
        yield


@pytest.fixture
def silent():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="session")
def quiet():
    """A console that shows nothing, for tests that draw their cases."""
    return Console(quiet=True)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A run of three epochs on digits; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    with _one_thread():  # as the runs that it is compared with
        train(TrainConfig(epochs=3), out, console=Console(file=io.StringIO()))
    return out


@pytest.fixture
def run_copy(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def image_folder(tmp_path):
    """Two classes, bright and dark, of 12 images each, in both formats and several sizes."""
    draw = np.random.default_rng(0)
    root = tmp_path / "pictures"
    for name, level in (("bright", 200), ("dark", 50)):
        (root / name).mkdir(parents=True)
        for number in range(12):
            size = (16 + number % 3, 20, 3)
            pixels = draw.integers(level - 40, level + 40, size=size).astype(np.uint8)
            suffix = "png" if number % 2 else "JPG"
            Image.fromarray(pixels).save(root / name / f"{number:02d}.{suffix}")
    return root


@pytest.fixture
def model_file(tmp_path):
    """Models of somebody else's, and a mark left by whoever runs their code."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "from pathlib import Path\n"
        f"Path({str(tmp_path / 'was_run')!r}).touch()\n"
        "def net(num_classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(num_classes))\n"
        "def frozen(num_classes):\n"
        "    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))\n"
        "    return model.requires_grad_(False)\n"
        "class Raising(torch.nn.Module):\n"
        "    def forward(self, x): raise RuntimeError('no\\nluck')\n"
    )
    return path
