"""Where text comes from, and the one line that each bad input gets."""

import json
import time
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bench.config.errors import UserError
from bench.config.schema import DataConfig, SyntheticConfig
from bench.config.validation import CHOICES
from bench.data import Corpus, prepare
from bench.data.sources.base import encode_utf8
from bench.data.sources.python_docs import docstrings
from bench.data.tokenizer import is_tokenizer_path

CONF = sorted((Path(__file__).parents[1] / "conf" / "data").glob("*.yaml"))
TEXTS = [f"document number {number}: {'words ' * (number % 7)}" for number in range(30)]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def said(corpus: Corpus) -> set[str]:
    """All documents of a corpus, decoded."""
    found = set()
    for part in corpus.parts.values():
        for begin, size in zip(part.starts, part.sizes, strict=True):
            found.add(corpus.vocabulary.decode(part.tokens[begin : begin + size]))  # a byte a token
    return found


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
    assert said(corpus) == set(TEXTS)
    assert corpus.facts["split"] == "documents"
    assert corpus.scored == "test"


BAD = {
    "missing": ("", "nowhere.txt", "nowhere.txt does not exist"),
    "empty": (b"", "a.txt", "empty"),
    "blank": (b" \n \n", "a.txt", "nothing but white space"),
    "binary": (b"text\x00\x01", "a.txt", "zero byte at offset 4"),
    "latin": ("hello é".encode("latin-1"), "a.txt", "not UTF-8 .byte offset 6"),
    "cut": ("hello é".encode()[:-1], "a.txt", "not UTF-8 .byte offset 6"),
    "short": (b"abc", "a.txt", "too short to split"),
    "no json": (b'{"text": "a"}\n{oops\n', "a.jsonl", "line 2 is no JSON"),
    "no object": (b"[1]\n", "a.jsonl", "line 1 is a JSON list"),
    "no field": (
        b'{"body": "a", "id": 3}\n',
        "a.jsonl",
        "line 1 has no field 'text'; it has body, id",
    ),
    "no text": (b'{"text": 3}\n', "a.jsonl", "the field 'text' is no text .int"),
    "few": (b'{"text": "a"}\n', "a.jsonl", "needs 3 different documents, and there are 1"),
    "latin line": (b'{"text": "a"}\n{"text": "\xe9"}\n', "a.jsonl", "byte offset 24"),
    "no parquet": (b"PAR1 it is not", "a.parquet", "no readable .parquet"),
    "no files": ("", "folder", "without any .txt, .md, .jsonl, .parquet"),
    "no match": ("", "*.md", "does not exist"),
    "no path": ("", "", "data.path is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_texts_get_one_line(case: str, tmp_path: Path) -> None:
    content, name, line = BAD[case]
    (tmp_path / "folder").mkdir()
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=line) as caught:
        prepare(DataConfig(path=name), "mine")
    assert "\n" not in str(caught.value)


def test_a_parquet_file_without_the_column(tmp_path: Path) -> None:
    pd.DataFrame({"body": TEXTS, "id": range(30)}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no column 'text'; it has body, id"):
        prepare(DataConfig(path="a.parquet"), "mine")
    with pytest.raises(UserError, match="'id' is no text"):
        prepare(DataConfig(path="a.parquet", column="id"), "mine")


def test_bad_bytes_behind_the_first_block_are_found_at_their_offset(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("é".encode() * (2 << 20) + b"x" + "é".encode() * 10 + b"\xff")
    with pytest.raises(UserError, match=f"byte offset {(4 << 20) + 21}"):
        prepare(DataConfig(path="a.txt"), "mine")


def test_words_that_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 100)
    with pytest.raises(UserError, match=r"data\.split=given"):
        prepare(DataConfig(path="a.txt", split="given"), "mine")
    with pytest.raises(UserError, match="did you mean python_docs"):
        prepare(DataConfig(source="python_doc"), "mine")


def test_half_a_surrogate_pair_becomes_a_mark() -> None:
    assert encode_utf8(json.loads('"a\\ud800b"')) == "a\ufffdb".encode()


def test_docstrings_are_read_without_importing() -> None:
    module = b'"""Module."""\nraise SystemExit\nif 1:\n    def g():\n        """  G."""\n'
    source = module + b'class A:\n    """Class."""\n    def f(self):\n        "Method."\n'
    assert list(docstrings(source)) == ["Module.", "G.", "Class.", "Method."]
    assert list(docstrings(b"def (")) == []


# --- sets of the hub --------------------------------------------------------------------------------------------------


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
    assert said(corpus) == set(TEXTS)
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


def test_only_as_many_documents_as_asked_are_read(hub_set: str) -> None:
    corpus = prepare(
        DataConfig(source="hub", repository=hub_set, documents=12, streamed=True), "mine"
    )
    assert corpus.facts["documents_found"] == 12
    assert corpus.facts["split"] == "documents"


@pytest.mark.parametrize("streamed", [False, True])
def test_mistakes_about_a_set_are_one_line(hub_set: str, streamed: bool) -> None:
    with pytest.raises(UserError, match="no column 'body'; it has text"):
        prepare(
            DataConfig(source="hub", repository=hub_set, column="body", streamed=streamed), "mine"
        )
    with pytest.raises(UserError, match="can not be read") as caught:
        prepare(
            DataConfig(source="hub", repository=hub_set, parts={"": "nowhere"}, streamed=streamed),
            "mine",
        )
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"data\.repository"):
        prepare(DataConfig(source="hub"), "mine")


def test_without_a_network_one_line_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.data.sources.hub.is_reachable", lambda name: False)
    start = time.monotonic()
    with pytest.raises(
        UserError, match=r"needs a network, and there is none: .*data=text data\.path="
    ) as caught:
        prepare(DataConfig(source="hub", repository="nobody/nothing_of_this_name"), "mine")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 15  # most of it the import of datasets


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_every_yaml_names_known_keys_and_opens_with_a_comment(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    values = yaml.safe_load(text)
    law = SyntheticConfig(**values.pop("synthetic", {}))
    options = DataConfig(**values, synthetic=law)
    known = {field.name: type(getattr(DataConfig(), field.name)) for field in fields(DataConfig)}
    assert all(isinstance(getattr(options, name), kind) for name, kind in known.items())
    assert options.source in CHOICES["data.source"]
    assert law.kind in CHOICES["data.synthetic.kind"]
    assert options.split in CHOICES["data.split"]
    assert options.deduplicate in CHOICES["data.deduplicate"]
    if law.kind == "none":
        assert not is_tokenizer_path(options.tokenizer)
    else:
        assert (options.source, options.tokenizer) == ("synthetic", "symbols")
    assert options.split != "given" or {"train", "validation"} <= set(options.parts)
