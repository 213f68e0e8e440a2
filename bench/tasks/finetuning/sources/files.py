"""Read examples from the user's own files: .csv, .tsv, .jsonl and .parquet, by named columns."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.data.cache import hash_file
from bench.data.sources.readers import check_utf8
from bench.tasks.finetuning.sources.base import SPLIT, Example, ExampleSource, example_of_row

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
Rows = Iterator[tuple[str, dict[str, Any]]]  # where each row is, in words, and its values


class FileExamples(ExampleSource, name="files"):
    """One file that is split by digest of the text, or a file for each part."""

    def __init__(self, options: TaskConfig, cache: str) -> None:
        self.options = options
        paths = {
            "train": options.path,
            "validation": options.validation_path,
            "test": options.test_path,
        }
        if not options.path:
            raise UserError(
                "task.path is empty: name a file of examples, as in task.path=reviews.csv",
                "missing-file",
            )
        self.files = {part: Path(path).expanduser() for part, path in paths.items() if path}
        for part, path in self.files.items():
            key = "path" if part == "train" else f"{part}_path"
            if path.suffix.lower() not in SUFFIXES:
                raise UserError(
                    f"task.{key}={path} is not one of {', '.join(SUFFIXES)}", "unreadable-file"
                )
            if not path.is_file():
                raise UserError(f"task.{key}={path} is not a file: name one", "missing-file")

    def fingerprint(self) -> Any:
        columns = [self.options.text, self.options.pair, self.options.target]
        about = {"columns": columns, "pairs": self.options.kind == "pairs"}
        return about | {part: hash_file(path) for part, path in self.files.items()}

    def examples(self) -> Iterator[tuple[str, Example]]:
        # a part without a file of its own is drawn from the training file; pairs train nothing
        drawn_from = "test" if self.options.kind == "pairs" else SPLIT
        for part, path in self.files.items():
            name = drawn_from if part == "train" else part
            for where, row in read_rows(path):
                yield name, example_of_row(row, self.options, where)


def read_rows(path: Path) -> Rows:
    """Yield the rows of a file. Raise UserError where it cannot be read."""
    if path.suffix.lower() == ".parquet":
        return _parquet_rows(path)
    content = path.read_bytes()
    check_utf8(path, content, 0)
    text = content.decode().removeprefix("\ufeff")
    return _json_rows(path, text) if path.suffix.lower() == ".jsonl" else _table_rows(path, text)


def _table_rows(path: Path, text: str) -> Rows:
    """Yield the rows of a .csv file with quotes, or of a .tsv file, in which quotes are text."""
    csv.field_size_limit(1 << 30)
    tabs = path.suffix.lower() == ".tsv"
    dialect: dict[str, Any] = (
        {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
    )
    reader = csv.reader(io.StringIO(text, newline=""), **dialect)
    try:
        header = next(reader, [])
        for number, values in enumerate(reader, 1):
            if values and len(values) != len(header):
                advice = "remove tabs from texts" if tabs else "quote texts with commas"
                raise UserError(
                    f"{path}, row {number} has {len(values)} fields, the header {len(header)}: "
                    f"{advice}",
                    "invalid-text",
                )
            if values:
                yield f"{path}, row {number}", dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num} is not CSV ({error}): correct its quotes",
            "invalid-text",
        ) from None


def _json_rows(path: Path, text: str) -> Rows:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{path}, row {number} is not JSON ({error}): correct or remove that line",
                "invalid-text",
            ) from None
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, row {number} is a JSON {type(row).__name__}, not an object with columns",
                "invalid-text",
            )
        yield f"{path}, row {number}", row


def _parquet_rows(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is not a readable .parquet file ({str(error).splitlines()[0]}): write it "
            "again",
            "unreadable-file",
        ) from None
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))
