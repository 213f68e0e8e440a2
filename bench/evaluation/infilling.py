"""Fill in one hidden token with the same information: encoders directly, causal models by Bayes.

p(x_i | all others) = p(x) / Σ_v p(x with x_i := v) is what a causal model predicts for a hidden
token once it has read what follows. A forward pass per candidate: small vocabularies only.
"""

from typing import NamedTuple

import numpy as np

from bench.data import Corpus
from bench.data.blocks import EVAL_BATCH
from bench.evaluation import sampling
from bench.evaluation.leak_check import (
    PREFIX_ROUNDING_NATS,
    LeakCheck,
    Rescore,
)
from bench.evaluation.likelihood import score_targets
from bench.evaluation.pseudo_likelihood import logits_at
from bench.records.metrics import Metric, metric
from bench.training import Masked, Objective, TrainSettings

WINDOW_TOKENS = 32  # shown, or the context where it is shorter
MAX_VOCABULARY = 1000
COUNTED_TOKENS = 1 << 24  # of the training part, from which the candidates are taken


class HiddenTokens(NamedTuple):
    """Windows with one hidden token each."""

    windows: np.ndarray  # (N, L)
    places: np.ndarray  # (N,): never the first of a window
    candidates: np.ndarray  # (C,): the tokens that may stand in a place


def infill(
    objective: Objective,
    corpus: Corpus,
    context: int,
    count: int,
    seed: int,
    settings: TrainSettings,
) -> list[Metric]:
    """Return accuracy and nats of hidden tokens; nothing for a large vocabulary."""
    vocabulary, part = corpus.vocabulary, corpus.parts[corpus.scored]
    if vocabulary.size > MAX_VOCABULARY or vocabulary.continues_word is not None:
        return []
    objective.eval()
    allowed, length = candidate_tokens(corpus), min(WINDOW_TOKENS, context)
    windows, places = sampling.sample_infilling(part, corpus.digest, length, count, allowed, seed)
    if not len(windows):
        return []
    hidden = HiddenTokens(windows, places, np.flatnonzero(allowed))
    infill_nats = masked_infill_nats if isinstance(objective, Masked) else causal_infill_nats
    return _infill_metrics(hidden, infill_nats(objective, hidden, settings))


def _infill_metrics(hidden: HiddenTokens, nats: np.ndarray) -> list[Metric]:
    """Return the metrics from the nats of all candidates, (N, C)."""
    rows = np.arange(len(hidden.windows))
    truth = hidden.candidates.searchsorted(hidden.windows[rows, hidden.places])
    hits = (nats.argmin(axis=1) == truth).astype(float)
    note = _sample_note(hidden)
    return [metric("filling_tokens", len(rows), note), *_means(hits, nats[rows, truth], note)]


def _sample_note(hidden: HiddenTokens) -> str:
    count, length = hidden.windows.shape
    candidates = f"{len(hidden.candidates)} that the training part has"
    return f"{count} hidden tokens, each in {length} tokens, among {candidates}"


def _means(hits: np.ndarray, nats: np.ndarray, note: str) -> list[Metric]:
    """Return the mean hits and nats (N,) of the hidden tokens, with their standard errors."""
    metrics = []
    for name, values in (("filling_accuracy", hits), ("filling_nats", nats)):
        mean, error = sampling.mean_and_standard_error(values)
        metrics.append(metric(name, mean, note))
        if error == error:
            metrics.append(metric(f"{name}_standard_error", error, note))
    return metrics


def candidate_tokens(corpus: Corpus) -> np.ndarray:
    """Return which tokens the training part has, (V,) bool, without the separator."""
    train = np.asarray(corpus.parts["train"].tokens[:COUNTED_TOKENS])
    counts = np.bincount(train, minlength=corpus.vocabulary.size)
    counts[corpus.vocabulary.separator] = 0
    return np.asarray(counts > 0)


def masked_infill_nats(
    objective: Objective, hidden: HiddenTokens, settings: TrainSettings
) -> np.ndarray:
    """Return -log p(candidate | all others), (N, C) float64, of an encoder."""
    windows, places, candidates = hidden
    read = windows.copy()
    read[np.arange(len(windows)), places] = objective.model.mask
    batches = np.split(np.arange(len(windows)), range(EVAL_BATCH, len(windows), EVAL_BATCH))
    with LeakCheck(objective, settings) as check:
        nats = [
            check.score(
                "infilling",
                read[rows],
                _candidate_nats(objective, places[rows], candidates, settings),
                causal=False,
            )
            for rows in batches
        ]
    return np.concatenate(nats)


def _candidate_nats(
    objective: Objective, places: np.ndarray, candidates: np.ndarray, settings: TrainSettings
) -> Rescore:
    """Return the function that scores all candidates (C,) at a place of each row: nats (B, C)."""

    def rescore(read: np.ndarray, order: np.ndarray) -> np.ndarray:
        logits = logits_at(objective, read, places[order], settings)[:, candidates]
        return np.asarray(-logits.double().log_softmax(dim=1).cpu().numpy())

    return rescore


def causal_infill_nats(
    objective: Objective, hidden: HiddenTokens, settings: TrainSettings
) -> np.ndarray:
    """Return the same of a causal model, which reads the window with each candidate in place.

    Rows are equal up to the place: where their nats differ there, the batch is checked for leaks.
    """
    nats = []
    for window, place in zip(hidden.windows, hidden.places, strict=True):
        rows = np.repeat(window[None], len(hidden.candidates), axis=0)  # (C, L)
        rows[:, place] = hidden.candidates
        scoring = score_targets(objective, rows[:, 1:], settings)
        scores = scoring(rows[:, :-1], np.arange(len(rows)))
        if np.ptp(scores[:, : place - 1], axis=0).max(initial=0.0) > PREFIX_ROUNDING_NATS:
            with LeakCheck(objective, settings) as check:
                check.score("infilling", rows[:, :-1], scoring)
        total = scores.sum(axis=1)  # (C,)
        nats.append(total + np.logaddexp.reduce(-total))
    return np.stack(nats)
