"""Read one file: a plain text is a document, as is each row of a file of rows.

A row without a value is a document without text, which the caller counts and leaves out.
"""

import codecs
import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from bench.config.errors import UserError
from bench.data.sources.base import TextChunk, encode_utf8

READ_BYTES = 4 << 20
csv.field_size_limit(sys.maxsize)  # the library's default is 128 KiB


@contextmanager
def open_text(file: Path) -> Iterator[BinaryIO]:
    """Open a file, decompressed where its name ends in .gz; raise UserError where it is damaged."""
    try:
        if file.suffix.lower() != ".gz":
            with open(file, "rb") as stream:
                yield stream
        else:
            with gzip.open(file, "rb") as decompressed:
                yield cast(BinaryIO, decompressed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _damaged(file, ".gz", error) from None


def _damaged(file: Path, kind: str, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"{file} is not a readable {kind} file ({reason}): write it again", "unreadable-file"
    )


def invalid_text(message: str) -> UserError:
    """Return the error about a text whose content has to be corrected."""
    return UserError(message, "invalid-text")


def check_utf8(file: Path, block: bytes, offset: int) -> None:
    """Raise UserError where a block, `offset` bytes into the file, is not UTF-8 text."""
    if (zero := block.find(0)) >= 0:
        place = f"a zero byte at offset {offset + zero}"
        raise invalid_text(f"{file} is binary or UTF-16 ({place}): give UTF-8 text")
    try:
        block.decode()
    except UnicodeDecodeError as error:
        place = f"byte offset {offset + error.start}"
        advice = "convert it, for example with iconv -t UTF-8"
        raise invalid_text(f"{file} is not UTF-8 ({place}): {advice}") from None


def read_plain(file: Path) -> Iterator[TextChunk]:
    """Yield one document in chunks; raise UserError with the byte offset where it is not UTF-8."""
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    with open_text(file) as stream:
        while block := stream.read(READ_BYTES):
            pending = decoder.getstate()[0]  # a character that the last block cut in two
            try:
                decoder.decode(block)
                valid = 0 not in block
            except UnicodeDecodeError:
                valid = False
            if not valid:
                check_utf8(file, pending + block, offset - len(pending))
            offset += len(block)
            yield TextChunk(block, last=False)
    check_utf8(file, pending := decoder.getstate()[0], offset - len(pending))
    yield TextChunk(b"", last=True)


def _text_lines(file: Path) -> Iterator[str]:
    """Yield the lines of a file, without a byte order mark; raise UserError as `check_utf8`."""
    offset = 0
    with open_text(file) as stream:
        for line in stream:
            check_utf8(file, line, offset)
            yield (line if offset else line.removeprefix(codecs.BOM_UTF8)).decode()
            offset += len(line)


def check_column(where: object, column: str, columns: Iterable[str]) -> None:
    """Raise UserError unless exactly one column has the name."""
    names = list(columns)
    if column not in names:
        listed = ", ".join(map(str, names))
        raise invalid_text(f"{where} has no column {column!r}; it has {listed}: set data.column=…")
    if (count := names.count(column)) > 1:
        raise invalid_text(f"{where} has {count} columns {column!r}: rename all but one")


def no_text(where: object, column: str, kind: object) -> UserError:
    """Return the error about a column of another type."""
    return invalid_text(f"{where}: the column {column!r} holds no text ({kind}): set data.column=…")


def read_jsonl(file: Path, column: str) -> Iterator[TextChunk]:
    """Yield a document per line; raise UserError with the line number where it has no such text."""
    for where, row in json_rows(file):
        check_column(where, column, row)
        if not isinstance(row[column], str | None):
            field = f"the field {column!r} ({type(row[column]).__name__})"
            raise invalid_text(f"{where} has no text in {field}: set data.column=…")
        yield TextChunk(encode_utf8(row[column] or ""))


def json_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the object of each line with where it is; raise UserError for anything else."""
    for number, line in enumerate(_text_lines(file), 1):
        if not line.strip():
            continue
        where = f"{file} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            deep = isinstance(error, RecursionError)
            problem = "is JSON with too many levels" if deep else f"is not JSON ({error})"
            raise invalid_text(f"{where} {problem}: correct or remove that line") from None
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise invalid_text(f"{where} is a JSON {kind}, not an object with named fields")
        yield where, row


def read_csv(file: Path, column: str, **dialect: Any) -> Iterator[TextChunk]:
    """Yield a document per row below the header; raise UserError for a row of other cells."""
    rows = csv_rows(file, **dialect)
    for _, header in rows:
        check_column(file, column, header)
        place = header.index(column)
        for _, row in rows:
            yield TextChunk(encode_utf8(row[place]))


def csv_rows(file: Path, **dialect: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield the header, then each row, with where it is; raise UserError for one of other cells."""
    rows = csv.reader(_text_lines(file), strict=True, **dialect)
    try:
        header = next(rows, None)
        if header is None:
            return
        yield str(file), header
        for row in filter(None, rows):
            where = f"{file} line {rows.line_num}"
            if len(row) != len(header):
                raise invalid_text(
                    f"{where} has {len(row)} cells and the header {len(header)}: a .csv needs "
                    "quotes around separators and line ends, and a .tsv can hold neither"
                )
            yield where, row
    except csv.Error as error:
        problem = f"line {rows.line_num} cannot be parsed ({error})"
        raise invalid_text(f"{file} {problem}: correct its quotes") from None


def read_parquet(file: Path, column: str) -> Iterator[TextChunk]:
    """Yield a document per row; raise UserError where the file is damaged or has no such text."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
        check_column(file, column, schema.names)
        kind, number = schema.field(column).type, 0
        if not _is_text(kind):
            raise no_text(file, column, kind)
        # a dataset of this field alone: others may have equal names, and a dot in a name is no path
        table = ds.dataset(file, schema=pa.schema([schema.field(column)]), format="parquet")
        for batch in table.to_batches(columns={"text": ds.field(column)}, batch_size=256):
            values = batch.column(0)
            if pa.types.is_dictionary(values.type):
                values = values.dictionary_decode()
            # as bytes: Arrow does not check that strings are UTF-8
            for value in values.cast(pa.large_binary()).to_pylist():
                number += 1
                yield TextChunk(_checked_value(value, f"{file} row {number}"))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, ".parquet", error) from None


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _checked_value(value: bytes | None, where: str) -> bytes:
    try:
        return (value or b"").decode().encode()
    except UnicodeDecodeError as error:
        place = f"byte offset {error.start} of its text"
        raise invalid_text(f"{where} is not UTF-8 ({place}): correct or remove it") from None


TSV: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}  # quotes are text
Reader = Callable[[Path, str], Iterator[TextChunk]]
ROW_READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": partial(read_csv, **TSV),
    ".parquet": read_parquet,
}
