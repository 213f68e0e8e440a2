"""English prose that every Python carries: pydoc's topics and the standard library's docstrings. Downloads nothing."""

import ast
import os
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.data.sources.base import TextChunk, encode_utf8

# Tests, what distributors split off, and what is not the library: they would make the text differ between installations.
PRUNED = {
    "__pycache__", "_bundled", "dist-packages", "distutils", "idle_test", "idlelib", "lib2to3", "pydoc_data", "site-packages",
    "test", "tests", "tkinter", "turtledemo",
}  # fmt: skip
PRUNED_FILES = {"turtle.py"}
SELECTION_VERSION = 1  # raise it when what is taken changes


def library_modules(library: Path) -> list[Path]:
    """The standard library's source files, in the order of their names."""
    found = []
    for folder, folders, files in os.walk(library):
        folders[:] = sorted(
            name
            for name in folders
            if name not in PRUNED and not name.startswith(("config-", "lib-", "."))
        )
        found += [
            Path(folder, name)
            for name in sorted(files)
            if name.endswith(".py") and name not in PRUNED_FILES
        ]
    return found


def docstrings(source: bytes) -> Iterator[str]:
    """The docstrings of a module, its classes and its functions, in the order of the file; none where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # odd escapes in the library's sources are not ours to report
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
        if hasattr(node, "body") and isinstance(
            node.body, list
        ):  # definitions stand in bodies only: expressions need no visit
            inner = (
                node.body
                + getattr(node, "orelse", [])
                + getattr(node, "handlers", [])
                + getattr(node, "finalbody", [])
            )
            waiting += reversed(inner)


class PythonDocsSource:
    """A document each: the topics of `pydoc_data`, then every docstring. Raises UserError where the library has no source files."""

    single = False

    def __init__(self) -> None:
        self.library = Path(sysconfig.get_path("stdlib"))
        self.files = library_modules(self.library)
        if len(self.files) < 100:
            raise UserError(
                f"data=python_docs finds no library sources in {self.library}: use data=text data.path=…"
            )

    def fingerprint(self) -> Any:
        sizes = [
            [file.relative_to(self.library).as_posix(), file.stat().st_size] for file in self.files
        ]
        return {"rule": SELECTION_VERSION, "version": platform.python_version(), "files": sizes}

    def facts(self) -> dict[str, Any]:
        return {
            "source": "python_docs",
            "interpreter": f"{platform.python_implementation()} {platform.python_version()}",
        }

    def pieces(self) -> Iterator[TextChunk]:
        from pydoc_data.topics import topics

        for name in sorted(topics):
            yield TextChunk(encode_utf8(topics[name]))
        for file in self.files:
            for text in docstrings(file.read_bytes()):
                yield TextChunk(encode_utf8(text))
