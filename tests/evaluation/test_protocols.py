"""Protocols against each other, against sums done by hand, and against one pass over the whole."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from architectures.bert import Bert
from architectures.cnn import CNN
from architectures.gpt import GPT
from architectures.interface import Backbone, Unsupported
from architectures.rnn import RNN
from architectures.transformer import Transformer
from bench import evaluation
from bench.config.schema import EvaluateConfig, Run, TrainConfig
from bench.data import Corpus, Part, windows
from bench.data.vocabulary import ByteVocabulary
from bench.evaluation import sampling
from bench.evaluation.scorer import Scorer
from bench.model import LanguageModel, initialise
from bench.records import store
from bench.records.metrics import Metric
from bench.training import train_settings
from bench.training.objective import Causal
from tests.conftest import Command, assert_one_error
from tests.fake_architectures import GrowsItsState

PLAN = train_settings(Run(arch={"tune": {"learning_rate": 0.1}}, train=TrainConfig(device="cpu")))
CONTEXT = 16


def part(length: int = 700) -> Part:
    tokens = np.random.default_rng(0).integers(97, 110, length).astype(np.uint16)
    tokens[[0, length // 2]] = 256
    return Part(
        tokens,
        np.array([1, length // 2 + 1]),
        np.array([length // 2 - 1, length - length // 2 - 1]),
    )


def corpus(held: Part) -> Corpus:
    return Corpus(
        Path("."),
        "00ff00ff00ff00ff",
        ByteVocabulary(),
        {"train": held, "validation": held, "test": held},
        {},
    )


def causal(make: Callable[..., Backbone], **options: Any) -> Causal:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LanguageModel(make(24, CONTEXT, **options), 257)
        initialise(model)
        model.embedding.weight.data.normal_(0, 0.4)  # untrained, and yet far from uniform
    return Causal(model.eval())


class CountsContext(torch.nn.Module):
    """Answers the letter a, and is the less sure of it the more it reads.

    Made from n tokens it costs n/10 nats.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary = self.mask = 257
        self.backbone = type(
            "Knows", (), {"causal": True, "auxiliary": staticmethod(lambda: None)}
        )()

    def hidden(
        self, tokens: Tensor, state: None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, None]:
        share = torch.exp(-torch.arange(1, tokens.shape[1] + 1) / 10)  # (T,)
        likely = ((1 - share) / 256)[:, None].repeat(1, 257)
        likely[:, 97] = share
        return likely.log().expand(len(tokens), -1, -1), None

    def head(self, hidden: Tensor) -> Tensor:
        return hidden


def scorer(objective: Causal, held: Part) -> Scorer:
    return Scorer(objective, corpus(held), CONTEXT, PLAN)


def values(metrics: list[Metric], name: str) -> dict[float, float]:
    return {
        next(iter(m.at.values()), 0.0): m.values[0] for m in metrics if m.name == name and m.values
    }


# --- stride --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [33, 40, 48, 49, 50])
@pytest.mark.parametrize("stride", [1, 5, 8, 16])
def test_windows_that_overlap_score_every_token_once_with_at_least_so_much_context(
    length: int, stride: int
) -> None:
    seen = [
        w
        for batch in windows(part(length), 16, 3, stride)
        for w in zip(batch.tokens, batch.targets, batch.positions, strict=True)
    ]
    asked = np.concatenate([positions[positions >= 0] for _, _, positions in seen])
    assert sorted(asked.tolist()) == list(range(1, length))
    tokens = part(length).tokens
    for read, targets, positions in seen:
        for place in np.flatnonzero(positions >= 0):
            assert targets[place] == tokens[positions[place]]
            assert read[place] == tokens[positions[place] - 1]
            assert place + 1 >= min(positions[place], 16 - stride + 1)


@pytest.mark.parametrize("make", [RNN, Transformer])
def test_a_stride_of_the_whole_context_is_windows_side_by_side(
    make: Callable[..., Backbone],
) -> None:
    asked, held = causal(make), part()
    chunk, stride = (
        evaluation.causal_likelihood(scorer(asked, held), stride) for stride in (0, CONTEXT)
    )
    assert [chunk.protocol, stride.protocol] == ["chunk(16)", "stride(16, 16)"]
    assert chunk.documents is not None
    assert chunk.documents.equals(stride.documents)


