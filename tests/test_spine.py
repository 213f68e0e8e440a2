"""The architecture of the code, in code: who may import whom, and whose name stands where."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# the list of docs/architecture.md, in the order in which a run flows through it: each may import only what stands above it
ROWS = re.findall(r"^\| `(\w+)/?` \| .* \| (no|yes|late|in workers) \|$", (ROOT / "docs/architecture.md").read_text(), re.M)
SPINE = [*(name for name, _ in ROWS), "__main__"]
LIGHT = [name for name, torch in ROWS if torch in ("no", "late")]  # must not pull torch in when they are imported
MODULES = sorted((ROOT / "bench").rglob("*.py"))


def stage(path: Path) -> str:
    inside = path.relative_to(ROOT / "bench")
    if inside.stem == "__main__":  # a door may open on everything
        return inside.stem
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imported(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, and whether at its top level."""
    top = set(tree.body) if isinstance(tree, ast.Module) else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"bench.{alias.name}" for alias in node.names] if node.module == "bench" else [node.module]
            yield from ((name, node in top) for name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_stands_above_it(path: Path) -> None:
    own = stage(path)
    if own == "__init__":
        return
    assert own in SPINE, f"{path} has no place in the spine"
    for name, _ in imported(ast.parse(path.read_text(encoding="utf-8"))):
        if name.startswith("bench."):
            used = name.split(".")[1]
            assert used == own or SPINE.index(used) < SPINE.index(own), f"{own} imports {used}, which stands below it"


@pytest.mark.parametrize("path", sorted((ROOT / "architectures").glob("*.py")), ids=lambda path: path.stem)
def test_architectures_know_nothing_of_the_bench(path: Path) -> None:
    names = [name for name, _ in imported(ast.parse(path.read_text(encoding="utf-8")))]
    assert not [name for name in names if name.split(".")[0] == "bench"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_has_to_answer_at_once_imports_neither_torch_nor_datasets(path: Path) -> None:
    if stage(path) in LIGHT:
        tops = {name.split(".")[0] for name, top in imported(ast.parse(path.read_text(encoding="utf-8"))) if top}
        assert not tops & {"torch", "datasets", "transformers"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_architecture_is_named_in_the_bench(path: Path) -> None:
    names = {yaml.stem for yaml in (ROOT / "conf" / "arch").glob("*.yaml")}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    prose = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)}  # type: ignore[attr-defined]
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in prose]
    for string in strings:
        assert not names & set(string.replace("=", " ").replace(",", " ").split()), string
