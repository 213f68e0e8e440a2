"""Translate Python expressions into postfix notation: one right answer, words move and are copied.

The expressions are those that the installed library tests, assigns, returns and asserts.
"""

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.config.task_schema import TaskConfig
from bench.data.sources.python_docs import library_modules, parse_module
from bench.tasks.finetuning.sources.base import SPLIT, Example, ExampleSource

MAX_BYTES = 60
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.LShift: "<<", ast.RShift: ">>", ast.BitOr: "|", ast.BitXor: "^",
    ast.MatMult: "@", ast.BitAnd: "&", ast.And: "and", ast.Or: "or", ast.Not: "not",
    ast.USub: "neg", ast.UAdd: "pos", ast.Invert: "~", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<",
    ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Is: "is", ast.IsNot: "is not", ast.In: "in",
    ast.NotIn: "not in",
}  # fmt: skip


class Postfix(ExampleSource, name="postfix"):
    """Each different expression once, split by its digest."""

    shortcut = "a copy of the input"

    def __init__(self, options: TaskConfig, cache: str) -> None:
        self.files = library_modules(Path(sysconfig.get_path("stdlib")))

    def fingerprint(self) -> Any:
        return {"version": 1, "files": [[file.name, file.stat().st_size] for file in self.files]}

    def examples(self) -> Iterator[tuple[str, Example]]:
        expressions = dict[str, str]()
        for file in self.files:
            for node in tested_expressions(file.read_bytes()):
                text, answer = ast.unparse(node), postfix(node)
                if " " in answer and max(len(text.encode()), len(answer.encode())) <= MAX_BYTES:
                    expressions[text] = answer
        for text, answer in expressions.items():
            yield SPLIT, Example(text, answer)

    @staticmethod
    def shortcut_answer(text: str) -> str:
        return text


def tested_expressions(source: bytes) -> Iterator[ast.expr]:
    """Yield the expressions of a module that it tests, assigns, returns or asserts."""
    for node in ast.walk(parse_module(source)):
        if isinstance(node, ast.If | ast.While | ast.Assert):
            yield node.test
        elif isinstance(node, ast.Assign | ast.Return) and node.value is not None:
            yield node.value


def postfix(node: ast.expr) -> str:
    """Return an expression in postfix notation; empty for one that is not made of operators."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Constant(value=int() | str() | None as value) if " " not in str(value):
            return repr(value)
        case ast.Attribute(value=value, attr=name):
            return _joined([postfix(value)], f".{name}")
        case ast.UnaryOp(op=operator, operand=operand):
            return _joined([postfix(operand)], OPERATORS[type(operator)])
        case ast.BinOp(left=left, op=operator, right=right):
            return _joined([postfix(left), postfix(right)], OPERATORS[type(operator)])
        case ast.BoolOp(op=operator, values=[first, *rest]):
            answer = postfix(first)
            for value in rest:
                answer = _joined([answer, postfix(value)], OPERATORS[type(operator)])
            return answer
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            return _joined([postfix(left), postfix(right)], OPERATORS[type(operator)])
    return ""


def _joined(operands: list[str], operator: str) -> str:
    return " ".join([*operands, operator]) if all(operands) else ""
