"""Reference lines: n-grams against closed forms and a plain second version; records and page."""

import json
import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import data, reporting
from bench.analysis import baselines as floors
from bench.analysis.badges import baseline_badges
from bench.analysis.build import build
from bench.config.schema import DataConfig, Run, SizeConfig, TrainConfig
from bench.data.blocks import Blocks, windows
from bench.evaluation import baselines, ngram
from bench.evaluation.read_text import text_read_by
from bench.records import tables as reading
from bench.reporting import summary_text
from tests import fake_records
from tests.conftest import write_words

OF = 5  # ids


def plain(train: list[int], history: tuple[int, ...], order: int) -> np.ndarray:
    """Return (OF,) interpolated Kneser–Ney by its definition, with one discount per order."""

    def count(n: int, top: bool) -> Counter:
        grams = [tuple(train[i : i + n]) for i in range(len(train) - n + 1)]
        if top:
            return Counter(grams)
        return Counter(
            gram[1:] for gram in {tuple(train[i : i + n + 1]) for i in range(len(train) - n)}
        )

    def given(history: tuple[int, ...], top: bool) -> np.ndarray:
        counts = count(len(history) + 1, top)
        ones, twos = (sum(c == k for c in counts.values()) for k in (1, 2))
        discount = ones / (ones + 2 * twos) if ones and twos else 0.5
        shorter = given(history[1:], False) if history else np.full(OF, 1 / OF)
        own = np.array([counts[(*history, word)] for word in range(OF)], dtype=float)
        if not own.sum():
            return shorter
        return (
            np.maximum(own - discount, 0) / own.sum()
            + discount * (own > 0).sum() / own.sum() * shorter
        )

    return given(history[len(history) - order + 1 :] if order > 1 else (), True)


def drawn(count: int, seed: int = 0) -> np.ndarray:
    """Ids of a text with habits: a walk that mostly goes on by its last two."""
    draw = np.random.default_rng(seed)
    ids = [0, 1]
    for _ in range(count - 2):
        ids.append(int((ids[-1] * 2 + ids[-2]) % OF if draw.random() < 0.7 else draw.integers(OF)))
    return np.array(ids)


@pytest.mark.parametrize("modified", [False, True])
def test_probabilities_sum_to_one_whatever_came_before(modified: bool) -> None:
    train = drawn(300)
    for history in ([0, 1, 2], [4, 4, 4], [3, 0, 0]):
        lasts = np.array([[*history, word] for word in range(OF)])
        for n, found in enumerate(
            zip(*(ngram.probabilities(train, one, OF, 4, modified) for one in lasts), strict=True),
            1,
        ):
            assert sum(float(one[-1]) for one in found) == pytest.approx(1.0, abs=1e-12), (
                history,
                n,
            )


def test_the_sorted_version_is_the_definition() -> None:
    train, held = drawn(200), drawn(40, seed=1)
    for n, found in enumerate(ngram.probabilities(train, held, OF, 4, modified=False), 1):
        for place in range(n - 1, len(held)):
            expected = plain(
                [int(one) for one in train], tuple(int(one) for one in held[:place]), n
            )[held[place]]
            assert found[place] == pytest.approx(expected, abs=1e-12), (n, place)


def test_discounts_follow_counts_of_counts_and_fall_back_where_there_are_none() -> None:
    counts = np.repeat([1, 2, 3, 4, 9], [40, 20, 10, 5, 3])
    share = 40 / (40 + 2 * 20)
    assert ngram.discounts(counts, modified=False) == pytest.approx([share] * 3)
    expected = [1 - 2 * share * 20 / 40, 2 - 3 * share * 10 / 20, 3 - 4 * share * 5 / 10]
    assert ngram.discounts(counts) == pytest.approx(expected)
    assert ngram.discounts(np.array([5, 6, 7])) == pytest.approx([0.5, 1.0, 1.5])


@pytest.mark.slow
@pytest.mark.parametrize(("modified", "expected"), [(False, 1.558), (True, 1.523)])
def test_six_grams_on_tiny_shakespeare(modified: bool, expected: float) -> None:
    """Published figures of the tail split, in nats per character; needs $TINY_SHAKESPEARE."""
    if not os.environ.get("TINY_SHAKESPEARE"):
        pytest.skip("TINY_SHAKESPEARE names no file")
    text = Path(os.environ["TINY_SHAKESPEARE"]).read_text(encoding="utf-8")
    ids = np.unique(list(text), return_inverse=True)[1]
    border = int(0.9 * len(ids))
    kept = np.empty(0)
    for n, probability in enumerate(
        ngram.probabilities(ids[:border], ids[border:], int(ids.max()) + 1, 6, modified), 1
    ):
        kept = (
            probability
            if n == 1
            else np.where(np.arange(len(probability)) >= n - 1, probability, kept)
        )
    assert -np.log(kept).mean() == pytest.approx(expected, abs=0.005)


