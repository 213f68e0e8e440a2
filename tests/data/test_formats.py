"""Kinds of files, what is left out of them, links, and the line that each damaged file gets."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import prepare
from bench.data.sources import files
from bench.data.sources.readers import ROW_READERS

TEXTS = ["plain", 'with "quotes", and a comma', "", None, "日本語", '"quoted"']
INVALID = pa.Array.from_buffers(  # Arrow does not check that strings are UTF-8
    pa.string(),
    2,
    [None, pa.py_buffer(np.array([0, 3, 6], np.int32)), pa.py_buffer(b"abc\xff\xfed")],
)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def delimited(separator: str, cell: Callable[[str], str]) -> str:
    rows = [f"{number}{separator}{cell(text or '')}" for number, text in enumerate(TEXTS)]
    return "\n".join([f"id{separator}body", *rows]) + "\n"


def json_lines() -> str:
    return "\n".join(json.dumps({"id": 1, "body": text}) for text in TEXTS) + "\n\n"


CONTENTS = {
    "a.jsonl": json_lines(),
    "a.ndjson": json_lines(),
    "a.csv": delimited(",", quoted),
    "a.tsv": delimited("\t", str),  # quotes are text
}
COLUMNS = {
    "string": pa.array(TEXTS),
    "large": pa.array(TEXTS, pa.large_string()),
    "view": pa.array(TEXTS, pa.string_view()),
    "dictionary": pa.array(TEXTS).dictionary_encode(),
}
EXPECTED = [(text or "").encode() for text in TEXTS]


def read(file: Path, column: str = "body") -> list[bytes]:
    return [chunk.text for chunk in ROW_READERS[files.file_kind(file)](file, column)]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "marked"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", CONTENTS)
def test_rows_of_text_files(name: str, suffix: str, mark: bytes, tmp_path: Path) -> None:
    file, content = tmp_path / (name + suffix), mark + CONTENTS[name].encode()
    file.write_bytes(gzip.compress(content) if suffix else content)
    assert files.find_files(str(tmp_path)) == [file]
    assert read(file) == EXPECTED


@pytest.mark.parametrize("kind", COLUMNS)
def test_rows_of_parquet_columns(kind: str, tmp_path: Path) -> None:
    columns = [COLUMNS[kind], pa.array([{"body": "x"}] * len(TEXTS)), pa.array(TEXTS)]
    table = pa.Table.from_arrays(columns, names=["body", "id", "id"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == EXPECTED


def test_cells_of_a_csv_file_may_hold_lines_and_be_long(tmp_path: Path) -> None:
    text = 'first, "line"\r\nsecond line\n' + "x" * 200_000
    (tmp_path / "a.csv").write_bytes(f"body,id\r\n{quoted(text)},1\r\n\r\nlast,2".encode())
    assert read(tmp_path / "a.csv") == [text.encode(), b"last"]


def test_a_name_with_a_dot_is_a_column_and_no_path(tmp_path: Path) -> None:
    table = pa.table({"m": pa.array([{"text": "x"}] * 2), "m.text": pa.array(["a", "b"])})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", "m.text") == [b"a", b"b"]


def test_rows_without_text_are_left_out_and_counted_in_every_kind(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": TEXTS}), tmp_path / "a.parquet")
    for name, content in CONTENTS.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    for name in [*CONTENTS, "a.parquet"]:
        facts = prepare(DataConfig(path=str(tmp_path / name), column="body"), "mine").facts
        assert (facts["documents_found"], facts["documents_empty"]) == (4, 2)


def test_a_byte_order_mark_is_no_text_and_hides_no_copy(tmp_path: Path) -> None:
    for number in range(40):
        text = f"the text of document {number} " * 3
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
        (tmp_path / f"{number}-marked.txt").write_text(text, encoding="utf-8-sig")
    corpus = prepare(DataConfig(path=str(tmp_path)), "mine")
    assert corpus.facts["duplicates_exact"] == 40
    assert sum(corpus.facts["documents"].values()) == 40
    assert not any((part.tokens == 0xEF).any() for part in corpus.parts.values())


DAMAGED = {  # content, name, reason code, what the message names
    "deep": (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "a.jsonl", "line 1 .*levels"),
    "cells": (b"text,id\na,1\nb\n", "a.csv", "line 3 has 1 cells and the header 2"),
    "quotes": (b'text,id\n"a"b,1\n', "a.csv", "line 2 cannot be parsed"),
    "tabs": (b'text\tid\n"a\tb"\t1\n', "a.tsv", "line 2 has 3 cells and the header 2"),
    "column": (b"body,id\na,1\n", "a.csv", "'text'; it has body, id"),
    "columns": (b"text,text\na,1\n", "a.csv", "2 columns 'text'"),
    "utf8": (b"text\n\xff\n", "a.csv", "byte offset 5"),
    "gzip": (b"not compressed", "a.jsonl.gz", r"\.gz file"),
    "cut gzip": (gzip.compress(b"some text " * 99)[:-9], "a.txt.gz", r"\.gz file"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_one_line(case: str, tmp_path: Path) -> None:
    content, name, pattern = DAMAGED[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=pattern) as error:
        prepare(DataConfig(path=str(tmp_path / name)), "mine")
    assert error.value.code in ("invalid-text", "unreadable-file")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("columns", "names", "pattern"),
    [
        ([INVALID], ["text"], "row 2 is not UTF-8"),
        ([pa.array(["a"]), pa.array(["b"])], ["text", "text"], "2 columns 'text'"),
        ([pa.array([["a"]])], ["text"], "holds no text"),
    ],
)
def test_a_parquet_file_that_cannot_be_read_is_one_line(
    columns: list[pa.Array], names: list[str], pattern: str, tmp_path: Path
) -> None:
    pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=pattern) as error:
        prepare(DataConfig(path=str(tmp_path / "a.parquet")), "mine")
    assert error.value.code == "invalid-text"


# --- which files are read -------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Return a folder with two links to itself, and one to a folder elsewhere."""
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "b.txt").write_text("b")
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "sub" / "a.txt").write_text("a")
    (tmp_path / "root" / ".hidden.txt").write_text("no")
    for name, target in (("loop", "."), ("again", "."), ("other", "../elsewhere")):
        (tmp_path / "root" / name).symlink_to(target)
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [("", "ab"), ("**/*.txt", "ab"), ("**", "ab"), ("sub/**/*.txt", "a"), ("*/*/*.txt", "aab")],
)
def test_links_are_followed_once(pattern: str, texts: str, linked: Path) -> None:
    matches = files.find_files(str(linked / pattern))
    assert "".join(sorted(file.read_text() for file in matches)) == texts


def test_a_pipe_is_no_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for field in ("path", "tokenizer"):
        (tmp_path / "a.txt").write_text("some text " * 9)
        values = {"path": str(tmp_path / "a.txt"), field: str(tmp_path / "pipe.txt")}
        with pytest.raises(UserError, match="not a regular file") as error:
            prepare(DataConfig(**values), "mine")
        assert error.value.code == "missing-file"
