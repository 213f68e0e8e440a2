"""Score encoders by pseudo-perplexity (Salazar et al. 2020): one token hidden at a time.

It is not a likelihood, and is never ranked beside perplexity.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.data import Vocabulary
from bench.evaluation.leak_check import Rescore
from bench.evaluation.likelihood import Score, perplexity
from bench.evaluation.sampling import token_windows
from bench.evaluation.scorer import Scorer, eval_batches
from bench.records.metrics import Metric, metric

SEED = 0  # of the positions: the same for every encoder


def pseudo_likelihood(scorer: Scorer, positions: int) -> Score:
    """Score a seeded sample of positions, drawn evenly from all windows that are full.

    With subword tokens the later tokens of the same word are hidden too (Kauf & Ivanova 2023).
    Raises LeakDetected.
    """
    name = f"pseudo({scorer.context}, {positions} positions)"
    windows, places, counts = _draw_positions(scorer, positions)
    targets, nats = windows[np.arange(positions), places], []
    with scorer.check() as check:
        for rows in eval_batches(np.arange(positions)):
            hidden = _hidden_places(windows[rows], places[rows], scorer.corpus.vocabulary)
            read = np.where(hidden, scorer.model.mask, windows[rows])
            scoring = _score_hidden(scorer, places[rows], targets[rows])
            nats.append(check.score(name, read, scoring, causal=False)[:, 0])
    return Score(name, _pseudo_metrics(np.concatenate(nats)[counts]), None)


def _score_hidden(scorer: Scorer, places: np.ndarray, targets: np.ndarray) -> Rescore:
    """Return the function that scores a target at a place (B,) of each window, as (B, 1)."""

    def nats_of(logits: Tensor, order: np.ndarray) -> Tensor:
        logits[:, scorer.separator] = -math.inf  # a hidden token of a text is known to be text
        goals = torch.from_numpy(targets[order])
        return functional.cross_entropy(logits.float().cpu(), goals, reduction="none")[:, None]

    return scorer.scoring_at(places, nats_of)


def _draw_positions(scorer: Scorer, positions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return windows (P, T), the place of one token of each, (P,), and which of these count."""
    part, generator = scorer.part, np.random.default_rng([SEED, positions])
    length = min(scorer.context, len(part.tokens) - 1)
    starts = 1 + length * generator.integers(0, (len(part.tokens) - 1) // length, positions)
    places = generator.integers(0, length, positions)
    counts = part.tokens[starts + places] != scorer.separator
    if part.loss_mask is not None:
        counts &= part.loss_mask[starts + places]
    return token_windows(part, starts, length), places, counts


def _pseudo_metrics(scored: np.ndarray) -> list[Metric]:
    """Return the metrics from the nats of the positions that count, (N,)."""
    mean, error = float(scored.mean()), float(scored.std(ddof=1) / math.sqrt(len(scored)))
    note = f"{len(scored)} positions; not a likelihood: never ranked beside perplexity"
    return [
        metric("pseudo_perplexity", perplexity(mean), note),
        metric("pseudo_perplexity_standard_error", perplexity(mean) * error, note),
        metric("pseudo_nats_per_token", mean, note),
    ]


def _hidden_places(tokens: np.ndarray, places: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Return which tokens (B, T) are hidden: one a row, and the later tokens of its word."""
    hidden = np.zeros(tokens.shape, dtype=bool)
    hidden[np.arange(len(tokens)), places] = True
    if vocabulary.continues_word is not None:
        for row, place in enumerate(places):
            hidden[row, place + 1 : _word_end(tokens[row], place, vocabulary)] = True
    return hidden


def _word_end(tokens: np.ndarray, place: int, vocabulary: Vocabulary) -> int:
    """Return the place after the last token that continues the word at `place`."""
    assert vocabulary.continues_word is not None
    end = place + 1
    while (
        end < len(tokens)
        and vocabulary.continues_word[tokens[end]]
        and vocabulary.decode([tokens[end - 1]])[-1:].isalnum()
    ):
        end += 1
    return end
