"""Measure what labels are worth by how they are chosen, with a head on the base's frozen states."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from bench.config.preference_schema import LabelCurveConfig
from bench.records.metrics import Metric, metric
from bench.stats import Numbers
from bench.tasks.preferences.reward_model import (
    EVALUATION_BATCH,
    LabelledPairs,
    RewardModel,
    judge,
)
from bench.tasks.preferences.rollouts import Responses
from bench.tasks.preferences.selection import STRATEGIES, Pool, fit_head, standardise

OFFERED = 0.75  # of the pool, drawn anew for each repeat


class CurveData(NamedTuple):
    """The pool and the held-out pairs of a label curve, as differences of pooled states."""

    features: Numbers  # (N, D)
    labels: Numbers  # (N,)
    held_features: Numbers  # (H, D)
    held_probabilities: Numbers  # (H,)


@torch.no_grad()
def pair_features(reward: RewardModel, first: Responses, second: Responses) -> Numbers:
    """Return the differences of the pooled states of pairs, (N, D) float64."""
    sides = [
        torch.cat([reward.features(piece) for piece in side.batches(EVALUATION_BATCH)])
        for side in (first, second)
    ]
    return np.asarray((sides[0] - sides[1]).double().numpy())


def curve_data(reward: RewardModel, pool: LabelledPairs, held: LabelledPairs) -> CurveData:
    """Return the data of a curve from an untrained reward model."""
    rows = [pair_features(reward, pairs.first, pairs.second) for pairs in (pool, held)]
    features = standardise(np.concatenate(rows))
    count = len(pool)
    return CurveData(
        features[:count], pool.labels.double().numpy(), features[count:],
        held.labels.double().numpy(),
    )  # fmt: skip


def curve_metrics(
    data: CurveData, options: LabelCurveConfig, name: str, seed: int
) -> Iterator[Metric]:
    """Yield accuracy and regret of a strategy at every size, a sample for each repeat.

    Repeats are paired: the same part of the pool and the same first labels for each strategy.
    """
    sizes = sorted({size for size in options.sizes if size <= len(data.labels) // 2})
    scores = np.array(
        [
            _one_curve(data, name, sizes, np.random.SeedSequence([seed, 12, repeat]))
            for repeat in range(options.repeats)
        ]
    )  # fmt: skip  (repeats, sizes, 2)
    for place, size in enumerate(sizes):
        at = {"labels": size}
        yield metric("reward_accuracy", scores[:, place, 0].tolist(), at=at)
        yield metric("reward_regret", scores[:, place, 1].tolist(), at=at)


def _one_curve(
    data: CurveData, name: str, sizes: Sequence[int], key: np.random.SeedSequence
) -> list[tuple[float, float]]:
    """Return accuracy and regret at every size; a part of the pool is offered."""
    first, later = map(np.random.default_rng, key.spawn(2))
    count = len(data.labels)
    offered = first.permutation(count)[: round(OFFERED * count)]
    features, labels = data.features[offered], data.labels[offered]
    labelled, scores = np.arange(sizes[0] // 2), []
    for size in sizes:
        pool = Pool(features, labelled, labels[labelled])
        labelled = np.append(labelled, STRATEGIES[name](pool, size - len(labelled), later))
        head = fit_head(features[labelled], labels[labelled])
        judged = judge(data.held_features @ head, data.held_probabilities)
        scores.append((judged["reward_accuracy"], judged["reward_regret"]))
    return scores