@pytest.mark.parametrize(
    ("stride", "read"),
    [
        (0, [*range(1, 17), *range(1, 15)]),
        (4, [*range(1, 17), *([13, 14, 15, 16] * 3), 13, 14]),
        (10, [*range(1, 17), *range(7, 17), *range(7, 11)]),
    ],
)
def test_a_protocol_is_the_sum_done_by_hand(stride: int, read: list[int]) -> None:
    held = Part(np.array([256, *[97] * 30], np.uint16), np.array([1]), np.array([30]))
    score = evaluation.causal_likelihood(scorer(Causal(CountsContext()), held), stride)  # type: ignore[arg-type]
    assert score.documents is not None
    assert score.documents["nats"].sum() == pytest.approx(sum(read) / 10, abs=1e-5)
    assert score.documents["tokens"].sum() == len(read) == 30


# --- stateful ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [RNN, CNN])
def test_a_carried_state_is_one_pass_over_the_whole(make: Callable[..., Backbone]) -> None:
    asked, held = causal(make), part(300)
    score = evaluation.score_by_protocol(scorer(asked, held), EvaluateConfig(protocol="stateful"))
    whole = torch.from_numpy(held.tokens.astype(np.int64))[None]
    with torch.no_grad():
        logits, _ = asked.model(whole[:, :-1])
    nats = torch.nn.functional.cross_entropy(logits[0], whole[0, 1:], reduction="none")
    text = whole[0, 1:] != 256
    assert score.protocol == "stateful"
    assert evaluation.metric_value(score.metrics, "nats_per_token") == pytest.approx(
        float(nats[text].mean()), abs=1e-5
    )
    assert evaluation.metric_value(score.metrics, "separator_nats") == pytest.approx(
        float(nats[~text].mean()), abs=1e-4
    )


@pytest.mark.parametrize("protocol", ["chunk", "stride", "stateful"])
def test_an_encoder_has_a_likelihood_under_none(protocol: str) -> None:
    with pytest.raises(Unsupported, match="an encoder reads both ways"):
        evaluation.check_supported(LanguageModel(Bert(16, CONTEXT), 11), protocol, CONTEXT)


@pytest.mark.parametrize(
    ("make", "legal"), [(RNN, True), (CNN, True), (Transformer, False), (GPT, False)]
)
def test_only_a_state_that_does_not_grow_is_carried_through_a_part(
    make: Callable[..., Backbone], legal: bool
) -> None:
    model = causal(make).model
    if legal:
        evaluation.check_supported(model, "stateful", CONTEXT)
    else:
        with pytest.raises(Unsupported, match="its state grows with the text"):
            evaluation.check_supported(model, "stateful", CONTEXT)


def test_a_state_that_grows_as_it_reads_is_not_carried_either() -> None:
    with pytest.raises(Unsupported, match="its state grows with the text"):
        evaluation.check_supported(causal(GrowsItsState).model, "stateful", CONTEXT)


def test_a_window_of_attention_carries_its_state() -> None:
    evaluation.check_supported(causal(Transformer, window=4).model, "stateful", CONTEXT)


# --- beside the headline -------------------------------------------------------------------------


