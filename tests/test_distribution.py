"""The wheel and the sdist: what is in them, and what they are called."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lamina._version import __version__

ROOT = Path(__file__).parents[1]
BACKEND = "import sys; from scikit_build_core.build import {0}; {0}(*sys.argv[1:])"

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

pytest.importorskip("scikit_build_core")
pytestmark = pytest.mark.skipif(not shutil.which("cmake", path=PATH), reason="there is no cmake")


def build(kind, out, **environment):
    """Have the backend build one distribution, which it needs no network for."""
    subprocess.run(
        [sys.executable, "-c", BACKEND.format(f"build_{kind}"), str(out)],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    [made] = out.iterdir()
    return made


def test_a_wheel_made_without_a_compiler_is_pure_python(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cmake", "ninja", "python3"):
        if found := shutil.which(tool, path=PATH):
            (tools / tool).symlink_to(found)
    out = tmp_path / "out"
    out.mkdir()
    wheel = build("wheel", out, PATH=str(tools), CXX="", SKBUILD_BUILD_DIR=str(tmp_path / "build"))
    assert wheel.name == f"lamina-{__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.endswith((".so", ".cc", ".h"))]
    assert {"lamina/py.typed", "lamina/_native.pyi", "lamina/report/assets/page.css"} <= {*names}


def test_the_sdist_holds_what_a_build_needs_and_no_more(tmp_path):
    archive = build("sdist", tmp_path)
    assert archive.name == f"lamina-{__version__}.tar.gz"
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {name.partition("/")[0] for name in names} == {
        *("CHANGELOG.md", "CMakeLists.txt", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"),
        *("bindings", "kernels", "src"),
    }
    assert not [name for name in names if "__pycache__" in name or name.endswith(".so")]
    tracked = subprocess.run(
        ["git", "ls-files", "bindings", "kernels", "src"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert tracked and {*tracked} <= names
