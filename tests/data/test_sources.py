"""Sources of text, and the error that each bad input gets."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bench.config.errors import UserError
from bench.config.schema import DataConfig, SyntheticConfig
from bench.config.validation import CHOICES
from bench.data import Corpus, prepare
from bench.data.registry import member
from bench.data.sources.base import Source, TextChunk, encode_utf8
from bench.data.sources.python_docs import docstrings
from bench.data.synthetic.base import SyntheticSource
from bench.data.tokenizer import is_tokenizer_path

CONF = sorted((Path(__file__).parents[2] / "conf" / "data").glob("*.yaml"))
TEXTS = [f"document number {number}: {'words ' * (number % 7)}" for number in range(30)]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def decode_documents(corpus: Corpus) -> set[str]:
    """All documents of a corpus, decoded."""
    documents = set()
    for part in corpus.parts.values():
        for begin, size in zip(part.starts, part.sizes, strict=True):
            documents.add(
                corpus.vocabulary.decode(part.tokens[begin : begin + size])
            )  # a byte a token
    return documents


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet", "glob"])
def test_every_form_of_file_gives_the_same_documents(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    if kind in ("txt", "glob"):
        for number, text in enumerate(TEXTS):
            (folder / f"{number}.txt").write_text(text)
        (folder / ".hidden.txt").write_text("not this")
        (folder / "picture.png").write_bytes(b"\x89PNG\0")
    elif kind == "jsonl":
        (folder / "a.jsonl").write_text(
            "\n".join(json.dumps({"body": text, "id": 1}) for text in TEXTS) + "\n\n"
        )
    else:
        pd.DataFrame({"body": TEXTS}).to_parquet(folder / "a.parquet")
    path = str(folder / "*.txt") if kind == "glob" else str(folder)
    corpus = prepare(DataConfig(path=path, column="body"), "mine")
    assert decode_documents(corpus) == set(TEXTS)
    assert corpus.facts["split"] == "documents"
    assert corpus.scored == "test"


BAD = {  # content of the file, its name, reason code, what the message names
    "missing": ("", "nowhere.txt", "missing-file", "nowhere.txt"),
    "empty": (b"", "a.txt", "too-little-text", "0 bytes"),
    "blank": (b" \n \n", "a.txt", "too-little-text", "a.txt"),
    "binary": (b"text\x00\x01", "a.txt", "invalid-text", "offset 4"),
    "latin": ("hello é".encode("latin-1"), "a.txt", "invalid-text", "offset 6"),
    "cut": ("hello é".encode()[:-1], "a.txt", "invalid-text", "offset 6"),
    "short": (b"abc", "a.txt", "too-little-text", "3 characters"),
    "no json": (b'{"text": "a"}\n{oops\n', "a.jsonl", "invalid-text", "line 2"),
    "no object": (b"[1]\n", "a.jsonl", "invalid-text", "line 1 .* list"),
    "no field": (
        b'{"body": "a", "id": 3}\n',
        "a.jsonl",
        "invalid-text",
        "line 1 .*'text'.* body, id",
    ),
    "no text": (b'{"text": 3}\n', "a.jsonl", "invalid-text", "'text' .int"),
    "few": (b'{"text": "a"}\n', "a.jsonl", "too-little-text", r"data\.split=documents"),
    "latin line": (b'{"text": "a"}\n{"text": "\xe9"}\n', "a.jsonl", "invalid-text", "offset 24"),
    "no parquet": (b"PAR1 it is not", "a.parquet", "unreadable-file", r"a\.parquet"),
    "no files": ("", "folder", "missing-file", r"\.txt, .*\.csv, .*\.parquet"),
    "no match": ("", "*.md", "missing-file", r"\*\.md"),
    "no path": ("", "", "missing-file", r"data\.path"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_text_is_one_line_with_a_code(case: str, tmp_path: Path) -> None:
    content, name, code, identifier = BAD[case]
    (tmp_path / "folder").mkdir()
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=identifier) as error:
        prepare(DataConfig(path=name), "mine")
    assert error.value.code == code
    assert "\n" not in str(error.value)


def test_a_parquet_file_without_the_column(tmp_path: Path) -> None:
    pd.DataFrame({"body": TEXTS, "id": range(30)}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"'text'.* body, id"):
        prepare(DataConfig(path="a.parquet"), "mine")
    with pytest.raises(UserError, match="'id'"):
        prepare(DataConfig(path="a.parquet", column="id"), "mine")


def test_bad_bytes_after_the_first_block_are_reported_at_their_offset(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("é".encode() * (2 << 20) + b"x" + "é".encode() * 10 + b"\xff")
    with pytest.raises(UserError, match=f"byte offset {(4 << 20) + 21}"):
        prepare(DataConfig(path="a.txt"), "mine")


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 100)
    with pytest.raises(UserError, match=r"data\.split=given"):
        prepare(DataConfig(path="a.txt", split="given"), "mine")
    with pytest.raises(UserError, match="did you mean python_docs"):
        prepare(DataConfig(source="python_doc"), "mine")


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    assert encode_utf8(json.loads('"a\\ud800b"')) == "a\ufffdb".encode()


def test_a_source_is_one_class() -> None:
    class Mine(Source, name="mine"):
        def __init__(self, options: DataConfig) -> None:
            self.text = options.path

        def fingerprint(self) -> str:
            return self.text

        def facts(self) -> dict[str, str]:
            return {"source": "mine"}

        def chunks(self) -> Iterator[TextChunk]:
            yield from (TextChunk(f"{self.text} {number}".encode()) for number in range(30))

    corpus = prepare(DataConfig(source="mine", path="document"), "mine")
    assert decode_documents(corpus) == {f"document {number}" for number in range(30)}
    assert corpus.facts["source"] == "mine"


def test_docstrings_are_read_without_importing() -> None:
    module = b'"""Module."""\nraise SystemExit\nif 1:\n    def g():\n        """  G."""\n'
    source = module + b'class A:\n    """Class."""\n    def f(self):\n        "Method."\n'
    assert list(docstrings(source)) == ["Module.", "G.", "Class.", "Method."]
    assert list(docstrings(b"def (")) == []


# --- hub sets -------------------------------------------------------------------------------------


@pytest.fixture
def hub_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A set in a local folder, in the form that hub sets have."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    (tmp_path / "set").mkdir()
    for part, texts in {
        "train": TEXTS[:20],
        "validation": TEXTS[20:25],
        "test": TEXTS[24:],
    }.items():
        pd.DataFrame({"text": texts}).to_parquet(tmp_path / "set" / f"{part}.parquet")
    return str(tmp_path / "set")


PARTS = {part: part for part in ("train", "validation", "test")}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_set_that_comes_in_parts_keeps_them(hub_set: str, streamed: bool) -> None:
    corpus = prepare(
        DataConfig(source="hub", repository=hub_set, split="given", parts=PARTS, streamed=streamed),
        "mine",
    )
    assert corpus.facts["documents"] == {"train": 20, "validation": 5, "test": 6}
    assert decode_documents(corpus) == set(TEXTS)
    assert corpus.facts["held_out_seen_in_training"] == 0


def test_joined_rows_are_one_text(hub_set: str) -> None:
    corpus = prepare(
        DataConfig(
            source="hub", repository=hub_set, split="given", parts=PARTS, joined=True, streamed=True
        ),
        "mine",
    )
    assert corpus.facts["documents"] == {"train": 1, "validation": 1, "test": 1}
    assert corpus.vocabulary.decode(corpus.parts["validation"].tokens) == "".join(TEXTS[20:25])
    tail = prepare(
        DataConfig(source="hub", repository=hub_set, parts=PARTS, joined=True, streamed=True),
        "mine",
    )
    text = "".join(TEXTS[:25] + TEXTS[24:])
    assert tail.vocabulary.decode(tail.parts["train"].tokens) == text[: int(0.9 * len(text))]


def test_data_documents_limits_what_is_read(hub_set: str) -> None:
    corpus = prepare(
        DataConfig(source="hub", repository=hub_set, documents=12, streamed=True), "mine"
    )
    assert corpus.facts["documents_found"] == 12
    assert corpus.facts["split"] == "documents"


@pytest.mark.parametrize("streamed", [False, True])
def test_errors_about_a_set_are_one_line(hub_set: str, streamed: bool) -> None:
    with pytest.raises(UserError, match=r"'body'.* text"):
        prepare(
            DataConfig(source="hub", repository=hub_set, column="body", streamed=streamed), "mine"
        )
    with pytest.raises(UserError, match=re.escape(hub_set)) as caught:
        prepare(
            DataConfig(source="hub", repository=hub_set, parts={"": "nowhere"}, streamed=streamed),
            "mine",
        )
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"data\.repository"):
        prepare(DataConfig(source="hub"), "mine")


def test_a_missing_network_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.data.sources.hub.is_reachable", lambda name, group: False)
    start = time.monotonic()
    with pytest.raises(UserError, match="nobody/nothing_of_this_name") as caught:
        prepare(DataConfig(source="hub", repository="nobody/nothing_of_this_name"), "mine")
    assert caught.value.code == "no-network"
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 15  # most of it the import of datasets


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_every_yaml_has_valid_keys_and_opens_with_a_comment(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    values = yaml.safe_load(text)
    synthetic = SyntheticConfig(**values.pop("synthetic", {}))
    options = DataConfig(**values, synthetic=synthetic)
    types = {field.name: type(getattr(DataConfig(), field.name)) for field in fields(DataConfig)}
    assert all(isinstance(getattr(options, name), kind) for name, kind in types.items())
    if options.source != "synthetic":
        member(Source, "bench.data.sources", "data.source", options.source)
    else:
        member(SyntheticSource, "bench.data.synthetic", "data.synthetic.kind", synthetic.kind)
    assert options.split in CHOICES["data.split"]
    assert options.deduplicate in CHOICES["data.deduplicate"]
    if synthetic.kind == "none":
        assert not is_tokenizer_path(options.tokenizer)
    else:
        assert (options.source, options.tokenizer) == ("synthetic", "symbols")
    assert options.split != "given" or {"train", "validation"} <= set(options.parts)
