"""Check the layout of docs/architecture.md: what imports torch, and where names occur."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIGHT = ("config", "stats", "system", "records", "data", "planning", "cli", "analysis", "reporting")
MODULES = sorted((ROOT / "bench").rglob("*.py"))


def package(path: Path) -> str:
    inside = path.relative_to(ROOT / "bench")
    return inside.parts[0] if len(inside.parts) > 1 else "command"


def imported(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield each module that a file imports, and whether at its top level."""
    top = set(tree.body) if isinstance(tree, ast.Module) else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node in top


def parse(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_light_packages_import_neither_torch_nor_datasets(path: Path) -> None:
    if package(path) in (*LIGHT, "command"):
        tops = {name.split(".")[0] for name, top in imported(parse(path)) if top}
        assert not tops & {"torch", "datasets", "transformers"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_bench_names_no_architecture(path: Path) -> None:
    names = {yaml.stem for yaml in (ROOT / "conf" / "arch").glob("*.yaml")}
    tree = parse(path)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    prose = {
        id(node.body[0].value)  # type: ignore[attr-defined]
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            words = node.value.replace("=", " ").replace(",", " ").split()
            assert not names & set(words), node.value


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in MODULES
        if path.name == "__init__.py"
    }
    assert set(listed) == found | {"architectures", "bench.conf"}


def test_the_reference_is_current() -> None:
    from tests.reference_docs import API_PAGE, PAGE, api, reference

    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"
    assert API_PAGE.read_text(encoding="utf-8") == api(), "run `make docs`"
