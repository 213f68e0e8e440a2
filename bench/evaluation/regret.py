"""Score a model by its regret: its loss less the best possible, where the source's law is given.

Model and oracle are scored on the same tokens and see the same tokens before them, so most of the
noise of the text cancels. A model below the oracle by more than chance saw what it had to predict.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.special import ndtr, stdtrit

from bench.data import SyntheticSource, WindowBatch, windows
from bench.data.blocks import EVAL_BATCH
from bench.evaluation import Score
from bench.evaluation.leak_check import LeakDetected, ScoredBatch
from bench.evaluation.scorer import Scorer
from bench.records.metrics import Metric, metric
from bench.training import autocast

LEAK_STANDARD_ERRORS = 4.0  # below the oracle that are not chance, with many windows
ROUNDING_NATS = 1e-6  # nats per token that float32 may put an optimal model below the oracle


def causal_regret(scorer: Scorer) -> Score:
    """Score a causal model and the oracle in adjacent windows. Raises LeakDetected."""
    name, sums = f"chunk({scorer.context})", []
    with scorer.check() as check:
        for window in windows(scorer.part, scorer.context, EVAL_BATCH):
            nats, hits = _model_nats_and_hits(scorer, window)
            sums.append(_window_sums(scorer, nats, hits, window))
            check.add(_scored_batch(scorer, name, window, nats))
    return Score(name, regret_metrics(np.concatenate(sums)), None)


def _scored_batch(scorer: Scorer, name: str, window: WindowBatch, nats: np.ndarray) -> ScoredBatch:
    """Return a scored batch with what checks its nats for leaks."""

    def rescore(read: np.ndarray, order: np.ndarray) -> np.ndarray:
        targets, lengths = window.targets[order], window.lengths[order]
        rows = replace(window, tokens=read, targets=targets, lengths=lengths)
        return _model_nats_and_hits(scorer, rows)[0]

    return ScoredBatch(name, window.tokens, nats, rescore)


def _window_sums(
    scorer: Scorer, nats: np.ndarray, hits: np.ndarray, window: WindowBatch
) -> np.ndarray:
    """Return sums per window, (B, 5), over the tokens that count.

    They are: tokens, nats and hits of the model, nats and hits of the oracle.
    """
    law, counted = scorer.corpus.synthetic, window.positions >= 0
    assert law is not None
    if scorer.part.loss_mask is not None:
        counted &= scorer.part.loss_mask[window.positions]
    # the oracle sees what the window shows
    oracle = law.oracle(np.concatenate([window.tokens[:, :1], window.targets], axis=1))
    best, named = oracle.nats[:, 1:], oracle.most_likely[:, 1:] == window.targets
    columns = (np.ones(counted.shape), nats, hits, best, named)
    return np.stack([np.where(counted, one, 0.0).sum(axis=1) for one in columns], axis=1)


@torch.no_grad()
def _model_nats_and_hits(scorer: Scorer, window: WindowBatch) -> tuple[np.ndarray, np.ndarray]:
    """Return the nats, (B, T) float64, and hits, (B, T), of the targets of a window batch."""
    batch = scorer.batch(window.tokens, window.targets, window.lengths)
    with autocast(scorer.settings):
        nats, hits = scorer.objective.token_nats_and_hits(batch)
    return nats.double().cpu().numpy(), hits.cpu().numpy()


def regret_metrics(sums: np.ndarray) -> list[Metric]:
    """Return the metrics of sums per window, (W, 5). Raises LeakDetected."""
    sums = sums[sums[:, 0] > 0]
    count, nats, hits, best, named = sums.sum(axis=0)
    regret, error = regret_and_error(sums)
    note = "given exactly what the protocol shows the model, on the same tokens"
    likeliest = "of scored tokens that the {} finds likeliest"
    return [
        metric("regret", regret, f"the model less the best possible, {note}"),
        metric("regret_standard_error", error, f"over {len(sums):,} windows"),
        metric("nats_per_token", nats / count),
        metric("oracle_nats_per_token", best / count, f"the best possible, {note}"),
        metric("accuracy", hits / count, likeliest.format("model")),
        metric("oracle_accuracy", named / count, likeliest.format("oracle")),
        metric("scored_tokens", count),
    ]


def regret_and_error(sums: np.ndarray) -> tuple[float, float]:
    """Return the regret of sums per window, (W, 5), and its standard error over windows.

    Raises LeakDetected.
    """
    regret, error = ratio_and_error(sums[:, 1] - sums[:, 3], sums[:, 0])
    if len(sums) < 2:
        return regret, error  # one window has no error
    # the error of few windows is uncertain: as many errors as are equally rare by Student's t
    errors = float(-stdtrit(len(sums) - 1, ndtr(-LEAK_STANDARD_ERRORS)))
    if regret < -max(errors * error, ROUNDING_NATS):
        times = f"{-regret / error:.0f} standard errors" if error > 0 else "in every window"
        raise LeakDetected(
            f"leak: {-regret:.4f} nats per token below the best that is possible ({times}): "
            "the model saw what it had to predict"
        )
    return regret, error


def window_regret_metrics(
    law: SyntheticSource, tokens: np.ndarray, nats: np.ndarray
) -> list[Metric]:
    """Return the regret of windows (N, L) with the first token given, from nats (N,).

    Raises LeakDetected.
    """
    best = law.oracle(tokens).nats[:, 1:].sum(axis=1)
    nothing = np.zeros(len(nats))
    counts = np.full(len(nats), tokens.shape[1] - 1.0)
    regret, error = regret_and_error(np.stack([counts, nats, nothing, best, nothing], axis=1))
    note = "the model less the best possible, on the same windows from left to right, "
    note += "the first token given"
    over = f"over {len(nats):,} windows"
    return [
        metric("left_to_right_regret", regret, note),
        metric("left_to_right_regret_standard_error", error, over),
    ]


def ratio_and_error(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return Σ sums / Σ counts, and its linearized standard error over the units."""
    mean = float(sums.sum() / counts.sum())
    units = len(sums)
    squares = float(((sums - mean * counts) ** 2).sum())
    return mean, math.sqrt(squares * units / max(1, units - 1)) / float(counts.sum())
