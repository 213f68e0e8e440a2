"""Read examples from the user's own files of rows, by named columns."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.data.cache import hash_file
from bench.data.sources.files import file_kind
from bench.data.sources.readers import ROW_READERS, TSV, csv_rows, json_rows
from bench.tasks.finetuning.sources.base import RowExamples

SUFFIXES = tuple(ROW_READERS)  # any but .parquet also compressed, with .gz behind
Rows = Iterator[tuple[str, dict[str, Any]]]  # where each row is, in words, and its values


class FileExamples(RowExamples, name="files"):
    """One file that is split by digest of the text, or a file for each part."""

    def __init__(self, options: TaskConfig, cache: str) -> None:
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
        files = {part: Path(path).expanduser() for part, path in paths.items() if path}
        super().__init__(options, files)
        for part, path in files.items():
            key = "path" if part == "train" else f"{part}_path"
            if file_kind(path) not in SUFFIXES or path.name.lower().endswith(".parquet.gz"):
                raise UserError(
                    f"task.{key}={path} is not one of {', '.join(SUFFIXES)}", "unreadable-file"
                )
            if not path.is_file():
                raise UserError(f"task.{key}={path} is not a file: name one", "missing-file")

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {part: hash_file(path) for part, path in self.parts.items()}

    def rows(self, part: Path) -> Rows:
        return read_rows(part)


def read_rows(path: Path) -> Rows:
    """Yield the rows of a file. Raise UserError where it cannot be read."""
    kind = file_kind(path)
    if kind == ".parquet":
        return _parquet_rows(path)
    if kind in (".csv", ".tsv"):
        return _table_rows(path, TSV if kind == ".tsv" else {})
    return json_rows(path)


def _table_rows(path: Path, dialect: Mapping[str, Any]) -> Rows:
    rows = csv_rows(path, **dialect)
    for _, header in rows:
        for where, row in rows:
            yield where, dict(zip(header, row, strict=True))


def _parquet_rows(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not a readable .parquet file ({str(error).splitlines()[0]}): write it "
            "again",
            "unreadable-file",
        ) from None
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))
