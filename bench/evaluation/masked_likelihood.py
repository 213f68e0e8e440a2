"""What may be said of an encoder's likelihood: exact from left to right, bounded over all orders; and causal models beside it.

All are asked the same windows: every token but the first, separators too, given the first. A causal model reads them as they
stand. An encoder is asked for each token with that one and all later ones hidden: a product of conditionals in a fixed order
is a true likelihood, and may be ranked. The mean over orders and numbers of hidden tokens is an upper bound (Sahoo et al. 2024,
arXiv:2406.07524; Nie et al. 2025, arXiv:2502.09992) of what the model gives a text when the order is drawn.
"""

import math

import numpy as np
import pandas as pd
import torch

from bench.data import Corpus, Part
from bench.evaluation import sampling
from bench.evaluation.likelihood import EVAL_BATCH, target_nats
from bench.records.metrics import Metric
from bench.training import (
    Batch,
    Masked,
    Objective,
    TrainSettings,
    autocast,
    logits_nats,
    torch_generator,
)

MASK_DRAWS = 16  # masks of each window for the bound, their numbers of hidden tokens spread evenly


def sampled_window_likelihood(
    objective: Objective, corpus: Corpus, part: Part, context: int, count: int, plan: TrainSettings
) -> tuple[list[Metric], pd.DataFrame]:
    """The likelihood of the sampled windows, in every model's own way; and the nats of each of them, for paired statistics."""
    objective.eval()
    starts, tokens = sampling.sample_windows(part, corpus.digest, context, count)
    if isinstance(objective, Masked):
        nats = left_to_right_nats(objective, tokens, plan)[:, 1:].sum(axis=1)
    else:
        nats = target_nats(objective, tokens[:, :-1], tokens[:, 1:], plan).sum(axis=1)
    asked, size = (
        tokens.shape[1] - 1,
        int(part.sizes.sum()) / (len(part.tokens) - 1),
    )  # bytes a token, of the whole part
    note = f"{len(tokens)} windows of {tokens.shape[1]:,} tokens: each from those before it, the first given, separators too"
    metrics = _window_metrics("left_to_right", nats / asked, size, note)
    if isinstance(objective, Masked):
        note = f"upper bound over all orders, the same windows, {MASK_DRAWS} draws each"
        metrics += _window_metrics(
            "any_order", any_order_bound(objective, tokens, plan).mean(axis=1) / asked, size, note
        )
    return metrics, pd.DataFrame(
        {"window": starts, "tokens": asked, "bytes": asked * size, "nats": nats}
    )


def _window_metrics(name: str, nats: np.ndarray, size: float, note: str) -> list[Metric]:
    """The mean over windows of nats a token, and with its error as bits per byte; no bytes, no such bits."""
    found = [Metric(f"{name}_nats", "nats/token", "lower", (float(nats.mean()),), note)]
    if not size:
        return found
    mean, error = sampling.mean_and_standard_error(nats / (size * math.log(2)))
    found.append(Metric(f"{name}_bits_per_byte", "bits/byte", "lower", (mean,), note))
    if math.isfinite(error):
        found.append(
            Metric(
                f"{name}_standard_error", "bits/byte", "neither", (error,), f"{note}; over windows"
            )
        )
    return found


@torch.no_grad()
def left_to_right_nats(objective: Objective, tokens: np.ndarray, plan: TrainSettings) -> np.ndarray:
    """-log p(token i | those before it, all others hidden) of every token of windows (N, L): (N, L) float64, L forwards each."""
    objective.eval()
    model, (count, length) = objective.model, tokens.shape
    hidden = (
        np.arange(length) >= np.arange(length)[:, None]
    )  # (L, L): what is hidden when token i is asked
    found = np.zeros(count * length)
    asked = np.arange(count * length)  # window by window, token by token
    for some in np.split(asked, range(EVAL_BATCH, len(asked), EVAL_BATCH)):
        rows, places = np.divmod(some, length)
        read = np.where(hidden[places], model.mask, tokens[rows])  # (b, L)
        with autocast(plan):
            states, _ = model.hidden(torch.from_numpy(read).to(plan.device))  # (b, L, D)
            logits = model.head(states[torch.arange(len(some)), torch.from_numpy(places)])  # (b, V)
        nats = logits_nats(logits, torch.from_numpy(tokens[rows, places]).to(plan.device))
        found[some] = nats.double().cpu().numpy()
    return found.reshape(count, length)


@torch.no_grad()
def any_order_bound(
    objective: Masked, tokens: np.ndarray, plan: TrainSettings, draws: int = MASK_DRAWS
) -> np.ndarray:
    """Draws of the bound on the nats of all tokens but the first, given the first, of windows (N, L): (N, draws) float64.

    Each hides k of the L - 1, its k from another part of 1 … L - 1, and places drawn for each.
    """
    count, length = tokens.shape
    targets = torch.from_numpy(np.repeat(tokens, draws, axis=0))  # (N·draws, L)
    random = torch_generator(length, draws)
    strata = torch.arange(draws).repeat(count) + torch.rand(count * draws, generator=random)
    numbers = (strata / draws * (length - 1)).long().clamp(max=length - 2) + 1  # (N·draws,)
    ranks = torch.rand(count * draws, length - 1, generator=random).argsort(dim=1).argsort(dim=1)
    weight = torch.zeros(targets.shape)
    weight[:, 1:] = (ranks < numbers[:, None]).float()
    read = targets.masked_fill(weight.bool(), objective.model.mask)
    found = []
    for some in zip(
        read.split(EVAL_BATCH), targets.split(EVAL_BATCH), weight.split(EVAL_BATCH), strict=True
    ):
        with autocast(plan):
            found.append(objective.bound(Batch(*some).to(plan.device), length - 1).double().cpu())
    return np.asarray(torch.cat(found).view(count, draws).numpy())