# --- the lines of a text --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> data.Corpus:
    folder = tmp_path_factory.mktemp("text")
    for number in range(40):
        write_words(folder / f"{number}.txt", 300, seed=number)
    return data.prepare(DataConfig(path=str(folder), cache=str(folder / "cache")), "words")


def values(entry: dict) -> dict[str, float]:
    return {metric["name"]: metric["values"][0] for metric in entry["metrics"]}


def test_lines_of_a_text(corpus: data.Corpus, tmp_path: Path) -> None:
    said: list[str] = []
    baselines.ensure_baselines(tmp_path, corpus, 16, said.append)
    place = baselines.baselines_path(tmp_path, corpus.digest, 16)
    before = place.read_bytes()
    baselines.ensure_baselines(tmp_path, corpus, 16, said.append)
    assert place.read_bytes() == before
    assert len(said) == 1
    found = {entry["name"]: values(entry) for entry in json.loads(before)["lines"]}
    names = list(found)
    assert names[:2] == ["uniform", "unigram"]
    assert names[2].endswith("-gram")
    assert names[3].endswith("-gram, unlimited")
    assert names[4] == "lzma"
    bits = [found[name]["bits_per_byte"] for name in names]
    assert bits[0] == pytest.approx(math.log2(257))
    assert bits[0] > bits[1] > bits[2] > bits[3]
    assert 0 < bits[4] < bits[1]
    assert all(
        found[name]["perplexity"] == pytest.approx(2 ** found[name]["bits_per_byte"])
        for name in names[:4]
    )  # of bytes


def test_pieces_of_text_share_no_n_gram() -> None:
    train, pieces = np.array([0, 1, 2, 3, 1, 0]), np.array([0, 1, 0, 1, 2, 3])
    unigram, bigram = ngram.probabilities(train, np.array([1, 2]), OF, 2, preceding=pieces)
    assert bigram[1] < unigram[1]  # 1 is followed by 0 alone: 2 begins another piece
    joined = list(ngram.probabilities(train, np.array([1, 2]), OF, 2))[1]
    assert joined[1] > bigram[1]


def test_the_blocks_that_a_run_read_are_counted_alone(corpus: data.Corpus, tmp_path: Path) -> None:
    tokens = corpus.parts["train"].tokens
    run = Run(size=SizeConfig(context=16), train=TrainConfig(steps=3, batch=4), seed=5)
    blocks = Blocks(tokens, 16, 4, 5)
    read = sorted(int(block) for step in range(3) for block in blocks.indices(step))
    text = text_read_by(run, corpus)
    assert text is not None
    assert text.order_digest == blocks.digest(3)
    offsets = sorted({16 * block + k for block in read for k in range(17)})
    assert list(text.tokens) == [int(tokens[offset]) for offset in offsets]
    breaks = [n for n in range(1, len(offsets)) if offsets[n] != offsets[n - 1] + 1]
    assert list(np.flatnonzero(text.preceding == 0)) == [0, *breaks]
    long = replace(run, train=TrainConfig(steps=10**6, batch=4))
    assert text_read_by(long, corpus) is None
    baselines.ensure_baselines(tmp_path, corpus, 16, print, text)
    baselines.ensure_baselines(tmp_path, corpus, 16, print)
    records = [json.loads(path.read_text()) for path in (tmp_path / "references").iterdir()]
    tokens_of = {one["order_digest"]: one["training_tokens"] for one in records}
    assert tokens_of == {"": len(tokens), text.order_digest: len(offsets)}
    bits = {one["order_digest"]: values(one["lines"][2])["bits_per_byte"] for one in records}
    assert bits[text.order_digest] > bits[""]  # less text, a worse n-gram


def test_no_line_sees_more_than_the_windows_allow(corpus: data.Corpus) -> None:
    held, context = baselines.held_out_tokens(corpus, 16), 16
    scored, last = corpus.parts["test"], held.parts[-1]
    assert len(held.parts) == 2
    for window in windows(scored, context, 7):
        real = window.positions >= 0
        seen = np.broadcast_to(np.arange(1, context + 1), window.positions.shape)
        assert (held.limited[last][window.positions[real]] == seen[real]).all()
    assert (held.unlimited[last] == np.arange(len(scored.tokens))).all()
    first = next(iter(baselines.compute_baselines(corpus, 16)))
    assert len(first.scored) == len(scored.tokens)


