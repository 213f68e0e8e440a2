"""Test whether groups changed between two versions of the code, all groups at once.

The unit is the sample: a seed, or a measuring process. Where the same samples exist in both
versions their differences are tested (a paired t test), else the two means (Welch). Variances
follow the rule of `bench.stats.variance`: a group has its own or that of the other groups,
whichever is larger. p values are corrected over all groups by Holm's procedure.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.stats.intervals import Numbers
from bench.stats.variance import Spread, VarianceSources

MIN_SAMPLES = 2  # per group: one says nothing of its variance


class Changes(NamedTuple):
    """By how much each of G groups changed, new − old, and what that varies from."""

    difference: Numbers  # (G,)
    spread: Spread


def paired_changes(
    differences: Sequence[Numbers], documents: Numbers, document_count: Numbers
) -> Changes:
    """Return the changes of groups whose samples exist in both versions.

    `differences`: new − old of each sample, per group · `documents` (G,): variance of the mean
    difference over documents, NaN where unknown · `document_count` (G,): of equal size.
    """
    ends = np.arange(len(differences))[None, :]
    sources = _sources(differences, ends, documents, document_count)
    return Changes(_means(differences), _mask_single(sources))


def unpaired_changes(
    old: Sequence[Numbers], new: Sequence[Numbers], documents: Numbers, document_count: Numbers
) -> Changes:
    """Return the changes of groups with other samples in each version; see `paired_changes`."""
    ends = np.arange(2 * len(old)).reshape(2, -1)
    sources = _sources([*old, *new], ends, documents, document_count)
    return Changes(_means(new) - _means(old), _mask_single(sources))


def _sources(
    groups: Sequence[Numbers], ends: "np.ndarray", documents: Numbers, document_count: Numbers
) -> VarianceSources:
    pools = np.ones((ends.shape[1], len(groups)), dtype=bool)
    np.put_along_axis(pools, ends.T, False, axis=1)
    squares = [np.square(one - one.mean()).sum() if len(one) else 0.0 for one in groups]
    counts = np.array([len(one) for one in groups], dtype=float)
    sizes = np.nan_to_num(document_count)
    return VarianceSources(counts, np.array(squares), ends, pools, documents, sizes)


def _means(groups: Sequence[Numbers]) -> Numbers:
    return np.array([one.mean() if len(one) else np.nan for one in groups])


def _mask_single(sources: VarianceSources) -> Spread:
    """Return the spread, NaN where an end has fewer than MIN_SAMPLES."""
    spread = sources.spread()
    single = (sources.counts[sources.ends] < MIN_SAMPLES).any(axis=0)
    return spread._replace(variance=np.where(single, np.nan, spread.variance))


def adjusted_p_values(changes: Sequence[Changes], margins: Sequence[Numbers]) -> list[Numbers]:
    """Return p values that a change exceeds its margin, corrected over all groups of all `changes`.

    `margins` (G,) each, ≥ 0. NaN where nothing can be tested. Two-sided.
    """
    if not changes:
        return []
    plain, by_interval = zip(
        *(
            one.spread.p_values(np.maximum(np.abs(one.difference) - margin, 0.0))
            for one, margin in zip(changes, margins, strict=True)
        ),
        strict=True,
    )
    adjusted = np.maximum(holm(np.concatenate(plain)), np.concatenate(by_interval))
    return np.split(adjusted, np.cumsum([len(p) for p in plain])[:-1])


def holm(p: Numbers) -> Numbers:
    """Return p values adjusted for their number (Holm 1979); NaN stays and does not count."""
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
