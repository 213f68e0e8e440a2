"""User errors: every reason code is defined, and suggestions are near."""

import ast

from bench.config.errors import REASONS, nearest
from tests.conftest import ROOT


def test_every_code_in_use_is_defined() -> None:
    """The code is the second argument of UserError."""
    codes = set()
    for path in (ROOT / "bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError":
                codes |= {n.value for n in ast.walk(ast.Tuple(node.args[1:])) if is_code(n)}
    assert codes - REASONS.keys() == set()


def is_code(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_nearest_names() -> None:
    assert nearest("transfomer", ["transformer", "rnn"]) == "did you mean transformer?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
