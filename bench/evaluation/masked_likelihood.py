"""Bound and compute likelihoods of encoders, and of causal models on the same windows.

All score the same windows: every token but the first, given the first, separators too. A causal
model reads them as they are. An encoder predicts each token with it and all later ones hidden: a
product of conditionals in a fixed order is a true likelihood, and may be ranked. The mean over
orders and numbers of hidden tokens is an upper bound (Sahoo et al. 2024, arXiv:2406.07524; Nie et
al. 2025, arXiv:2502.09992) on the loss when the order is drawn.
"""

import math

import numpy as np
import pandas as pd
import torch

from bench.data.blocks import EVAL_BATCH
from bench.evaluation import sampling
from bench.evaluation.leak_check import Rescore
from bench.evaluation.scorer import Scorer, eval_batches
from bench.records.metrics import Metric, metric
from bench.training import Batch, Masked, autocast, logits_nats, torch_generator

MASK_DRAWS = 16  # masks per window for the bound, their numbers of hidden tokens spread evenly
BOUND_NOTE = f"upper bound over all orders, the same windows, {MASK_DRAWS} draws each"


def sampled_window_likelihood(scorer: Scorer, count: int) -> tuple[list[Metric], pd.DataFrame]:
    """Return the likelihood of the sampled windows, and the nats of each for paired statistics."""
    part = scorer.part
    starts, windows = sampling.sample_windows(part, scorer.corpus.digest, scorer.context, count)
    targets = windows.shape[1] - 1
    bytes_per_token = int(part.sizes.sum()) / (len(part.tokens) - 1)  # of the part
    note = f"{len(windows)} windows of {windows.shape[1]:,} tokens: each from those before it, "
    note += "the first given, separators too"
    nats, further = _window_nats(scorer, windows), list[Metric]()
    if isinstance(scorer.objective, Masked):
        bound = any_order_bound(scorer, windows).mean(axis=1) / targets
        further = _window_metrics("any_order", bound, bytes_per_token, BOUND_NOTE)
    metrics = _window_metrics("left_to_right", nats / targets, bytes_per_token, note)
    sizes = targets * bytes_per_token
    table = {"window": starts, "tokens": targets, "bytes": sizes, "nats": nats}
    return metrics + further, pd.DataFrame(table)


def _window_nats(scorer: Scorer, windows: np.ndarray) -> np.ndarray:
    """Return the nats of windows (N, L) from left to right, the first token given: (N,)."""
    if isinstance(scorer.objective, Masked):
        return np.asarray(left_to_right_nats(scorer, windows)[:, 1:].sum(axis=1))
    with scorer.check() as check:
        scoring = scorer.scoring(windows[:, 1:])
        nats = check.score("windows from left to right", windows[:, :-1], scoring)
    return np.asarray(nats.sum(axis=1))


def _window_metrics(name: str, nats: np.ndarray, bytes_per_token: float, note: str) -> list[Metric]:
    """Return the mean over windows of nats per token; for a text also bits per byte, with error."""
    metrics = [metric(f"{name}_nats", float(nats.mean()), note)]
    if not bytes_per_token:
        return metrics
    bits = nats / (bytes_per_token * math.log(2))
    mean, error = sampling.mean_and_standard_error(bits)
    metrics.append(metric(f"{name}_bits_per_byte", mean, note))
    if math.isfinite(error):
        metrics.append(metric(f"{name}_standard_error", error, f"{note}; over windows"))
    return metrics


def left_to_right_nats(scorer: Scorer, windows: np.ndarray) -> np.ndarray:
    """Return -log p(token | those before it, all others hidden), (N, L) float64, of windows (N, L).

    It takes L forward passes per window.
    """
    count, length = windows.shape
    hidden = np.arange(length) >= np.arange(length)[:, None]  # (L, L): by the token predicted
    nats = np.zeros(count * length)  # window by window
    with scorer.check() as check:
        for batch in eval_batches(np.arange(count * length)):
            rows, places = np.divmod(batch, length)
            read = np.where(hidden[places], scorer.model.mask, windows[rows])  # (B, L)
            scoring = _unmasking(scorer, places, windows[rows, places])
            nats[batch] = check.score("left-to-right unmasking", read, scoring, causal=False)[:, 0]
    return nats.reshape(count, length)


def _unmasking(scorer: Scorer, places: np.ndarray, targets: np.ndarray) -> Rescore:
    """Return the function that scores a target at a place (B,) of each row, as (B, 1)."""
    return scorer.scoring_at(
        places, lambda logits, order: logits_nats(logits, scorer.tensor(targets[order]))[:, None]
    )


@torch.no_grad()
def any_order_bound(scorer: Scorer, tokens: np.ndarray, draws: int = MASK_DRAWS) -> np.ndarray:
    """Draw the bound on the nats of windows (N, L) given their first token: (N, draws) float64.

    Each draw hides k of the L - 1 tokens, k from a stratum of its own of 1 … L - 1. Batches have
    the shape of those of `left_to_right_nats`, which are checked for leaks.
    """
    objective, settings = scorer.objective, scorer.settings
    assert isinstance(objective, Masked)
    count, length = tokens.shape
    targets = torch.from_numpy(np.repeat(tokens, draws, axis=0))  # (N·draws, L)
    weight = _draw_hidden(count, length, draws)
    read = targets.masked_fill(weight.bool(), objective.model.mask)
    pieces, bounds = (tensor.split(EVAL_BATCH) for tensor in (read, targets, weight)), []
    for rows in zip(*pieces, strict=True):
        with autocast(settings):
            bound = objective.bound(Batch(*rows).to(settings.device), length - 1)
        bounds.append(bound.double().cpu())
    return np.asarray(torch.cat(bounds).view(count, draws).numpy())


def _draw_hidden(count: int, length: int, draws: int) -> torch.Tensor:
    """Draw which tokens each draw hides: 1 for those, else 0, (N·draws, L) float32."""
    random = torch_generator(length, draws)
    strata = torch.arange(draws).repeat(count) + torch.rand(count * draws, generator=random)
    numbers = (strata / draws * (length - 1)).long().clamp(max=length - 2) + 1  # (N·draws,)
    ranks = torch.rand(count * draws, length - 1, generator=random).argsort(dim=1).argsort(dim=1)
    weight = torch.zeros(count * draws, length)
    weight[:, 1:] = (ranks < numbers[:, None]).float()
    return weight