def test_the_curve_over_positions_adds_up_to_the_headline() -> None:
    asked, held = causal(RNN), part(16 * 40 + 1)
    score = evaluation.causal_likelihood(scorer(asked, held))
    curve = values(score.metrics, "position_nats")
    assert list(curve) == [1, 2, 3, 4, 6, 8, 11, 16]
    counts = np.diff([0, *curve]) * 40
    counts[0] -= (
        0 if (len(held.tokens) // 2 - 1) % 16 else 1
    )  # the separator between the documents is none of them
    place = (len(held.tokens) // 2 - 1) % 16 + 1
    counts[np.searchsorted(list(curve), place)] -= 1 if place > 1 else 0
    mean = float((counts * np.array(list(curve.values()))).sum() / counts.sum())
    assert mean == pytest.approx(evaluation.metric_value(score.metrics, "nats_per_token"), abs=1e-9)


@pytest.mark.parametrize("make", [RNN, Transformer, GPT])
def test_beside_the_headline_every_protocol_scores_the_same_tokens(
    make: Callable[..., Backbone],
) -> None:
    asked, held = causal(make), part(2000)
    found = evaluation.context_sweep(scorer(asked, held), EvaluateConfig(stretches=3))
    pieces = sampling.sample_stretches(held, corpus(held).digest, CONTEXT, 3)
    assert (pieces.length, pieces.lead) == (128, 64)
    by_hand = []
    for start in pieces.starts:
        for first in range(start, start + 128, 16):
            block = torch.from_numpy(held.tokens[first : first + 17].astype(np.int64))[None]
            with torch.no_grad():
                nats = torch.nn.functional.cross_entropy(
                    asked.model(block[:, :-1])[0][0], block[0, 1:], reduction="none"
                )
            by_hand += nats[block[0, 1:] != 256].tolist()
    assert values(found, "context_nats")[16] == pytest.approx(np.mean(by_hand), abs=1e-5)
    scale = 1998 / 1998 / math.log(2)
    assert values(found, "chunk_bits_per_byte")[0] == pytest.approx(
        scale * np.mean(by_hand), rel=2e-3
    )
    beyond = [m for m in found if m.name == "context_nats" and m.at["context"] > 16]
    assert [m.at["context"] for m in beyond] == [32, 64]
    if make is GPT:
        assert all(not m.values and "cannot read token" in m.note for m in beyond)
    else:
        assert all(m.values for m in beyond)
    carried = next(m for m in found if m.name == "stateful_bits_per_byte")
    assert bool(carried.values) == (make is RNN)
    assert make is RNN or "its state grows" in carried.note
    gain = values(found, "chunk_bits_per_byte")[0] - values(found, "stride_bits_per_byte")[0]
    assert values(found, "stride_gain")[0] == pytest.approx(gain, abs=1e-9)


def test_the_sample_is_a_function_of_the_data_and_the_context() -> None:
    held = part(3000)
    one, again = (
        sampling.sample_windows(held, "00ff00ff00ff00ff", 16, count)[0].tolist()
        for count in (8, 20)
    )
    assert set(one) < set(again)
    assert sampling.sample_windows(held, "00ff00ff00ff00fe", 16, 8)[0].tolist() != one
    pieces = sampling.sample_stretches(held, "00ff00ff00ff00ff", 16, 1000)
    ends = list(itertools.pairwise(pieces.starts.tolist()))
    assert all(after - before >= pieces.length + pieces.lead for before, after in ends)
    assert pieces.starts[0] >= pieces.lead
    assert pieces.starts[-1] + pieces.length < len(held.tokens)


@pytest.mark.parametrize("length", [17, 20, 33, 60, 150, 193])
def test_a_short_part_has_a_sample_too(length: int) -> None:
    held = part(length)
    pieces = sampling.sample_stretches(held, "00ff", 16, 5)
    assert len(pieces.starts) > 0
    assert pieces.starts[-1] + pieces.length < length
    found = evaluation.context_sweep(scorer(causal(RNN), held), EvaluateConfig(stretches=5))
    assert values(found, "context_nats")[16] > 0


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_finished_run_is_scored_again(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = run_command("arch=rnn", *tiny)
    assert done.returncode == 0, done.stderr
    folder = next((tmp_path / "results" / "single" / "runs").glob("rnn-*"))
    before = (folder / "result.json").read_bytes()
    for words in (
        ["evaluate.protocol=stride", "evaluate.stride=8"],
        ["evaluate.protocol=stateful"],
    ):
        again = run_command("results/single", *words, module="bench.evaluate")
        assert again.returncode == 0, again.stderr
    assert (folder / "result.json").read_bytes() == before
    found = {
        path.name.partition("-")[0]: store.read_json(path / "result.json")
        for path in (folder / "evaluations").iterdir()
    }
    assert {name: one["facts"]["protocol"] for name, one in found.items()} == {
        "stride": "stride(32, 8)",
        "stateful": "stateful",
    }
    assert (
        "not scored again"
        in run_command(
            "results/single", "evaluate.protocol=stateful", module="bench.evaluate"
        ).stderr
    )
    page = (tmp_path / "results" / "single" / "report" / "index.html").read_text(encoding="utf-8")
    assert "stride(32, 8)" in page
    assert_one_error(
        run_command("results/single", "evaluate.protocl=stride", module="bench.evaluate"),
        2,
        "evaluate.protocl",
        "evaluate.protocol",
    )
    assert_one_error(
        run_command("results/single", "evaluate.protocol=strid", module="bench.evaluate"),
        2,
        "strid",
        "stride",
    )
    assert_one_error(
        run_command("results/none", module="bench.evaluate"), 2, "results/none", "no finished run"
    )


def test_a_protocol_that_does_not_suit_is_said_before_training(
    run_command: Command, tiny: list[str]
) -> None:
    assert_one_error(
        run_command("arch=gpt", *tiny, "evaluate.protocol=stateful"),
        2,
        "evaluate.protocol=stateful",
        "its state grows",
    )
