"""Score encoders by pseudo-perplexity (Salazar et al. 2020): one token hidden at a time.

It is not a likelihood, and is never ranked beside perplexity.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.data import Part, Vocabulary
from bench.data.blocks import EVAL_BATCH
from bench.evaluation.leak_check import LeakCheck, Rescore
from bench.evaluation.likelihood import Score, perplexity
from bench.evaluation.sampling import token_windows
from bench.records.metrics import Metric, metric
from bench.training import Objective, TrainSettings, autocast

SEED = 0  # of the positions: the same for every encoder


@torch.no_grad()
def logits_at(
    objective: Objective, tokens: np.ndarray, places: np.ndarray, settings: TrainSettings
) -> Tensor:
    """Return the logits (B, V) at one place (B,) of each row of tokens (B, T)."""
    with autocast(settings):
        states, _ = objective.model.hidden(torch.from_numpy(tokens).to(settings.device))
        return objective.model.head(states[torch.arange(len(tokens)), torch.from_numpy(places)])


def pseudo_likelihood(
    objective: Objective,
    part: Part,
    vocabulary: Vocabulary,
    context: int,
    settings: TrainSettings,
    positions: int,
) -> Score:
    """Score a seeded sample of positions, drawn evenly from all windows that are full.

    With subword tokens the later tokens of the same word are hidden too (Kauf & Ivanova 2023).
    Raises LeakDetected.
    """
    objective.eval()
    name = f"pseudo({context}, {positions} positions)"
    windows, places, counts = _draw_positions(part, context, vocabulary, positions)
    nats = []
    with LeakCheck(objective, settings) as check:
        for rows in np.split(np.arange(positions), range(EVAL_BATCH, positions, EVAL_BATCH)):
            tokens, hidden = windows[rows], _hidden_places(windows[rows], places[rows], vocabulary)
            read = np.where(hidden, objective.model.mask, tokens)
            scoring = _score_hidden(objective, tokens, places[rows], vocabulary, settings)
            nats.append(check.score(name, read, scoring, causal=False)[:, 0])
    return Score(name, _pseudo_metrics(np.concatenate(nats)[counts]), None)


def _draw_positions(
    part: Part, context: int, vocabulary: Vocabulary, positions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return windows (P, T), the place of one token of each, (P,), and which of these count."""
    generator = np.random.default_rng([SEED, positions])
    length = min(context, len(part.tokens) - 1)
    starts = 1 + length * generator.integers(0, (len(part.tokens) - 1) // length, positions)
    places = generator.integers(0, length, positions)
    counts = part.tokens[starts + places] != vocabulary.separator
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


def _score_hidden(
    objective: Objective,
    tokens: np.ndarray,
    places: np.ndarray,
    vocabulary: Vocabulary,
    settings: TrainSettings,
) -> Rescore:
    """Return the function that scores the token at one place (B,) of each window: nats (B, 1)."""
    targets = tokens[np.arange(len(tokens)), places]

    def rescore(read: np.ndarray, order: np.ndarray) -> np.ndarray:
        logits = logits_at(objective, read, places[order], settings)
        logits[:, vocabulary.separator] = -math.inf  # a hidden token of a text is known to be text
        goals = torch.from_numpy(targets[order])
        nats = functional.cross_entropy(logits.float().cpu(), goals, reduction="none")
        return np.asarray(nats.double().numpy()[:, None])

    return rescore


def _hidden_places(tokens: np.ndarray, places: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Return which tokens (B, T) are hidden: one a row, and the later tokens of its word."""
    rows = np.arange(len(tokens))
    hidden = np.zeros(tokens.shape, dtype=bool)
    hidden[rows, places] = True
    if vocabulary.continues_word is not None:
        for row, place in zip(rows, places, strict=True):
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
