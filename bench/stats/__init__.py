"""Compute intervals, pairwise tests and scaling laws: arrays in, numbers out, no I/O."""

from bench.stats.changes import Changes, adjusted_p_values, paired_changes, unpaired_changes
from bench.stats.frontiers import pareto_front
from bench.stats.intervals import Interval, Numbers, Ratio, aa_bound, mean_interval, process_medians
from bench.stats.pairwise import (
    BETTER,
    MAX_SEEDS,
    NOT_DISTINGUISHABLE,
    ONE_SEED_DECIDES,
    UNKNOWN,
    Groups,
    detectable_difference,
    pairwise_tests,
)
from bench.stats.scaling_laws import ScalingLaw
from bench.stats.search import best_trial, expected_best, range_edges
from bench.stats.variance import document_variances, effective_n, jackknife_changes, unsteady_groups

__all__ = [
    "BETTER", "MAX_SEEDS", "NOT_DISTINGUISHABLE", "ONE_SEED_DECIDES", "UNKNOWN", "Changes",
    "Groups", "Interval", "Numbers", "Ratio", "ScalingLaw", "aa_bound", "adjusted_p_values",
    "best_trial", "detectable_difference", "document_variances", "effective_n", "expected_best",
    "jackknife_changes", "mean_interval", "paired_changes", "pairwise_tests", "pareto_front",
    "process_medians", "range_edges", "unpaired_changes", "unsteady_groups",
]  # fmt: skip
