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
from bench.stats.variance import Spread, VarianceSources, group_means, seed_sums

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
    spread = _spread(differences, 1, documents, document_count)
    return Changes(group_means(differences), spread)


def unpaired_changes(
    old: Sequence[Numbers], new: Sequence[Numbers], documents: Numbers, document_count: Numbers
) -> Changes:
    """Return the changes of groups with other samples in each version; see `paired_changes`."""
    spread = _spread([*old, *new], 2, documents, document_count)
    return Changes(group_means(new) - group_means(old), spread)


def _spread(
    groups: Sequence[Numbers], versions: int, documents: Numbers, document_count: Numbers
) -> Spread:
    """Return the spread of each change, NaN where an end has fewer than MIN_SAMPLES."""
    ends = np.arange(len(groups)).reshape(versions, -1)
    pools = np.ones((ends.shape[1], len(groups)), dtype=bool)
    np.put_along_axis(pools, ends.T, False, axis=1)
    counts, squares = seed_sums(groups)
    sizes = np.nan_to_num(document_count)
    spread = VarianceSources(counts, squares, ends, pools, documents, sizes).spread()
    single = (counts[ends] < MIN_SAMPLES).any(axis=0)
    return spread._replace(variance=np.where(single, np.nan, spread.variance))


def adjusted_p_values(changes: Sequence[Changes], margins: Sequence[Numbers]) -> list[Numbers]:
    """Return p values that a change exceeds its margin, corrected over all groups of all `changes`.

    `margins` (G,) each, ≥ 0. NaN where nothing can be tested. Two-sided.
    """
    if not changes:
        return []
    excesses = [
        np.maximum(np.abs(one.difference) - margin, 0.0)
        for one, margin in zip(changes, margins, strict=True)
    ]
    p_values = [one.spread.p_values(own) for one, own in zip(changes, excesses, strict=True)]
    plain, by_interval = (np.concatenate(own) for own in zip(*p_values, strict=True))
    adjusted = np.maximum(holm(plain), by_interval)
    return np.split(adjusted, np.cumsum([len(own) for own in excesses])[:-1])


def holm(p: Numbers) -> Numbers:
    """Return p values adjusted for their number (Holm 1979); NaN stays and does not count."""
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
