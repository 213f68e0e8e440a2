"""Read the user's own text: a file, a folder or a glob of .txt, .md, .jsonl and .parquet."""

import codecs
import glob
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data.cache import MAX_HASHED_BYTES, hash_file
from bench.data.sources.base import Source, TextChunk, encode_utf8

TEXT_SUFFIXES = (".txt", ".md")  # one document per file
ROW_SUFFIXES = (".jsonl", ".parquet")  # one document per row
READ_BYTES = 4 << 20


def find_files(path: str) -> list[Path]:
    """Return the files that `data.path` names, sorted; raise UserError where there are none."""
    if not path:
        raise UserError(
            "data.path is empty: name a file, a folder or a glob, as in data.path=my_text.txt",
            "missing-file",
        )
    root, suffixes = Path(path).expanduser(), TEXT_SUFFIXES + ROW_SUFFIXES
    kinds = ", ".join(suffixes)
    if root.is_dir():
        candidates = [
            file
            for file in root.rglob("*")
            if file.suffix.lower() in suffixes
            and not any(part.startswith(".") for part in file.relative_to(root).parts)
        ]
        missing = f"is a folder without any {kinds} file: put texts there, or name another folder"
    else:
        candidates = [root, *map(Path, glob.glob(str(root), recursive=True))]
        missing = f"does not exist: name a file, a folder or a quoted glob ({kinds})"
    files = sorted({file for file in candidates if file.is_file()})
    if not files:
        raise UserError(f"data.path={path} {missing}", "missing-file")
    return files


class FileSource(Source, name="text"):
    """Texts in files: each .txt or .md file is a document, as is each row of .jsonl or .parquet."""

    def __init__(self, options: DataConfig) -> None:
        self.path, self.column = options.path, options.column
        self.files = find_files(self.path)
        self.rows = any(file.suffix.lower() in ROW_SUFFIXES for file in self.files)
        self.single = len(self.files) == 1 and not self.rows
        for file in self.files:
            try:
                open(file, "rb").close()
            except OSError as error:
                raise _unreadable(file, error) from None
        if not any(file.stat().st_size for file in self.files):
            raise UserError(
                f"data.path={self.path} is empty (0 bytes): there is nothing to learn from",
                "too-little-text",
            )

    def fingerprint(self) -> Any:
        files = [[file.suffix.lower(), _hash_contents(file)] for file in self.files]
        return {"files": files, "column": self.column if self.rows else ""}

    def facts(self) -> dict[str, Any]:
        return {"source": "text", "path": self.path, "files": len(self.files)}

    def chunks(self) -> Iterator[TextChunk]:
        for file in self.files:
            try:
                match file.suffix.lower():
                    case ".jsonl":
                        yield from read_jsonl(file, self.column)
                    case ".parquet":
                        yield from read_parquet(file, self.column)
                    case _:
                        yield from read_plain(file)
            except OSError as error:
                raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> UserError:
    return UserError(
        f"{file} cannot be read ({error.strerror}): correct its permissions, or leave it out of "
        "data.path",
        "unreadable-file",
    )


def _hash_contents(file: Path) -> str:
    """Return the SHA-256 of a file; of a large one that of its ends, size and time."""
    state = file.stat()
    if state.st_size <= MAX_HASHED_BYTES:
        return hash_file(file)
    with open(file, "rb") as stream:
        digest = hashlib.sha256(stream.read(READ_BYTES))
        stream.seek(-READ_BYTES, 2)
        digest.update(stream.read())
    digest.update(f"{state.st_size} {state.st_mtime_ns}".encode())
    return digest.hexdigest()


def check_utf8(file: Path, block: bytes, offset: int) -> None:
    """Raise UserError where a block, `offset` bytes into the file, is not UTF-8 text."""
    zero = block.find(0)
    if zero >= 0:
        raise UserError(
            f"{file} is binary or UTF-16 (a zero byte at offset {offset + zero}): give UTF-8 text",
            "invalid-text",
        )
    try:
        block.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 (byte offset {offset + error.start}): convert it, for example "
            "with iconv -t UTF-8",
            "invalid-text",
        ) from None


def read_plain(file: Path) -> Iterator[TextChunk]:
    """Yield one document in chunks; raise UserError with the byte offset where it is not UTF-8."""
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    with open(file, "rb") as stream:
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


def read_jsonl(file: Path, column: str) -> Iterator[TextChunk]:
    """Yield a document per line; raise UserError with the line number where it has no such text."""
    offset = 0
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, 1):
            check_utf8(file, line, offset)
            offset += len(line)
            if line.strip():
                yield TextChunk(encode_utf8(_text_of_line(line, column, f"{file} line {number}")))


def _text_of_line(line: bytes, column: str, where: str) -> str:
    try:
        row = json.loads(line)
    except ValueError as error:
        problem = f"is not JSON ({error}): correct or remove that line"
    else:
        if isinstance(row, dict) and isinstance(row.get(column), str):
            return str(row[column])
        if not isinstance(row, dict):
            problem = f"is a JSON {type(row).__name__}, not an object with a field {column!r}"
        elif column in row:
            kind = type(row[column]).__name__
            problem = f"has no text in the field {column!r} ({kind}): set data.column=…"
        else:
            problem = f"has no field {column!r}; it has {', '.join(row)}: set data.column=…"
    raise UserError(f"{where} {problem}", "invalid-text")


def read_parquet(file: Path, column: str) -> Iterator[TextChunk]:
    """Yield a document per row; raise UserError where the file is damaged or has no such text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            if column not in schema.names:
                raise UserError(
                    f"{file} has no column {column!r}; it has {', '.join(schema.names)}: set "
                    "data.column=…",
                    "invalid-text",
                )
            kind = schema.field(column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise UserError(
                    f"{file}: the column {column!r} holds no text ({kind}): set data.column=…",
                    "invalid-text",
                )
            for batch in table.iter_batches(batch_size=256, columns=[column]):
                yield from (TextChunk(encode_utf8(t)) for t in batch.column(0).to_pylist() if t)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{file} is not a readable .parquet file ({str(error).splitlines()[0]}): write it "
            "again",
            "unreadable-file",
        ) from None
