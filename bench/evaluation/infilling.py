"""Fill in one hidden token with the same information: encoders directly, causal models by Bayes.

p(x_i | all others) = p(x) / Σ_v p(x with x_i := v) is what a causal model predicts for a hidden
token once it has read what follows. A forward pass per candidate: small vocabularies only.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from bench.data import Corpus
from bench.evaluation import sampling
from bench.evaluation.leak_check import PREFIX_ROUNDING_NATS
from bench.evaluation.scorer import Scorer, eval_batches
from bench.records.metrics import Metric, metric
from bench.training import Masked

WINDOW_TOKENS = 32  # shown, or the context where it is shorter
MAX_VOCABULARY = 1000
COUNTED_TOKENS = 1 << 24  # of the training part, from which the candidates are taken


class HiddenTokens(NamedTuple):
    """Windows with one hidden token each."""

    windows: np.ndarray  # (N, L)
    places: np.ndarray  # (N,): never the first of a window
    candidates: np.ndarray  # (C,): the tokens that may stand in a place


def infill(scorer: Scorer, count: int, seed: int) -> list[Metric]:
    """Return accuracy and nats of hidden tokens; nothing for a large vocabulary."""
    corpus, length = scorer.corpus, min(WINDOW_TOKENS, scorer.context)
    if corpus.vocabulary.size > MAX_VOCABULARY or corpus.vocabulary.continues_word is not None:
        return []
    allowed = candidate_tokens(corpus)
    windows, places = sampling.sample_infilling(
        scorer.part, corpus.digest, length, count, allowed, seed
    )
    if not len(windows):
        return []
    hidden = HiddenTokens(windows, places, np.flatnonzero(allowed))
    encoder = isinstance(scorer.objective, Masked)
    return _infill_metrics(hidden, (masked_nats if encoder else causal_nats)(scorer, hidden))


def _infill_metrics(hidden: HiddenTokens, nats: np.ndarray) -> list[Metric]:
    """Return the metrics from the nats of all candidates, (N, C), with standard errors."""
    (count, length), rows = hidden.windows.shape, np.arange(len(hidden.windows))
    truth = hidden.candidates.searchsorted(hidden.windows[rows, hidden.places])
    hits = (nats.argmin(axis=1) == truth).astype(float)
    candidates = f"{len(hidden.candidates)} that the training part has"
    note = f"{count} hidden tokens, each in {length} tokens, among {candidates}"
    metrics = [metric("filling_tokens", count, note)]
    for name, values in {"filling_accuracy": hits, "filling_nats": nats[rows, truth]}.items():
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


def masked_nats(scorer: Scorer, hidden: HiddenTokens) -> np.ndarray:
    """Return -log p(candidate | all others), (N, C) float64, of an encoder."""
    windows, places, candidates = hidden
    read, nats = windows.copy(), []
    read[np.arange(len(windows)), places] = scorer.model.mask

    def nats_of(logits: Tensor, _: np.ndarray) -> Tensor:
        return -logits[:, candidates].double().log_softmax(dim=1)

    with scorer.check() as check:
        for rows in eval_batches(np.arange(len(windows))):
            scoring = scorer.scoring_at(places[rows], nats_of)
            nats.append(check.score("infilling", read[rows], scoring, causal=False))
    return np.concatenate(nats)


def causal_nats(scorer: Scorer, hidden: HiddenTokens) -> np.ndarray:
    """Return the same of a causal model, which reads the window with each candidate in place.

    Rows are equal up to the place: where their nats differ there, the batch is checked for leaks.
    """
    nats = []
    for window, place in zip(hidden.windows, hidden.places, strict=True):
        rows = np.repeat(window[None], len(hidden.candidates), axis=0)  # (C, L)
        rows[:, place] = hidden.candidates
        scoring = scorer.scoring(rows[:, 1:])
        scores = scoring(rows[:, :-1], np.arange(len(rows)))
        if np.ptp(scores[:, : place - 1], axis=0).max(initial=0.0) > PREFIX_ROUNDING_NATS:
            with scorer.check() as check:
                check.score("infilling", rows[:, :-1], scoring)
        total = scores.sum(axis=1)  # (C,)
        nats.append(total + np.logaddexp.reduce(-total))
    return np.stack(nats)
