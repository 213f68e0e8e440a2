"""Texts larger than memory: equal tokens for any cuts and processes, bounded memory, errors."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import Corpus, cache, document_store, learning, prepare, tokenization
from bench.data.sources import files, readers
from bench.data.sources.base import TextChunk
from bench.data.subword import SubwordVocabulary, learn_bpe

ROOT = Path(__file__).parents[2]
MEMORY = """
import sys
from pathlib import Path
from bench.config.schema import DataConfig
from bench.data import prepare
def highest():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
import pyarrow, joblib, tokenizers
before = highest()
prepare(DataConfig(path=sys.argv[1], tokenizer=sys.argv[2]), "mine")
print(highest() - before)
"""
FILE_LIMIT = """
import resource, sys
from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import prepare
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    prepare(DataConfig(path=sys.argv[1], tokenizer=sys.argv[3], vocabulary=300), "mine")
except UserError as error:
    print(error.code, error)
"""


def sentences(number: int, seed: int) -> str:
    """Lines of made-up words, some of many-byte characters, one like a special token."""
    random = np.random.default_rng(seed)
    words = [
        "".join(random.choice(list("etaoinshrdlu"), length))
        for length in random.integers(1, 8, 200)
    ]
    words += ["é" * 3, "日本語", "👩‍👩‍👧", "<|endoftext|>"]
    return "".join(
        word + ("\n" if at % 9 == 8 else " ")
        for at, word in enumerate(random.choice(words, number))
    )


def write_texts(folder: Path, kind: str) -> Path:
    """One long text, or many documents of which some are longer than what is encoded at once."""
    if kind == "txt":
        (folder / "a.txt").write_text(sentences(8000, 0), encoding="utf-8")
    else:
        rows = [{"text": sentences(3 + (number**3) % 700, number)} for number in range(60)]
        (folder / "a.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
    return folder / f"a.{kind}"


def write_tokenizer(folder: Path) -> Path:
    """A tokenizer.json that knows a special token, which in a text is text."""
    tokenizer = Tokenizer.from_str(learn_bpe(lambda: iter([sentences(3000, 5)]), 400).content)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def contents(corpus: Corpus) -> dict[str, list[list[int]]]:
    return {
        name: [part.tokens.tolist(), part.starts.tolist(), part.sizes.tolist()]
        for name, part in corpus.parts.items()
    }


@pytest.mark.parametrize(
    ("kind", "split"), [("txt", "tail"), ("jsonl", "tail"), ("jsonl", "documents")]
)
def test_where_a_text_is_cut_changes_nothing(
    kind: str, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_texts(tmp_path, kind)
    whole = {
        word: prepare(DataConfig(path=str(path), split=split, tokenizer=word), "mine")
        for word in ("bytes", "characters")
    }
    monkeypatch.setattr(readers, "READ_BYTES", 7)
    monkeypatch.setattr(document_store, "READ_BYTES", 5)
    monkeypatch.setattr(tokenization, "BATCH_BYTES", 50)
    monkeypatch.setattr(learning, "BATCH_BYTES", 50)
    for word, before in whole.items():
        after = prepare(
            DataConfig(path=str(path), split=split, tokenizer=word, cache=str(tmp_path / "anew")),
            "mine",
        )
        assert after.folder != before.folder
        assert after.digest == before.digest
        assert contents(after) == contents(before)
        assert after.facts == before.facts


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_threads_and_batches_change_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "path": str(write_texts(tmp_path, kind)),
        "tokenizer": str(write_tokenizer(tmp_path)),
    }
    one = prepare(DataConfig(**options), "mine")
    monkeypatch.setattr(tokenization, "BATCH_BYTES", 3000)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    two = prepare(DataConfig(**options, cache=str(tmp_path / "anew")), "mine")
    assert two.digest == one.digest
    assert contents(two) == contents(one)
    assert two.facts == one.facts
    text = one.vocabulary.decode(one.parts["train"].tokens)
    assert "<|endoftext|>" in text  # as text


def test_byte_pairs_of_a_large_text_are_learned_from_a_sample_of_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "BATCH_BYTES", 500)
    (tmp_path / "a.txt").write_text(
        "".join(f"{word} " * 4000 + "\n" for word in ("alphabet", "brimstone", "curlicue"))
    )
    options = DataConfig(path=str(tmp_path / "a.txt"), tokenizer="bpe", vocabulary=300)
    size = prepare(options, "mine").facts["bytes"]["train"]
    assert prepare(options, "mine").facts["vocabulary_learned_on"] == {"bytes": size, "of": size}
    monkeypatch.setattr(learning, "BPE_SAMPLE_BYTES", 20_000)
    parts = [
        prepare(DataConfig(**{**vars(options), "cache": str(tmp_path / name)}), "mine")
        for name in ("one", "two")
    ]
    assert parts[0].digest == parts[1].digest  # the lot is always the same
    learned = parts[0].facts["vocabulary_learned_on"]
    assert learned["of"] == size
    assert 10_000 < learned["bytes"] < 30_000
    assert isinstance(parts[0].vocabulary, SubwordVocabulary)
    names = parts[0].vocabulary.tokenizer.get_vocab()
    assert {"Ġalphabet", "Ġbrimstone", "Ġcurlicue"} <= set(
        names
    )  # the last one stands behind the first 20,000 bytes


def test_a_sample_is_made_of_pieces_of_the_text(tmp_path: Path) -> None:
    pieces = [TextChunk(f"{number:06}\n".encode()) for number in range(5000)]
    documents, _ = document_store.write_documents(tmp_path / "spool", pieces)
    with document_store.DocumentStore(tmp_path / "spool") as text:
        everything = learning.sample_spans(text, documents.spans, 35_000)
        some = learning.sample_spans(text, documents.spans, 7000)
        assert everything.tolist() == documents.spans.tolist()
        assert 800 < len(some) < 1200  # of 7 bytes
        numbers = [int(piece) for piece in learning.iterate_texts(text, some)]
        assert numbers == sorted(set(numbers))
        assert abs(np.mean(numbers) - 2500) < 200


# --- memory ---------------------------------------------------------------------------------------


def run_python(code: str, *arguments: object, **environment: str) -> str:
    """What a fresh process prints. Its errors are ours."""
    words = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        words, env=settings, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["bytes", "characters", "tokenizer.json"])
def test_a_long_text_takes_less_memory_than_its_length(tokenizer: str, tmp_path: Path) -> None:
    piece, random = sentences(200_000, 0).splitlines(keepends=True), np.random.default_rng(1)
    with open(tmp_path / "a.txt", "w", encoding="utf-8") as file:
        while file.tell() < 150 << 20:
            file.writelines(piece[at] for at in random.permutation(len(piece)))
    word = str(write_tokenizer(tmp_path)) if tokenizer == "tokenizer.json" else tokenizer
    rise = int(run_python(MEMORY, tmp_path / "a.txt", word))  # of the process that asks
    assert rise < 75 << 20


@pytest.mark.slow
def test_many_documents_take_few_bytes_each(tmp_path: Path) -> None:
    count = 500_000
    with open(tmp_path / "a.jsonl", "w", encoding="utf-8") as file:
        file.writelines(
            f'{{"text": "{number} {number * 7919 % 104729} {number**2}"}}\n'
            for number in range(count)
        )
    rise = int(run_python(MEMORY, tmp_path / "a.jsonl", "bytes"))
    assert rise < 160 * count  # an object each would take three times as much


# --- errors ---------------------------------------------------------------------------------------


def nothing_left(own_cache: Path) -> bool:
    """Whether the cache holds no folder, whole or half."""
    return not own_cache.exists() or not [path for path in own_cache.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("tokenizer", "share"), [("bytes", 0.02), ("bytes", 0.3), ("bpe", 0.3), ("bytes", 1.05)]
)
def test_a_full_disk_is_one_line(
    tokenizer: str, share: float, tmp_path: Path, own_cache: Path
) -> None:
    """Files may have a share of the text's length: the text or its tokens do not fit."""
    path = write_texts(tmp_path, "txt")
    printed = run_python(FILE_LIMIT, path, int(share * path.stat().st_size), tokenizer)
    assert printed.startswith("not-writable")
    assert f"{own_cache}" in printed
    assert "data.cache=" in printed
    assert "\n" not in printed
    assert nothing_left(own_cache)


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EACCES"])
def test_a_disk_that_fills_while_tokens_are_written(
    name: str, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = getattr(errno, name)

    def fails(file: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(cache, "fsync", fails)
    with pytest.raises(UserError, match=os.strerror(error)) as caught:
        prepare(
            DataConfig(path=str(write_texts(tmp_path, "txt")), tokenizer="bpe", vocabulary=300),
            "mine",
        )
    assert "\n" not in str(caught.value)
    assert nothing_left(own_cache)


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("no flock"),
        OSError(errno.ENOLCK, "no"),
        PermissionError(errno.EACCES, "no"),
    ],
)
def test_a_folder_without_locks_or_rights(
    error: Exception, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise error

    monkeypatch.setattr(cache, "FileLock", fails)
    with pytest.raises(UserError, match=r"data\.cache=") as caught:
        prepare(DataConfig(path=str(write_texts(tmp_path, "txt"))), "mine")
    assert "\n" not in str(caught.value)
    assert nothing_left(own_cache)


def test_a_cache_folder_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="/proc/nowhere"):
        prepare(DataConfig(path=str(write_texts(tmp_path, "txt")), cache="/proc/nowhere"), "mine")


def test_an_unreadable_file_is_not_reported_as_a_cache_error(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")
        yield

    monkeypatch.setattr(files, "read_plain", fails)
    with pytest.raises(UserError, match=r"a\.txt .*Permission denied"):
        prepare(DataConfig(path=str(write_texts(tmp_path, "txt"))), "mine")
    assert nothing_left(own_cache)


def test_a_dead_tokenizing_process_is_one_line(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "MIN_PROCESS_BYTES", 0)
    monkeypatch.setattr(learning, "_learn_pairs", lambda *given: os._exit(9))
    with pytest.raises(UserError, match="memory") as caught:
        prepare(
            DataConfig(path=str(write_texts(tmp_path, "txt")), tokenizer="bpe", vocabulary=300),
            "mine",
        )
    assert "\n" not in str(caught.value)
    assert nothing_left(own_cache)


def test_the_benchmark_prints_one_table() -> None:
    words = ["benchmarks/tokenizing.py", "--megabytes", "0.5", "--vocabulary", "300"]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head[0] == "tokenizer"
    assert [row[0] for row in rows] == ["bytes", "bpe"]
    assert all(float(row[1]) == 0.5 for row in rows)
