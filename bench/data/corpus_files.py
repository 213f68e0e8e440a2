"""The user's own text: a file, a folder or a glob of .txt, .md, .jsonl and .parquet."""

import codecs
import glob
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.data.sources.base import TextChunk, encode_utf8

TEXT_SUFFIXES = (".txt", ".md")  # a document a file
ROW_SUFFIXES = (".jsonl", ".parquet")  # a document a row
READ_BYTES = 4 << 20  # bytes read at once
MAX_HASHED_BYTES = (
    256 << 20
)  # a file up to this size is known by all of its bytes, a larger one by its ends, size and time


def find_files(path: str) -> list[Path]:
    """The files that `data.path` names, in the order of their names. Raises UserError where there are none."""
    if not path:
        raise UserError(
            "data.path is empty: name a file, a folder or a glob, as in data.path=my_text.txt"
        )
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    kinds = ", ".join(TEXT_SUFFIXES + ROW_SUFFIXES)
    if place.is_dir():
        found = [
            file for file in place.rglob("*") if file.suffix.lower() in TEXT_SUFFIXES + ROW_SUFFIXES
        ]
        found = [
            file
            for file in found
            if not any(part.startswith(".") for part in file.relative_to(place).parts)
        ]
        missing = f"data.path={path} is a folder without any {kinds} file: put texts there, or name another folder"
    else:
        found = [Path(name) for name in glob.glob(str(place), recursive=True)]
        missing = (
            f"data.path={path} does not exist: name a file, a folder or a quoted glob ({kinds})"
        )
    files = sorted(file for file in found if file.is_file())
    if not files:
        raise UserError(missing)
    return files


class FileSource:
    """The texts of some files. A .txt or .md file is one document, a row of a .jsonl or .parquet file is one."""

    def __init__(self, path: str, column: str):
        self.path, self.column = path, column
        self.files = find_files(path)
        self.single = len(self.files) == 1 and self.files[0].suffix.lower() not in ROW_SUFFIXES
        for file in self.files:
            check_readable(file)
        if not any(file.stat().st_size for file in self.files):
            raise UserError(f"data.path={path} is empty (0 bytes): there is nothing to learn from")

    def fingerprint(self) -> Any:
        column = (
            self.column if any(file.suffix.lower() in ROW_SUFFIXES for file in self.files) else ""
        )
        return {"files": [fingerprint_file(file) for file in self.files], "column": column}

    def facts(self) -> dict[str, Any]:
        return {"source": "text", "path": self.path, "files": len(self.files)}

    def pieces(self) -> Iterator[TextChunk]:
        for file in self.files:
            suffix = file.suffix.lower()
            try:
                if suffix == ".jsonl":
                    yield from read_jsonl(file, self.column)
                elif suffix == ".parquet":
                    yield from read_parquet(file, self.column)
                else:
                    yield from read_plain(file)
            except OSError as error:
                raise UserError(unreadable_message(file, error)) from None


def check_readable(file: Path) -> None:
    """Raise UserError for a file that may not be read."""
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise UserError(unreadable_message(file, error)) from None


def unreadable_message(file: Path, error: OSError) -> str:
    return f"{file} can not be read ({error.strerror}): mend its permissions, or leave it out of data.path"


def fingerprint_file(file: Path) -> list[str]:
    """Suffix and digest of a file's bytes; of its ends, size and time where it is large."""
    state, digest = file.stat(), hashlib.sha256()
    with open(file, "rb") as stream:
        if state.st_size <= MAX_HASHED_BYTES:
            while block := stream.read(READ_BYTES):
                digest.update(block)
        else:
            digest.update(stream.read(READ_BYTES))
            stream.seek(-READ_BYTES, 2)
            digest.update(stream.read())
            digest.update(f"{state.st_size} {state.st_mtime_ns}".encode())
    return [file.suffix.lower(), digest.hexdigest()]


def check_utf8(file: Path, block: bytes, offset: int) -> None:
    """Raise UserError where a block, which starts `offset` bytes into the file, is no UTF-8 text."""
    zero = block.find(0)
    if zero >= 0:
        raise UserError(
            f"{file} is binary or UTF-16 (a zero byte at offset {offset + zero}): give UTF-8 text"
        )
    try:
        block.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 (byte offset {offset + error.start}): convert it, as with iconv -t UTF-8"
        ) from None


def read_plain(file: Path) -> Iterator[TextChunk]:
    """One document, checked to be UTF-8 while it is read. Raises UserError with the byte offset where it is not."""
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    with open(file, "rb") as stream:
        while block := stream.read(READ_BYTES):
            held = decoder.getstate()[
                0
            ]  # the beginning of a character that the last block cut in two
            try:
                if 0 in block:
                    raise UnicodeDecodeError("utf-8", block, 0, 1, "zero byte")
                decoder.decode(block)
            except UnicodeDecodeError:
                check_utf8(file, held + block, offset - len(held))
            offset += len(block)
            yield TextChunk(block, last=False)
    if decoder.getstate()[0]:
        raise UserError(
            f"{file} is not UTF-8 (byte offset {offset - len(decoder.getstate()[0])}): its last character is cut off"
        )
    yield TextChunk(b"", last=True)


def read_jsonl(file: Path, column: str) -> Iterator[TextChunk]:
    """A document a line. Raises UserError with the line's number where it is no JSON object with that field of text."""
    offset = 0
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, 1):
            check_utf8(file, line, offset)
            offset += len(line)
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{file} line {number} is no JSON ({error}): mend or remove that line"
                ) from None
            if not isinstance(row, dict):
                raise UserError(
                    f"{file} line {number} is a JSON {type(row).__name__}, not an object with a field {column!r}"
                )
            if column not in row:
                raise UserError(
                    f"{file} line {number} has no field {column!r}; it has {', '.join(row)}: set data.column=…"
                )
            if not isinstance(row[column], str):
                kind = type(row[column]).__name__
                raise UserError(
                    f"{file} line {number}: the field {column!r} is no text ({kind}): set data.column=…"
                )
            yield TextChunk(encode_utf8(row[column]))


def read_parquet(file: Path, column: str) -> Iterator[TextChunk]:
    """A document a row. Raises UserError where the file is broken or has no such column of text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            if column not in schema.names:
                raise UserError(
                    f"{file} has no column {column!r}; it has {', '.join(schema.names)}: set data.column=…"
                )
            kind = schema.field(column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise UserError(
                    f"{file}: the column {column!r} is no text ({kind}): set data.column=…"
                )
            for batch in table.iter_batches(batch_size=256, columns=[column]):
                yield from (
                    TextChunk(encode_utf8(text)) for text in batch.column(0).to_pylist() if text
                )
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{file} is no readable .parquet file ({str(error).splitlines()[0]}): write it again"
        ) from None
