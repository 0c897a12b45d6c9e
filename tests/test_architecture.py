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
    "bench": 7,
    "lab": 7,
    "train": 6,
    "inspector": 5,
    "optimiser": 5,
    "interchange": 5,
    "models": 4,
    "report": 4,
    "graph": 3,
    "layers": 3,
    "nn": 3,
    "ops": 2,
    "_native": 1,
    "extras": 1,
    "settings": 1,
    "dialects": 0,
    "disk": 0,
    "errors": 0,
    "_version": 0,
    "theory": 0,
}

# The pools are one kind in two files of nn; `children`, `lazy` and `quantization` are what several
# kinds share.
KINDS = sorted(
    {path.stem for path in (SOURCE / "nn").glob("*.py")}
    - {"__init__", "adaptive_pool2d", "children", "lazy", "quantization"}
)


def floor_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def name_of(path: Path, source: Path = SOURCE) -> str:
    """The module that a file is."""
    parts = path.relative_to(source.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, modules: set[str]) -> set[str]:
    """Those of the modules that a file imports, wherever in the file it does."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the floor"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                imported.add(name if name in modules else str(node.module))
    return imported & modules


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Modules that reach each other by imports.

    Source: Tarjan, "Depth-first search and linear graph algorithms" (1972), section 4.
    """
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        path.append(module)
        for imported in graph[module]:
            if imported not in order:
                visit(imported)
            if imported in path:
                lowest[module] = min(lowest[module], lowest[imported])
        if lowest[module] == order[module]:
            component = set(path[path.index(module) :])
            del path[path.index(module) :]
            if len(component) > 1 or module in graph[module]:
                found.append(component)

    for module in sorted(graph):
        if module not in order:
            visit(module)
    return found


def graph_of(source: Path) -> dict[str, set[str]]:
    files = {name_of(path, source): path for path in [*source.rglob("*.py"), *source.glob("*.pyi")]}
    return {name: imports_of(path, {*files}) for name, path in files.items()}


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")
MODULES = {name_of(path) for path in [*FILES, *SOURCE.glob("*.pyi")]}


def test_no_files_import_each_other_in_a_circle():
    assert circles(graph_of(SOURCE)) == []


@pytest.mark.parametrize(
    "files, expected",
    [
        ({"a": "from lamina.ops import b", "b": "import lamina.ops.a"}, {"a", "b"}),
        (
            {"a": "def f():\n    from lamina.ops.b import x", "b": "from lamina.ops import a"},
            {"a", "b"},
        ),
        (
            {
                "a": "from lamina.ops import b",
                "b": "from lamina.ops import c",
                "c": "from lamina.ops.a import x",
            },
            {"a", "b", "c"},
        ),
        ({"a": "from lamina.ops import a"}, {"a"}),
    ],
    ids=["two", "deferred", "three", "itself"],
)
def test_a_circle_is_found(tmp_path, files, expected):
    floor = tmp_path / "lamina" / "ops"
    floor.mkdir(parents=True)
    for name, text in {**files, "alone": "from lamina.ops import a"}.items():
        (floor / f"{name}.py").write_text(text)
    (found,) = circles(graph_of(tmp_path / "lamina"))
    assert found == {f"lamina.ops.{name}" for name in expected}


def floors_of(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path, MODULES | {"lamina"}) if "." in name}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_downward(path):
    floor = floor_of(path)
    assert floor in FLOORS, f"{path}: not a floor of the house"
    assert "lamina" not in imports_of(path, MODULES | {"lamina"}), f"{path}: the roof itself"
    for imported in floors_of(path):
        assert imported == floor or FLOORS[imported] < FLOORS[floor], (
            f"{path.relative_to(ROOT)}: {floor} must not import {imported}"
        )


def test_the_rule_notices_an_import_that_runs_upward(tmp_path):
    offender = tmp_path / "offender.py"
    offender.write_text("def f():\n    from lamina import models\n    import lamina.train.data\n")
    assert floors_of(offender) == {"models", "train"}


def test_theory_needs_no_torch():
    for path in (SOURCE / "theory").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                module = getattr(node, "module", None) or node.names[0].name
                assert module.split(".")[0] not in {"torch", "keras", "numpy"}, path


def private_names_of_torch(path: Path) -> list[str]:
    """PyTorch's private names that a file imports, or reads from what it imported."""

    def is_private(name: str) -> bool:
        return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))

    tree = ast.parse(path.read_text())
    roots, found = set(), []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None)
            for alias in node.names:
                name = f"{module}.{alias.name}" if module else alias.name
                if name.split(".")[0] == "torch":
                    roots.add(alias.asname or (alias.name if module else "torch"))
                    found += [name] * is_private(name)
    for node in ast.walk(tree):
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(node, ast.Attribute) and isinstance(root, ast.Name) and root.id in roots:
            found += [ast.unparse(node)] * is_private(node.attr)
    return found


def test_torchs_private_names_stand_in_one_room():
    room = SOURCE / "ops" / "runtime" / "torch_private.py"
    users = {path: names for path in FILES if (names := private_names_of_torch(path))}
    assert users.keys() == {room}, users


def test_the_rule_notices_a_private_name(tmp_path):
    offender = tmp_path / "offender.py"
    offender.write_text(
        "import torch\nfrom torch import nn\nfrom torch._C import _log_api_usage_once\n"
        "import torch.autograd.forward_ad as ad\n"
        "torch._C._get_tracing_state(); ad._current_level; nn.Module.__init__\n"
        "self._parameters\n"
    )
    assert set(private_names_of_torch(offender)) == {
        "torch._C._log_api_usage_once",
        "torch._C._get_tracing_state",
        "torch._C",
        "ad._current_level",
    }


def test_keras_is_imported_by_layers_interchange_and_its_networks_alone():
    for path in FILES:
        if floor_of(path) in {"layers", "interchange"} or path.stem == "keras_networks":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                module = getattr(node, "module", None) or node.names[0].name
                assert module.split(".")[0] != "keras", path


def op_of(kind: str) -> Path:
    """One file, or a folder where the kind has several algorithms."""
    folder = SOURCE / "ops" / kind
    return folder / "op.py" if folder.is_dir() else folder.with_suffix(".py")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_file_on_every_floor(kind):
    for place in (
        SOURCE / "theory" / f"{kind}.py",
        op_of(kind),
        SOURCE / "nn" / f"{kind}.py",
        SOURCE / "layers" / f"{kind}.py",
        ROOT / "tests" / "nn" / f"test_{kind}.py",
        ROOT / "docs/kinds" / f"{kind}.md",
    ):
        assert place.exists(), f"{kind}: {place.relative_to(ROOT)} is missing"


def test_every_native_kind_is_one_of_the_kinds():
    cmake = (ROOT / "kernels" / "CMakeLists.txt").read_text()
    native = cmake.split("set(LAMINA_KINDS ", 1)[1].split(")", 1)[0].split()
    assert set(native) <= set(KINDS)
    for kernel in [*native, "roofline"]:
        for file in (f"{kernel}.h", "reference.cc", "variant.cc", "test.cc"):
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
        if requirement.startswith("lamina["):  # the extra that is the others together
            continue
        name = requirement.split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip()
        assert name.lower().replace("_", "-") in pinned, f"{name}: not in constraints.txt"
