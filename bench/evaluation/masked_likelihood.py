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

from bench.data import Corpus
from bench.data.blocks import EVAL_BATCH
from bench.evaluation import sampling
from bench.evaluation.leak_check import LeakCheck, Rescore
from bench.evaluation.likelihood import score_targets
from bench.evaluation.pseudo_likelihood import logits_at
from bench.records.metrics import Metric, metric
from bench.training import (
    Batch,
    Masked,
    Objective,
    TrainSettings,
    autocast,
    logits_nats,
    torch_generator,
)

MASK_DRAWS = 16  # masks per window for the bound, their numbers of hidden tokens spread evenly


def sampled_window_likelihood(
    objective: Objective, corpus: Corpus, context: int, count: int, settings: TrainSettings
) -> tuple[list[Metric], pd.DataFrame]:
    """Return the likelihood of the sampled windows, and the nats of each for paired statistics."""
    objective.eval()
    part = corpus.parts[corpus.scored]
    starts, windows = sampling.sample_windows(part, corpus.digest, context, count)
    targets = windows.shape[1] - 1
    bytes_per_token = int(part.sizes.sum()) / (len(part.tokens) - 1)  # of the part
    nats = _nats_per_window(objective, windows, settings)
    further = []
    if isinstance(objective, Masked):
        further = _any_order_metrics(objective, windows, bytes_per_token, settings)
    note = f"{len(windows)} windows of {windows.shape[1]:,} tokens: each from those before it, "
    note += "the first given, separators too"
    metrics = _window_metrics("left_to_right", nats / targets, bytes_per_token, note)
    sizes = targets * bytes_per_token
    table = {"window": starts, "tokens": targets, "bytes": sizes, "nats": nats}
    return metrics + further, pd.DataFrame(table)


def _nats_per_window(
    objective: Objective, windows: np.ndarray, settings: TrainSettings
) -> np.ndarray:
    """Return the nats of windows (N, L) from left to right, the first token given: (N,)."""
    if isinstance(objective, Masked):
        return np.asarray(left_to_right_nats(objective, windows, settings)[:, 1:].sum(axis=1))
    with LeakCheck(objective, settings) as check:
        scoring = score_targets(objective, windows[:, 1:], settings)
        nats = check.score("windows from left to right", windows[:, :-1], scoring)
    return np.asarray(nats.sum(axis=1))


def _any_order_metrics(
    objective: Masked, windows: np.ndarray, bytes_per_token: float, settings: TrainSettings
) -> list[Metric]:
    bound = any_order_bound(objective, windows, settings).mean(axis=1) / (windows.shape[1] - 1)
    note = f"upper bound over all orders, the same windows, {MASK_DRAWS} draws each"
    return _window_metrics("any_order", bound, bytes_per_token, note)


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


@torch.no_grad()
def left_to_right_nats(
    objective: Objective, windows: np.ndarray, settings: TrainSettings
) -> np.ndarray:
    """Return -log p(token | those before it, all others hidden), (N, L) float64, of windows (N, L).

    It takes L forward passes per window.
    """
    objective.eval()
    count, length = windows.shape
    hidden = np.arange(length) >= np.arange(length)[:, None]  # (L, L): by the token predicted
    nats = np.zeros(count * length)
    tokens = np.arange(count * length)  # window by window
    with LeakCheck(objective, settings) as check:
        for batch in np.split(tokens, range(EVAL_BATCH, len(tokens), EVAL_BATCH)):
            rows, places = np.divmod(batch, length)
            read = np.where(hidden[places], objective.model.mask, windows[rows])  # (B, L)
            scoring = _unmasking(objective, places, windows[rows, places], settings)
            nats[batch] = check.score("left-to-right unmasking", read, scoring, causal=False)[:, 0]
    return nats.reshape(count, length)


def _unmasking(
    objective: Objective, places: np.ndarray, targets: np.ndarray, settings: TrainSettings
) -> Rescore:
    """Return the function that scores a target at a place (B,) of each row, as (B, 1)."""

    def rescore(read: np.ndarray, order: np.ndarray) -> np.ndarray:
        logits = logits_at(objective, read, places[order], settings)
        nats = logits_nats(logits, torch.from_numpy(targets[order]).to(settings.device))
        return np.asarray(nats.double().cpu().numpy()[:, None])

    return rescore


@torch.no_grad()
def any_order_bound(
    objective: Masked, tokens: np.ndarray, settings: TrainSettings, draws: int = MASK_DRAWS
) -> np.ndarray:
    """Draw the bound on the nats of windows (N, L) given their first token: (N, draws) float64.

    Each draw hides k of the L - 1 tokens, k from a stratum of its own of 1 … L - 1. Batches have
    the shape of those of `left_to_right_nats`, which are checked for leaks.
    """
    count, length = tokens.shape
    targets = torch.from_numpy(np.repeat(tokens, draws, axis=0))  # (N·draws, L)
    weight = _draw_hidden(count, length, draws)
    read = targets.masked_fill(weight.bool(), objective.model.mask)
    bounds = []
    for rows in zip(
        read.split(EVAL_BATCH), targets.split(EVAL_BATCH), weight.split(EVAL_BATCH), strict=True
    ):
        with autocast(settings):
            bounds.append(
                objective.bound(Batch(*rows).to(settings.device), length - 1).double().cpu()
            )
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
