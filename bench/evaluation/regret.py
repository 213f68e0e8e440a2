"""Regret: how far a model stays behind the best that is possible, where the law of its source is known.

Model and oracle are scored on the same tokens and see the same of what stands before them, so that most of the noise of the text
cancels. What stays below the oracle by more than chance has seen what it had to predict.
"""

import math

import numpy as np
import torch
from scipy.special import ndtr, stdtrit

from bench.data import Part, SyntheticSource, WindowBatch, windows
from bench.evaluation import Score
from bench.records.metrics import Metric
from bench.training import Batch, Objective, TrainSettings, autocast

REGRET_BATCH = 64  # windows that are scored at once
LEAK_STANDARD_ERRORS = 4.0  # standard errors below the oracle that are no chance, where they are known well: of many windows
ROUNDING_NATS = 1e-6  # nats: a model at the optimum may lie this much below it by its float32


class LeakDetected(Exception):
    """A model below the best that is possible; the message is by how much."""


@torch.no_grad()
def causal_regret(
    objective: Objective, part: Part, law: SyntheticSource, context: int, plan: TrainSettings
) -> Score:
    """Score a causal model beside the oracle in windows side by side, as `evaluate.likelihood` cuts them. Raises Leak."""
    objective.eval()
    sums = np.concatenate(
        [
            _sums(objective, part, law, window, plan)
            for window in windows(part, context, REGRET_BATCH)
        ]
    )
    return Score(f"chunk({context})", regret_metrics(sums), None)


def _sums(
    objective: Objective, part: Part, law: SyntheticSource, window: WindowBatch, plan: TrainSettings
) -> np.ndarray:
    """(B, 5) of each window, over the tokens that count: their number, nats and hits of the model, then of the oracle."""
    counted = window.positions >= 0
    if part.loss_mask is not None:
        counted &= part.loss_mask[window.positions]
    tokens, targets = torch.from_numpy(window.tokens), torch.from_numpy(window.targets)  # (B, T)
    batch = Batch(
        tokens, targets, torch.from_numpy(counted).float(), torch.from_numpy(window.lengths)
    ).to(plan.device)
    with autocast(plan):
        nats, hits = objective.token_nats_and_hits(batch)
    known = law.oracle(
        np.concatenate([window.tokens[:, :1], window.targets], axis=1)
    )  # of what the window shows
    best, named = known.nats[:, 1:], known.most_likely[:, 1:] == window.targets
    found = (np.ones(counted.shape), nats.double().cpu().numpy(), hits.cpu().numpy(), best, named)
    return np.stack([np.where(counted, one, 0.0).sum(axis=1) for one in found], axis=1)


def regret_metrics(sums: np.ndarray) -> list[Metric]:
    """The metrics of sums (W, 5) a window: the windows are the units of the error. Raises Leak."""
    sums = sums[sums[:, 0] > 0]
    count, nats, hits, best, named = sums.sum(axis=0)
    regret, error = regret_and_error(sums)
    note = "given exactly what the protocol shows the model, on the same tokens"
    return [
        Metric(
            "regret", "nats/token", "lower", (regret,), f"the model less the best possible, {note}"
        ),
        Metric(
            "regret_standard_error", "nats/token", "lower", (error,), f"over {len(sums):,} windows"
        ),
        Metric("nats_per_token", "nats/token", "lower", (nats / count,)),
        Metric(
            "oracle_nats_per_token",
            "nats/token",
            "neither",
            (best / count,),
            f"the best possible, {note}",
        ),
        Metric(
            "accuracy",
            "share",
            "higher",
            (hits / count,),
            "of scored tokens that the model finds likeliest",
        ),
        Metric(
            "oracle_accuracy",
            "share",
            "neither",
            (named / count,),
            "of scored tokens that the oracle finds likeliest",
        ),
        Metric("scored_tokens", "tokens", "neither", (count,)),
    ]


def regret_and_error(sums: np.ndarray) -> tuple[float, float]:
    """The regret of sums (W, 5) a window, with its standard error. Raises Leak."""
    regret, error = ratio_and_error(sums[:, 1] - sums[:, 3], sums[:, 0])
    # of few windows the error itself is a guess, and of one there is none: as many as are as rare, by Student's t
    errors = (
        float(-stdtrit(len(sums) - 1, ndtr(-LEAK_STANDARD_ERRORS))) if len(sums) > 1 else math.inf
    )
    if len(sums) > 1 and regret < -max(errors * error, ROUNDING_NATS):
        times = f"{-regret / error:.0f} standard errors" if error > 0 else "in every window"
        raise LeakDetected(
            f"leak: {-regret:.4f} nats per token below the best that is possible ({times}): the model saw what it had to predict"
        )
    return regret, error


def window_regret_metrics(
    law: SyntheticSource, tokens: np.ndarray, nats: np.ndarray
) -> list[Metric]:
    """The regret of windows (N, L) that were scored from left to right, the first token given; nats (N,). Raises Leak."""
    best = law.oracle(tokens).nats[:, 1:].sum(axis=1)
    nothing = np.zeros(len(nats))
    regret, error = regret_and_error(
        np.stack([np.full(len(nats), tokens.shape[1] - 1.0), nats, nothing, best, nothing], axis=1)
    )
    note = "the model less the best possible, on the same windows from left to right, the first token given"
    return [
        Metric("left_to_right_regret", "nats/token", "lower", (regret,), note),
        Metric(
            "left_to_right_regret_standard_error",
            "nats/token",
            "neither",
            (error,),
            f"over {len(nats):,} windows",
        ),
    ]


def ratio_and_error(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Σ sums / Σ counts, and its standard error over the units, linearised."""
    mean = float(sums.sum() / counts.sum())
    units = len(sums)
    squares = float(((sums - mean * counts) ** 2).sum())
    return mean, math.sqrt(squares * units / max(1, units - 1)) / float(counts.sum())
