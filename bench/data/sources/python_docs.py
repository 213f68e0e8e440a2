"""Read English prose that every Python installation carries: pydoc's topics and docstrings."""

import ast
import os
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data.sources.base import Source, TextChunk, encode_utf8

# Tests, what distributors split off, what is not the library: they differ by installation.
PRUNED = set(
    "__pycache__ _bundled dist-packages distutils idle_test idlelib lib2to3 pydoc_data "
    "site-packages test tests tkinter turtledemo".split()
)
PRUNED_FILES = {"turtle.py"}
SELECTION_VERSION = 1  # raise it when the selection changes


def library_modules(library: Path) -> list[Path]:
    """Return the standard library's source files, sorted by name within each folder."""
    modules = []
    for folder, folders, files in os.walk(library):
        folders[:] = sorted(
            name
            for name in folders
            if name not in PRUNED and not name.startswith(("config-", "lib-", "."))
        )
        names = sorted(name for name in files if name.endswith(".py") and name not in PRUNED_FILES)
        modules += [Path(folder, name) for name in names]
    return modules


def parse_module(source: bytes) -> ast.Module:
    """Return a module's syntax tree; an empty one where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in the library's sources
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def docstrings(source: bytes) -> Iterator[str]:
    """Yield a module's docstrings in the order of the file; none where it does not parse."""
    pending: list[ast.AST] = [parse_module(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
        if isinstance(getattr(node, "body", None), list):  # expressions hold no definitions
            fields = ("body", "orelse", "handlers", "finalbody")
            pending += reversed([child for f in fields for child in getattr(node, f, [])])


class PythonDocsSource(Source, name="python_docs"):
    """A document per topic of `pydoc_data` and per docstring; needs the library's source files."""

    def __init__(self, options: DataConfig) -> None:
        self.library = Path(sysconfig.get_path("stdlib"))
        self.files = library_modules(self.library)
        if len(self.files) < 100:
            raise UserError(
                f"data=python_docs finds no library sources in {self.library}: use data=text "
                "data.path=…",
                "missing-file",
            )

    def fingerprint(self) -> Any:
        names = [file.relative_to(self.library).as_posix() for file in self.files]
        sizes = [file.stat().st_size for file in self.files]
        files = [list(pair) for pair in zip(names, sizes, strict=True)]
        version = platform.python_version()
        return {"rule": SELECTION_VERSION, "version": version, "files": files}

    def facts(self) -> dict[str, Any]:
        interpreter = f"{platform.python_implementation()} {platform.python_version()}"
        return {"source": "python_docs", "interpreter": interpreter}

    def chunks(self) -> Iterator[TextChunk]:
        from pydoc_data.topics import topics

        for name in sorted(topics):
            yield TextChunk(encode_utf8(topics[name]))
        for file in self.files:
            for text in docstrings(file.read_bytes()):
                yield TextChunk(encode_utf8(text))
