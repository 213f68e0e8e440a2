"""Blocks, windows, units, splits and the cache, against closed forms."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import Blocks, Part, blocks, dedup, nats_per_unit, prepare, windows
from bench.data.document_store import Documents, DocumentStore, write_documents
from bench.data.sources.base import TextChunk
from bench.data.splits import size_strata, split_by_documents


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def words(number: int, seed: int = 0) -> str:
    """Lines of made-up words."""
    random = np.random.default_rng(seed)
    alphabet = np.array(list("etaoinshrdlu"))
    return "".join(
        "".join(random.choice(alphabet, 5)) + (" " if at % 8 else "\n") for at in range(number)
    )


def library(folder: Path, documents: int) -> Path:
    """A folder of small texts of different lengths."""
    folder.mkdir()
    for number in range(documents):
        (folder / f"{number:03}.txt").write_text(words(2 + number % 97, seed=number))
    return folder


# --- the order of training --------------------------------------------------------------------------------------------


def test_each_block_is_seen_once_an_epoch() -> None:
    blocks = Blocks(np.arange(1001, dtype=np.uint16), context=10, batch=7, seed=3)
    assert blocks.per_epoch == 100
    seen = np.concatenate(
        [blocks.at(step) for step in range(100)]
    )  # 700 blocks: 7 epochs, batches run across their borders
    assert seen.shape == (700, 11)
    assert seen.dtype == np.int64
    for epoch in range(7):
        firsts = seen[epoch * 100 : epoch * 100 + 100, 0]
        assert sorted(firsts) == list(range(0, 1000, 10))
    assert (np.diff(seen, axis=1) == 1).all()
    assert (seen[:100, 0] != seen[100:200, 0]).any()


def test_order_is_a_function_of_the_seed_and_the_step() -> None:
    tokens = np.arange(500, dtype=np.uint16)
    first, same, other = (Blocks(tokens, 8, 5, seed) for seed in (1, 1, 2))
    same.at(40)  # looking elsewhere before changes nothing
    assert (first.at(17) == same.at(17)).all()
    assert first.digest(20) == same.digest(20)
    assert first.digest(20) != other.digest(20)
    assert first.digest(20) != first.digest(21)


@pytest.mark.parametrize(
    ("context", "batch", "word"), [(100, 1, "size.context=100"), (10, 10, "train.batch=10")]
)
def test_a_text_too_short_for_context_or_batch(context: int, batch: int, word: str) -> None:
    with pytest.raises(UserError, match=word):
        Blocks(np.zeros(100, np.uint16), context, batch, seed=0)


# --- scoring ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 10, 11, 12, 95, 101])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_every_target_once(length: int, batch: int) -> None:
    tokens = np.random.default_rng(0).integers(0, 200, length).astype(np.uint16)
    part = Part(tokens, np.array([1]), np.array([length - 1]))
    positions = []
    for window in windows(part, context=10, batch=batch):
        real = window.positions >= 0
        assert (window.targets[real] == tokens[window.positions[real]]).all()
        assert (window.tokens[real] == tokens[window.positions[real] - 1]).all()
        assert (real.sum(1) == window.lengths).all()
        assert (window.lengths > 0).all()
        assert not window.tokens[~real].any()
        positions += window.positions[real].tolist()
    assert positions == list(range(1, length))


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_nats_are_summed_by_unit_and_separators_stand_apart(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "TOKENS_PER_CHUNK", piece)
    nine = 9  # the separator
    tokens = np.array([nine, 1, 2, nine, 3, nine, 4, 5, 6], np.uint16)
    part = Part(tokens, np.array([1, 4, 6]), np.array([20, 10, 30]))
    frame, apart, count = nats_per_unit(part, np.array([1000.0, 1, 2, 4, 8, 16, 32, 64, 128]), nine)
    assert frame["nats"].tolist() == [3, 8, 224]
    assert frame["tokens"].tolist() == [2, 1, 3]
    assert frame["bytes"].tolist() == [20, 10, 30]
    assert (apart, count) == (20.0, 2)


def test_units_of_a_corpus_hold_all_its_tokens_and_bytes(tmp_path: Path) -> None:
    corpus = prepare(
        DataConfig(path=str(library(tmp_path / "texts", 60)), tokenizer="bpe", vocabulary=300),
        "mine",
    )
    for name, part in corpus.parts.items():
        frame, _, separators = nats_per_unit(
            part, np.ones(len(part.tokens)), corpus.vocabulary.separator
        )
        assert (part.tokens[part.starts - 1] == corpus.vocabulary.separator).all()
        assert frame["tokens"].sum() + separators + 1 == len(part.tokens)
        assert frame["bytes"].sum() == corpus.facts["bytes"][name]
        for at, size in zip(part.starts, part.sizes, strict=True):
            ends = np.flatnonzero(part.tokens[at:] == corpus.vocabulary.separator)
            text = corpus.vocabulary.decode(
                part.tokens[at : at + ends[0]] if len(ends) else part.tokens[at:]
            )
            assert len(text.encode()) == size


# --- splits -----------------------------------------------------------------------------------------------------------


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
def test_pieces_of_a_long_text_are_its_text(text: str, tmp_path: Path) -> None:
    write_documents(tmp_path / "spool", [TextChunk(text.encode())])
    with DocumentStore(tmp_path / "spool") as spool:
        stretches = list(spool.cut(0, spool.length, 4096))
        assert "".join(spool.read(*stretch) for stretch in stretches) == text
        assert all(4096 <= end - begin <= 2 * 4096 for begin, end in stretches)


def fake(sizes: list[int], names: list[int]) -> Documents:
    """Documents of some sizes; what they say, and where they lie, is a number."""
    begins = np.array(names) * 10_000
    digests = np.array([hashlib.sha256(str(name).encode()).digest()[:16] for name in names], "S16")
    return Documents(begins, begins + np.array(sizes), digests, np.zeros(len(names), np.int8))


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


def test_copies_and_near_copies_go_before_the_split(tmp_path: Path) -> None:
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


def test_near_copies_are_those_that_a_plain_reading_of_the_rule_finds(tmp_path: Path) -> None:
    """Longest first, by sets in memory, against the pass that keeps its runs on the disk; words straddle pieces and chunks."""
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
        said = texts[place].split()
        runs = {tuple(said[at : at + 13]) for at in range(len(said) - 12)}
        if len(runs & seen) <= 0.2 * len(runs):
            seen |= runs
            kept.append(place)
    with DocumentStore(tmp_path / "spool") as spool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup, "READ_BYTES", 64)
        patch.setattr(dedup, "HASHES_IN_MEMORY", 200)
        different = dedup.drop_near_duplicates(documents, spool)
    assert 10 < len(kept) < 55
    assert different.begins.tolist() == documents.begins[sorted(kept)].tolist()


def test_python_docs_is_prose_of_the_right_size() -> None:
    corpus = prepare(DataConfig(source="python_docs", deduplicate="near"), "python_docs")
    total = sum(corpus.facts["bytes"].values())
    assert 1.2e6 < total < 3e6
    assert 0.07 < corpus.facts["bytes"]["test"] / total < 0.13
    assert 0.07 < corpus.facts["bytes"]["validation"] / total < 0.13
    assert corpus.facts["interpreter"].endswith(sys.version.split()[0])
    assert "function" in corpus.vocabulary.decode(corpus.parts["test"].tokens)


# --- the cache --------------------------------------------------------------------------------------------------------


def test_the_same_text_gives_the_same_digest_from_anywhere(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(words(500))
    (tmp_path / "c.txt").write_text(words(500, seed=1))
    first, same, other = (
        prepare(DataConfig(path=str(tmp_path / f"{name}.txt")), "mine") for name in "abc"
    )
    elsewhere = prepare(
        DataConfig(path=str(tmp_path / "a.txt"), cache=str(tmp_path / "elsewhere")), "mine"
    )
    assert first.digest == same.digest == elsewhere.digest != other.digest
    assert len(first.digest) == 16
    assert same.folder == first.folder != elsewhere.folder
    assert same.facts["path"].endswith("b.txt")


@pytest.mark.parametrize(
    "file", ["train.tokens", "validation.units.npy", "vocabulary.json", "manifest.json"]
)
@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
def test_a_broken_cache_is_made_again(file: str, harm: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(words(500))
    options, lines = DataConfig(path=str(tmp_path / "a.txt")), list[str]()
    digest = prepare(options, "mine").digest
    place = prepare(options, "mine", lines.append).folder / file
    assert lines == []
    content = place.read_bytes()
    if harm == "gone":
        place.unlink()
    else:
        place.write_bytes(content[:-7] if harm == "cut" else b"#" + content[1:])
    corpus = prepare(options, "mine", lines.append)
    assert corpus.digest == digest
    assert place.read_bytes() == content
    assert any("making it again" in line for line in lines) == (
        file != "manifest.json" or harm != "gone"
    )


def test_processes_at_once_share_one_cache(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(words(20_000))
    options = f"path={str(tmp_path / 'a.txt')!r}, tokenizer='bpe', vocabulary=400"
    code = f"from bench.config.schema import Data; from bench.data import prepare; print(prepare(Data({options}), 'mine', print).digest)"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = [process.communicate(timeout=60)[0].splitlines() for process in running]
    assert len({lines[-1] for lines in printed}) == 1
    assert sorted(len(lines) for lines in printed) == [1, 1, 4]  # one of them said what it made


def test_a_cache_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(words(500))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"data\.cache="):
        prepare(
            DataConfig(path=str(tmp_path / "a.txt"), cache=str(tmp_path / "file" / "deeper")),
            "mine",
        )


def test_nothing_is_left_behind_by_a_mistake(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "good"}\n{"text": 3}\n')
    with pytest.raises(UserError):
        prepare(DataConfig(path=str(tmp_path / "bad.jsonl")), "mine")
    assert not [path for path in own_cache.iterdir() if path.is_dir()]


def test_a_context_longer_than_the_text_is_said_early(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(words(100))
    corpus = prepare(DataConfig(path=str(tmp_path / "a.txt")), "mine")
    corpus.check(59)
    with pytest.raises(
        UserError, match=r"size\.context=61 is longer than the validation part \(61 tokens\)"
    ):
        corpus.check(61)


def test_importing_the_data_stage_needs_neither_torch_nor_datasets() -> None:
    code = "import json, sys, bench.data; print(json.dumps(sorted({'torch', 'datasets', 'pandas'} & set(sys.modules))))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(printed) == []
