"""Scores against sums done by hand, and a pseudo-perplexity against its closed form."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import evaluation
from bench.config.schema import Run, TrainConfig
from bench.data import Corpus, Part
from bench.data.vocabulary import ByteVocabulary, CharacterVocabulary, SymbolVocabulary
from bench.evaluation.likelihood import perplexity
from bench.evaluation.scorer import Scorer
from bench.training import train_settings
from bench.training.objective import Causal, Masked, Objective

PLAN = train_settings(Run(arch={"tune": {"learning_rate": 0.1}}, train=TrainConfig(device="cpu")))


def scorer(objective: Objective, part: Part, context: int) -> Scorer:
    corpus = Corpus(Path(), "00ff", ByteVocabulary(), {"test": part}, {})
    return Scorer(objective, corpus, context, PLAN)


class Chain(nn.Module):
    """A perfect model of a Markov chain over the first V bytes: causal, or from both neighbours."""

    def __init__(self, transition: Tensor, causal: bool, vocabulary: int = 257) -> None:
        super().__init__()
        self.transition, self.vocabulary, self.mask = transition, vocabulary, vocabulary
        self.backbone = type(
            "Knows", (), {"causal": causal, "auxiliary": staticmethod(lambda: None)}
        )()

    def hidden(
        self, tokens: Tensor, state: None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, None]:
        size = len(self.transition)
        whole = torch.full((*tokens.shape, self.vocabulary), -30.0)
        after = torch.where(
            (tokens < size)[..., None],
            self.transition[tokens.clamp(max=size - 1)],
            torch.full((size,), 1 / size),
        )
        if self.backbone.causal:
            whole[..., :size] = after.log()
        else:
            before = torch.full((*tokens.shape, size), 1 / size)
            before[:, 1:] = after[:, :-1]
            follows = torch.ones((*tokens.shape, size))
            follows[:, :-1] = self.transition.T[tokens[:, 1:].clamp(max=size - 1)]
            whole[..., :size] = (before * follows / (before * follows).sum(-1, keepdim=True)).log()
        return whole, None

    def head(self, hidden: Tensor) -> Tensor:
        return hidden

    def forward(
        self, tokens: Tensor, state: None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, None]:
        return self.hidden(tokens)


def chain(size: int = 4, length: int = 6000) -> tuple[Tensor, Part]:
    draw = np.random.default_rng(0)
    rows = draw.dirichlet(np.full(size, 0.5), size)
    rows = (rows + 0.02) / (1 + 0.02 * size)
    tokens = [256, 0]
    while len(tokens) < length:
        tokens.append(int(draw.choice(size, p=rows[tokens[-1]])))
    part = Part(np.array(tokens, np.uint16), np.array([1, 3001]), np.array([3000, length - 3001]))
    return torch.tensor(rows, dtype=torch.float32), part


def test_a_likelihood_is_the_sum_over_every_token_once() -> None:
    transition, part = chain()
    score = evaluation.causal_likelihood(scorer(Causal(Chain(transition, True)), part, 50))  # type: ignore[arg-type]
    tokens = part.tokens.astype(int)
    by_hand = math.log(4) - sum(
        math.log(transition[a, b]) for a, b in itertools.pairwise(tokens[1:])
    )
    found = {metric.name: metric.values[0] for metric in score.metrics}
    assert found["scored_tokens"] == len(tokens) - 1
    assert found["nats_per_token"] == pytest.approx(by_hand / (len(tokens) - 1), rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(
        by_hand / math.log(2) / part.sizes.sum(), rel=1e-5
    )
    assert found["perplexity"] == pytest.approx(math.exp(by_hand / (len(tokens) - 1)), rel=1e-5)
    assert score.documents is not None
    assert score.documents["nats"].sum() == pytest.approx(by_hand, rel=1e-5)
    assert score.documents["bytes"].tolist() == part.sizes.tolist()


@pytest.mark.parametrize("context", [7, 50, 5000, 6000])
def test_a_model_that_needs_one_token_of_context_scores_the_same_in_every_window(
    context: int,
) -> None:
    transition, part = chain()
    scores = [
        evaluation.causal_likelihood(scorer(Causal(Chain(transition, True)), part, c))
        for c in (context, 50)
    ]  # type: ignore[arg-type]
    assert evaluation.metric_value(scores[0].metrics, "nats_per_token") == pytest.approx(
        evaluation.metric_value(scores[1].metrics, "nats_per_token")
    )


def test_separators_stand_apart() -> None:
    transition, part = chain()
    tokens = part.tokens.copy()
    tokens[3000] = 256
    cut = Part(tokens, np.array([1, 3001]), np.array([2999, len(tokens) - 3001]))
    score = evaluation.causal_likelihood(scorer(Causal(Chain(transition, True)), cut, 50))  # type: ignore[arg-type]
    assert evaluation.metric_value(score.metrics, "scored_tokens") == len(tokens) - 2
    assert evaluation.metric_value(score.metrics, "separator_nats") == pytest.approx(30.0, abs=2)


def test_pseudo_perplexity_of_a_perfect_encoder_is_its_closed_form() -> None:
    """SCIENCE: H(X_t | both neighbours) = 2h - H(X_2 | X_0) at inner positions.

    The estimate must lie within its own error.
    """
    transition, part = chain(length=40_000)
    rows = transition.double().numpy()
    stationary = np.linalg.matrix_power(rows, 200)[0]

    def entropy(matrix: np.ndarray) -> float:
        return float(-(stationary[:, None] * matrix * np.log(matrix)).sum())

    closed = 2 * entropy(rows) - entropy(rows @ rows)
    score = evaluation.pseudo_likelihood(
        scorer(Masked(Chain(transition, False)), part, 200), positions=4000
    )  # type: ignore[arg-type]
    found = evaluation.metric_value(score.metrics, "pseudo_nats_per_token")
    error = evaluation.metric_value(
        score.metrics, "pseudo_perplexity_standard_error"
    ) / evaluation.metric_value(score.metrics, "pseudo_perplexity")  # type: ignore[operator]
    assert found == pytest.approx(closed, abs=4 * error)
    assert 0 < error < 0.03
    assert score.documents is None


class AnswersNothing(Chain):
    """No number where it read a certain token: no score may be made of the rest."""

    def __init__(self, transition: Tensor, causal: bool, silent: int) -> None:
        super().__init__(transition, causal)
        self.silent = silent

    def hidden(
        self, tokens: Tensor, state: None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, None]:
        whole, _ = super().hidden(tokens)
        return whole.masked_fill((tokens == self.silent).any(dim=1)[:, None, None], math.nan), None


@pytest.mark.parametrize("stride", [0, 5])
def test_a_model_without_an_answer_for_some_tokens_has_no_score(stride: int) -> None:
    transition, part = chain()
    tokens = part.tokens.copy()
    tokens[100] = 9  # one document of two has it
    cut = Part(tokens, part.starts, part.sizes)
    score = evaluation.causal_likelihood(
        scorer(Causal(AnswersNothing(transition, True, 9)), cut, 50), stride
    )  # type: ignore[arg-type]
    assert math.isnan(evaluation.metric_value(score.metrics, "bits_per_byte"))  # type: ignore[arg-type]
    assert evaluation.first_non_finite(score.metrics) == "bits_per_byte"
    sound = evaluation.causal_likelihood(scorer(Causal(Chain(transition, True)), cut, 50), stride)  # type: ignore[arg-type]
    assert evaluation.first_non_finite(sound.metrics) == ""


def test_an_encoder_without_an_answer_for_some_positions_has_no_score() -> None:
    transition, part = chain()
    model = AnswersNothing(transition, False, 1)
    score = evaluation.pseudo_likelihood(scorer(Masked(model), part, 10), 200)  # type: ignore[arg-type]
    assert evaluation.first_non_finite(score.metrics) == "pseudo_perplexity"


def test_a_perplexity_is_never_cut() -> None:
    assert perplexity(2.0) == math.exp(2)
    assert perplexity(708.0) == math.exp(708)
    assert perplexity(710.0) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_the_pseudo_perplexity_asks_the_same_positions_again() -> None:
    transition, part = chain()
    twice = [
        evaluation.pseudo_likelihood(scorer(Masked(Chain(transition, False)), part, 50), 200)
        for _ in range(2)
    ]  # type: ignore[arg-type]
    assert twice[0].metrics == twice[1].metrics


def test_blocks_for_looks_are_spread_over_the_part() -> None:
    part = Part(np.arange(1001, dtype=np.uint16), np.array([0]), np.array([1001]))
    blocks = evaluation.spread_blocks(part, 10, 5).tokens
    assert blocks[:, 0].tolist() == [0, 240, 490, 740, 990]
    assert blocks.shape == (5, 11)
    assert evaluation.spread_blocks(part, 5000, 5).tokens.shape == (1, 1001)


def test_the_look_at_the_validation_part_is_the_training_loss() -> None:
    transition, part = chain()
    blocks = evaluation.spread_blocks(part, 50, 1000)
    objective = Causal(Chain(transition, True))  # type: ignore[arg-type]
    whole = evaluation.causal_likelihood(scorer(objective, part, 50))
    nats = evaluation.metric_value(whole.metrics, "nats_per_token")
    assert evaluation.validation_nats(objective, blocks, PLAN) == pytest.approx(nats, rel=0.01)


def test_what_training_looks_at_has_the_bytes_of_its_own_targets() -> None:
    matrix, _ = chain()
    text = "aé\u2028b" * 40  # characters of one, two and three bytes
    size = sum(len(letter.encode()) for letter in text)
    for vocabulary, targets in ((ByteVocabulary(), size), (CharacterVocabulary(text), len(text))):
        ids = vocabulary.encode(text)
        tokens = np.concatenate([[vocabulary.separator], ids, [vocabulary.separator]])
        part = Part(tokens, np.array([1]), np.array([size]))
        (found,) = evaluation.validation_bytes(
            Causal(Chain(matrix, causal=True)), part, vocabulary, len(tokens) - 1
        )
        assert found.values == pytest.approx(
            (size / (targets + 1),)
        )  # the separator at the end is a target without bytes
        assert (
            evaluation.validation_bytes(Masked(Chain(matrix, causal=False)), part, vocabulary, 20)
            == []
        )
        assert (
            evaluation.validation_bytes(
                Causal(Chain(matrix, causal=True)), part, SymbolVocabulary(4), 20
            )
            == []
        )
