"""The house stands: imports run downward, and every kind has its file on every floor."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "lamina"

# A floor may import from those on a smaller number and from itself. `theory` is below all and
# imports nothing; `errors` is a word that all may use.
FLOORS = {
    "cli": 8,
    "__main__": 9,
    "doctor": 7,
    "lab": 7,
    "train": 6,
    "inspect": 5,
    "optimize": 5,
    "interchange": 5,
    "models": 4,
    "report": 4,
    "layers": 3,
    "nn": 3,
    "ops": 2,
    "_native": 1,
    "errors": 0,
    "_version": 0,
    "theory": 0,
}

# The pools are one kind in two files of nn; `lazy` is what several kinds share.
KINDS = sorted(
    {path.stem for path in (SOURCE / "nn").glob("*.py")} - {"__init__", "adaptive_pool2d", "lazy"}
)


def floor_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The floors of lamina that a file imports, wherever in the file it does."""
    floors = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the floor"
            names = [node.module or ""]
            if node.module == "lamina":
                names = [f"lamina.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "lamina" and len(parts) > 1 and parts[1] in FLOORS:
                floors.add(parts[1])
    return floors


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_downward(path):
    floor = floor_of(path)
    assert floor in FLOORS, f"{path}: not a floor of the house"
    for imported in imports_of(path):
        assert imported == floor or FLOORS[imported] < FLOORS[floor], (
            f"{path.relative_to(ROOT)}: {floor} must not import {imported}"
        )


def test_the_rule_notices_an_import_that_runs_upward(tmp_path):
    offender = tmp_path / "offender.py"
    offender.write_text("def f():\n    from lamina import inspect\n    import lamina.train.data\n")
    assert imports_of(offender) == {"inspect", "train"}


def test_theory_needs_no_torch():
    for path in (SOURCE / "theory").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                module = getattr(node, "module", None) or node.names[0].name
                assert module.split(".")[0] not in {"torch", "keras", "numpy"}, path


def test_keras_is_imported_by_layers_and_interchange_alone():
    for path in FILES:
        if floor_of(path) in {"layers", "interchange"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                module = getattr(node, "module", None) or node.names[0].name
                assert module.split(".")[0] != "keras", path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_file_on_every_floor(kind):
    for place in (
        SOURCE / "theory" / f"{kind}.py",
        SOURCE / "ops" / f"{kind}.py",
        SOURCE / "nn" / f"{kind}.py",
        SOURCE / "layers" / f"{kind}.py",
        ROOT / "tests" / "nn" / f"test_{kind}.py",
        ROOT / "benchmarks" / f"{kind}.py",
        ROOT / "docs" / f"{kind}.md",
    ):
        assert place.exists(), f"{kind}: {place.relative_to(ROOT)} is missing"


def test_every_native_kind_is_one_of_the_kinds():
    cmake = (ROOT / "kernels" / "CMakeLists.txt").read_text()
    native = cmake.split("set(LAMINA_KINDS ", 1)[1].split(")", 1)[0].split()
    assert set(native) <= set(KINDS)
    for kernel in [*native, "roofline"]:
        for file in (f"{kernel}.h", "reference.cc", "variant.cc", "dispatch.cc", "test.cc"):
            assert (ROOT / "kernels" / kernel / file).exists(), f"kernels/{kernel}/{file}"
        assert (ROOT / "bindings" / f"{kernel}.cc").exists()


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    for requirement in wanted:
        name = requirement.split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip()
        assert name.lower().replace("_", "-") in pinned, f"{name}: not in constraints.txt"