def test_the_tail_of_one_text_chooses_its_order_on_itself_and_says_so(tmp_path: Path) -> None:
    path = write_words(tmp_path / "one.txt", 4000)
    corpus = data.prepare(
        DataConfig(path=str(path), tokenizer="characters", cache=str(tmp_path / "cache")), "one"
    )
    baselines.ensure_baselines(tmp_path, corpus, 16, print)
    found = json.loads(baselines.baselines_path(tmp_path, corpus.digest, 16).read_text())
    assert found["part"] == "validation"
    assert all(
        "chosen on the scored text itself" in entry["note"]
        for entry in found["lines"]
        if "-gram" in entry["name"]
    )


def test_a_text_too_long_leaves_the_reason(
    corpus: data.Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "MAX_TOKENS", 1000)
    baselines.ensure_baselines(tmp_path, corpus, 16, print)
    found = json.loads(baselines.baselines_path(tmp_path, corpus.digest, 16).read_text())
    assert found["lines"] == []
    assert "up to 1,000" in found["reason"]


def test_a_compressor_that_has_seen_the_text_needs_hardly_anything() -> None:
    text = " ".join(f"{number * number}" for number in range(3000)).encode()
    assert baselines.compressed_size(text + text) - baselines.compressed_size(text) < 0.02 * len(
        text
    )


# --- in the report --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = fake_records.write(
        tmp_path_factory.mktemp("floors") / "suite",
        seeds=2,
        archs=("lstm", "gru", "pairs"),
        machines=1,
    )
    fake_records.write_references(root)
    return root


def test_reference_lines_stand_in_table_and_answer(suite: Path) -> None:
    page = reporting.make_report(suite)[0].read_text()
    assert page.count(">baseline</span>") == 5
    assert fake_records.HOSTILE not in page
    assert "are clearly better; pairs is clearly worse." in page


def test_lines_of_another_text_or_context_stay_away(suite: Path, tmp_path: Path) -> None:
    records = reading.read_records(suite)
    part = build(records).comparisons[0]
    found = floors.select_baselines(records, part.likelihoods[0], ())
    assert [line.name for line in found.lines] == [
        "uniform",
        "unigram",
        "lzma",
        "7-gram",
        "7-gram, unlimited",
    ]
    assert found.best is not None
    assert found.best.name == "7-gram"
    other = part.likelihoods[0].assign(data_digest="0ther")
    assert floors.select_baselines(records, other, ()) == floors.Baselines(
        (), "the command that trained these runs made none"
    )
    carried = floors.select_baselines(records, part.likelihoods[0].assign(protocol="stateful"), ())
    assert [line.context for line in carried.lines if line.context == "windows"] == []
    as_read = {
        **records.baselines[0],
        "order_digest": "read",
        "lines": [
            line | {"metrics": [{"name": "bits_per_byte", "values": [2.1]}]}
            for line in records.baselines[0]["lines"]
        ],
    }
    both = replace(records, baselines=[*records.baselines, as_read])
    lines = floors.select_baselines(both, part.likelihoods[0], {"read"})
    assert len(lines.lines) == 9  # what is uniform is so on any text
    assert lines.best is not None
    assert (lines.best.name, lines.best.bits_per_byte) == ("unigram, as read", 2.1)
    other_order = floors.select_baselines(both, part.likelihoods[0], {"another"})
    assert other_order == found
    weak = replace(part, baselines=(found._replace(lines=found.lines[:2]),))
    assert "every architecture is clearly better" in summary_text.summary_sentences(weak, [])[-1]


@pytest.mark.parametrize(("score", "codes"), [(0.5, ["implausible"]), (1.4, [])])
def test_a_score_no_honest_row_could_have_is_flagged(score: float, codes: list[str]) -> None:
    """Against the best line with unlimited context, not the one with the rows' own."""
    lines = (
        floors.BaselineLine("5-gram", "", "windows", bits_per_byte=3.0),
        floors.BaselineLine("21-gram", "", "unlimited", bits_per_byte=2.0),
    )
    rows = pd.DataFrame({
        "label": ["a", "b"], "control": False, "family": "own", "bits_per_byte": [score, 1.9],
        "bits_per_byte_low": [math.nan] * 2, "bits_per_byte_high": [math.nan] * 2,
    })  # fmt: skip
    badges = baseline_badges(rows, floors.Baselines(lines, ""))
    assert [badge.code for badge in badges] == codes
    assert [badge.rows for badge in badges] == [("a",)] * len(codes)
