"""Scores of encoders, by enumeration of 3 symbols and 4 tokens, and of a chain over them."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import evaluation
from bench.config.schema import Run, SyntheticConfig, TrainConfig
from bench.data import Corpus, Part
from bench.data.synthetic.base import open_synthetic
from bench.data.vocabulary import ByteVocabulary, CharacterVocabulary, Vocabulary
from bench.evaluation import infilling, masked_likelihood, regret, sampling
from bench.evaluation.leak_check import LeakDetected
from bench.evaluation.scorer import Scorer
from bench.records.metrics import Metric
from bench.training import train_settings
from bench.training.objective import Batch, Causal, Masked, Objective
from tests.training.test_objective import World

PLAN = train_settings(Run(arch={"tune": {"learning_rate": 0.1}}, train=TrainConfig(device="cpu")))
TEXTS = np.array(list(itertools.product(range(3), repeat=4)))  # (81, 4)


class InOrder(World):
    """The same world from left to right: each position predicts its next token."""

    def hidden(
        self, tokens: Tensor, state: None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, None]:
        rows = []
        for row in tokens.tolist():
            seen, answers = self.joint, []
            for token in row:
                seen = seen[token]
                answers.append(
                    seen.reshape(3, -1).sum(1) / seen.sum()
                    if seen.dim()
                    else torch.full((3,), 1 / 3).double()
                )
            rows.append(torch.stack(answers).log())
        return torch.stack(rows), None


@pytest.fixture
def joint() -> Tensor:
    world = (
        torch.rand(3, 3, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) ** 3
    )
    return world / world.sum()


@pytest.fixture
def chain() -> Tensor:
    """A stationary chain of order 1 as a world."""
    rows = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.4, 0.1]], dtype=torch.float64)
    first = torch.linalg.matrix_power(rows, 200)[0]
    return torch.einsum("a,ab,bc,cd->abcd", first, rows, rows, rows)


def entropy(p: Tensor) -> float:
    return float(-(p * p.log()).sum())


def masked(joint: Tensor) -> Masked:
    return Masked(World(joint, causal=False))  # type: ignore[arg-type]


def causal(joint: Tensor) -> Causal:
    return Causal(InOrder(joint, causal=True))  # type: ignore[arg-type]


def small(texts: int = 400) -> tuple[Corpus, Part]:
    tokens = np.random.default_rng(1).integers(0, 3, 4 * texts + 1).astype(np.uint16)
    part = Part(tokens, np.array([1]), np.array([4 * texts]))
    vocabulary = CharacterVocabulary("abc")
    return Corpus(Path("."), "00ff", vocabulary, {"train": part, "validation": part}, {}), part


def scorer(objective: Objective) -> Scorer:
    return Scorer(objective, small()[0], 4, PLAN)


def value(metrics: list[Metric], name: str) -> float:
    return next(metric.values[0] for metric in metrics if metric.name == name)


# --- likelihoods ---------------------------------------------------------------------------------


def test_unmasking_from_left_to_right_is_the_exact_likelihood(joint: Tensor) -> None:
    nats = masked_likelihood.left_to_right_nats(scorer(masked(joint)), TEXTS)
    exact = -joint.log().numpy()[tuple(TEXTS.T)]
    assert nats.shape == (81, 4)
    assert nats.sum(axis=1) == pytest.approx(exact, abs=1e-6)


def test_what_is_asked_of_an_encoder_and_of_a_causal_model_is_the_same_likelihood(
    joint: Tensor,
) -> None:
    _, part = small()
    (encoder, table), (decoder, other) = (
        evaluation.sampled_window_likelihood(scorer(asked), 50)
        for asked in (masked(joint), causal(joint))
    )
    assert table["window"].equals(other["window"])
    assert table["nats"].to_numpy() == pytest.approx(other["nats"].to_numpy(), abs=1e-5)
    windows = np.stack([part.tokens[start : start + 4] for start in table["window"]]).astype(int)
    given = -(joint / joint.sum((1, 2, 3), keepdim=True)).log().numpy()[tuple(windows.T)]
    assert table["nats"].to_numpy() == pytest.approx(given, abs=1e-5)
    mean, error = given.mean() / 3, given.std(ddof=1) / 3 / np.sqrt(50)
    scale = 1 / np.log(2)
    for metrics in (encoder, decoder):
        assert value(metrics, "left_to_right_nats") == pytest.approx(mean, abs=1e-6)
        assert value(metrics, "left_to_right_bits_per_byte") == pytest.approx(
            scale * mean, abs=1e-6
        )
        assert value(metrics, "left_to_right_standard_error") == pytest.approx(
            scale * error, abs=1e-6
        )
    assert not [metric for metric in decoder if metric.name.startswith("any_order")]


def test_the_bound_over_all_orders_is_the_likelihood_of_a_perfect_model(joint: Tensor) -> None:
    """The expectation over every k of 1 … 3 and all places is the entropy given the first token."""
    asked = masked(joint)
    expected = entropy(joint) - entropy(joint.sum((1, 2, 3)))
    found = 0.0
    for k in range(1, 4):
        masks = list(itertools.combinations(range(1, 4), k))
        for hidden in masks:
            weight = torch.zeros(81, 4)
            weight[:, list(hidden)] = 1
            targets = torch.from_numpy(TEXTS)
            bound = asked.bound(
                Batch(targets.masked_fill(weight.bool(), 3), targets, weight), 3
            ).double()
            found += float((joint.flatten() * bound).sum()) / (3 * len(masks))
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_draws_of_the_bound_have_its_mean(joint: Tensor) -> None:
    draws = masked_likelihood.any_order_bound(scorer(masked(joint)), TEXTS, draws=60)  # (81, 60)
    weights = joint.flatten().numpy()
    mean, error = weights @ draws.mean(axis=1), np.sqrt(weights**2 @ draws.var(axis=1) / 60)
    expected = entropy(joint) - entropy(joint.sum((1, 2, 3)))
    assert mean == pytest.approx(expected, abs=4 * error)
    assert error < 0.03


def test_the_bound_of_a_model_that_contradicts_itself_lies_above(joint: Tensor) -> None:
    """One that is sure of its neighbours only from the left.

    Drawn orders cost it more than its best one.
    """

    class LeftOnly(World):
        def hidden(
            self, tokens: Tensor, state: None = None, lengths: Tensor | None = None
        ) -> tuple[Tensor, None]:
            first = (tokens == self.mask).int().argmax(dim=1, keepdim=True)
            later = torch.arange(tokens.shape[1])[None] > first
            return super().hidden(tokens.masked_fill(later, self.mask))

    asked = Masked(LeftOnly(joint, causal=False))  # type: ignore[arg-type]
    exact = masked_likelihood.left_to_right_nats(scorer(asked), TEXTS)[:, 1:].sum(axis=1)
    bound = masked_likelihood.any_order_bound(scorer(asked), TEXTS, draws=30).mean(axis=1)
    weights = joint.flatten().numpy()
    assert weights @ bound > weights @ exact + 0.02


def test_a_pseudo_likelihood_is_none(chain: Tensor) -> None:
    """Inside a chain of order 1 each token costs H(X_t | both neighbours) = 2h - H(X2 | X0).

    The two ends cost h.
    """
    asked, weights = masked(chain), chain.flatten()
    step, skip = chain.sum((2, 3)), chain.sum((1, 3))
    h, two = (entropy(pair) - entropy(pair.sum(1)) for pair in (step, skip))
    cost = []
    for place in range(4):
        hidden = torch.from_numpy(TEXTS).clone()
        hidden[:, place] = 3
        weight = torch.zeros(81, 4)
        weight[:, place] = 1
        nats = asked.token_nats(Batch(hidden, torch.from_numpy(TEXTS), weight))[:, place].double()
        cost.append(float((weights * nats).sum()))
    assert cost == pytest.approx([h, 2 * h - two, 2 * h - two, h], abs=1e-6)
    assert sum(cost) < entropy(chain) - 0.1  # less than any likelihood can have: it is none


def test_the_regret_of_windows_is_against_the_oracle_that_was_given_their_first_token() -> None:
    known = open_synthetic(SyntheticConfig(kind="markov", order=1, symbols=3))
    tokens = known.draw(500, np.random.default_rng(0)).tokens[1:401].reshape(50, 8).astype(np.int64)
    best = known.oracle(tokens).nats[:, 1:].sum(axis=1)
    noise = np.random.default_rng(1).normal(0.7, 0.1, 50)
    found = regret.window_regret_metrics(known, tokens, best + noise)
    assert value(found, "left_to_right_regret") == pytest.approx(noise.mean() / 7, abs=1e-9)
    assert value(found, "left_to_right_regret_standard_error") == pytest.approx(
        noise.std(ddof=1) / 7 / np.sqrt(50), rel=1e-6
    )
    with pytest.raises(LeakDetected, match=re.escape(f"leak: {noise.mean() / 7:.4f} nats")):
        regret.window_regret_metrics(known, tokens, best - noise)


# --- filling in ----------------------------------------------------------------------------------


def test_a_causal_model_fills_in_by_bayes_what_an_encoder_sees_at_once(joint: Tensor) -> None:
    corpus, part = small()
    asked = infilling.candidate_tokens(corpus)
    assert np.flatnonzero(asked).tolist() == [0, 1, 2]
    windows, places = sampling.sample_infilling(part, "00ff", 4, 40, asked, seed=0)
    assert set(places.tolist()) == {1, 2, 3}
    hidden = infilling.HiddenTokens(windows, places, np.flatnonzero(asked))
    seen, inferred = (
        way(scorer(model), hidden)
        for way, model in (
            (infilling.masked_nats, masked(joint)),
            (infilling.causal_nats, causal(joint)),
        )
    )
    assert np.exp(-seen).sum(axis=1) == pytest.approx(np.ones(40), abs=1e-6)
    assert inferred == pytest.approx(seen, abs=1e-5)
    both = [evaluation.infill(scorer(model), 40, 0) for model in (masked(joint), causal(joint))]
    assert value(both[0], "filling_accuracy") == value(both[1], "filling_accuracy")
    assert value(both[0], "filling_nats") == pytest.approx(value(both[1], "filling_nats"), abs=1e-5)


def test_a_large_vocabulary_is_not_asked(joint: Tensor) -> None:
    corpus, _part = small()

    class Large(ByteVocabulary):
        size = 5000

    large: Vocabulary = Large()
    changed = Corpus(corpus.folder, corpus.digest, large, corpus.parts, {})
    assert evaluation.infill(Scorer(masked(joint), changed, 4, PLAN), 40, 0) == []
