"""Splits and duplicates, against closed forms and plain readings of the rules."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.config.schema import DataConfig
from bench.data import dedup, prepare
from bench.data.document_store import Documents, DocumentStore, write_documents
from bench.data.sources.base import TextChunk
from bench.data.splits import size_strata, split_by_documents
from tests.data.texts import library, words


def test_the_tail_is_cut_at_nine_tenths_of_the_characters(tmp_path: Path) -> None:
    text = words(4000).replace("e", "é") + "日本語のテキスト"
    (tmp_path / "one.txt").write_text(text, encoding="utf-8")
    corpus = prepare(DataConfig(path=str(tmp_path / "one.txt")), "mine")
    left = int(0.9 * len(text))
    assert corpus.vocabulary.decode(corpus.parts["train"].tokens) == text[:left]
    assert corpus.vocabulary.decode(corpus.parts["validation"].tokens) == text[left:]
    assert list(corpus.parts) == ["train", "validation"]
    assert corpus.scored == "validation"
    assert sum(int(part.sizes.sum()) for part in corpus.parts.values()) == len(text.encode())


def test_one_long_text_is_counted_in_blocks(tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text(words(9000))
    corpus = prepare(DataConfig(path=str(tmp_path / "one.md")), "mine")
    sizes = corpus.parts["train"].sizes
    assert len(sizes) == 48_600 // sizes[0]
    assert sizes.min() >= 4096
    assert sizes.max() < 2 * 4096
    starts = corpus.parts["train"].starts
    newline = corpus.parts["train"].tokens[starts[1:] - 1]
    assert (newline == ord("\n")).all()
    assert (np.diff(starts) == sizes[:-1]).all()  # a byte a token


@pytest.mark.parametrize("text", ["a" * 50_000, "ab cd " * 9000, "日" * 20_000, "x\n" * 20_000])
def test_pieces_of_a_long_text_join_to_the_text(text: str, tmp_path: Path) -> None:
    write_documents(tmp_path / "spool", [TextChunk(text.encode())])
    with DocumentStore(tmp_path / "spool") as spool:
        stretches = list(spool.cut(0, spool.length, 4096))
        assert "".join(spool.read(*stretch) for stretch in stretches) == text
        assert all(4096 <= end - begin <= 2 * 4096 for begin, end in stretches)


def fake(sizes: list[int], names: list[int]) -> Documents:
    """Documents of some sizes; their digests and offsets follow from numbers."""
    begins = np.array(names) * 10_000
    spans = np.stack([begins, begins + np.array(sizes)], axis=1)
    digests = np.array([hashlib.sha256(str(name).encode()).digest()[:16] for name in names], "S16")
    return Documents(spans, digests, np.zeros(len(names), np.int8))


def test_documents_are_split_80_10_10_in_every_class_of_size() -> None:
    documents = fake([2 ** (number % 10) + 3 for number in range(1000)], list(range(1000)))
    parts = split_by_documents(documents)
    assert {name: len(spans) for name, spans in parts.items()} == {
        "train": 800,
        "validation": 100,
        "test": 100,
    }
    sizes = {
        name: sorted({end - begin for begin, end in spans.tolist()})
        for name, spans in parts.items()
    }
    assert sizes["test"] == sizes["validation"] == sizes["train"]
    assert sorted(np.concatenate(size_strata(documents))) == list(range(1000))


def test_one_document_more_leaves_nearly_all_others_where_they_were() -> None:
    sizes = [20 + number % 400 for number in range(500)]
    before = split_by_documents(fake(sizes, list(range(500))))
    after = split_by_documents(fake([333, *sizes[::-1]], [777, *range(499, -1, -1)]))
    moved = sum(
        len(set(map(tuple, spans.tolist())) - set(map(tuple, after[name].tolist())))
        for name, spans in before.items()
    )
    assert moved <= 2


def test_duplicates_are_dropped_before_the_split(tmp_path: Path) -> None:
    folder = library(tmp_path / "texts", 40)
    long = words(300, seed=1234)
    (folder / "long.txt").write_text(long)
    (folder / "copy.txt").write_text(long)
    (folder / "near.txt").write_text("another beginning " + long[:1500])
    (folder / "blank.txt").write_text(" \n")
    corpus = prepare(DataConfig(path=str(folder), deduplicate="near"), "mine")
    facts = corpus.facts
    assert (facts["duplicates_exact"], facts["duplicates_near"], facts["documents_empty"]) == (
        1,
        1,
        1,
    )
    assert sum(facts["documents"].values()) == 41
    exact = prepare(DataConfig(path=str(folder)), "mine")
    assert sum(exact.facts["documents"].values()) == 42


def test_near_duplicates_equal_those_of_a_direct_implementation(tmp_path: Path) -> None:
    """Sets in memory against n-grams on the disk; words straddle pieces and chunks."""
    random, longs = np.random.default_rng(5), [words(120, seed=seed).split() for seed in range(6)]
    texts = [
        " ".join(words(60, seed=100 + number).split()[: random.integers(5, 60)])
        for number in range(60)
    ]
    for number in range(0, 60, 2):  # a share of a long text, from nothing to all of it
        texts[number] += " " + " ".join(longs[number % 6][: random.integers(10, 80)])
    documents, _ = write_documents(tmp_path / "spool", [TextChunk(text.encode()) for text in texts])
    seen: set[tuple[str, ...]] = set()
    kept = []
    for place in sorted(
        range(60), key=lambda place: (-documents.sizes[place], documents.digests[place])
    ):
        split = texts[place].split()
        runs = {tuple(split[at : at + 13]) for at in range(len(split) - 12)}
        if len(runs & seen) <= 0.2 * len(runs):
            seen |= runs
            kept.append(place)
    with DocumentStore(tmp_path / "spool") as spool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup, "READ_BYTES", 64)
        patch.setattr(dedup, "HASHES_IN_MEMORY", 200)
        different = dedup.drop_near_duplicates(documents, spool)
    assert 10 < len(kept) < 55
    assert different.spans.tolist() == documents.spans[sorted(kept)].tolist()


def test_python_docs_is_prose_of_the_right_size() -> None:
    corpus = prepare(DataConfig(source="python_docs", deduplicate="near"), "python_docs")
    total = sum(corpus.facts["bytes"].values())
    assert 1.2e6 < total < 3e6
    assert 0.07 < corpus.facts["bytes"]["test"] / total < 0.13
    assert 0.07 < corpus.facts["bytes"]["validation"] / total < 0.13
    assert corpus.facts["interpreter"].endswith(sys.version.split()[0])
    assert "function" in corpus.vocabulary.decode(corpus.parts["test"].tokens)
