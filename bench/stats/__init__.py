"""Compute intervals, pairwise tests and scaling laws: arrays in, numbers out, no I/O."""

from bench.stats.changes import Changes, adjusted_p_values, paired_changes, unpaired_changes
from bench.stats.intervals import (
    CONFIDENCE,
    Interval,
    Numbers,
    Ratio,
    aa_bound,
    between_process_variance,
    mean_interval,
    paired_ratio,
    paired_ratios,
    process_medians,
    ratio_within_processes,
)
from bench.stats.pairwise import (
    ALPHA,
    BETTER,
    MAX_SEEDS,
    NOT_DISTINGUISHABLE,
    ONE_SEED_DECIDES,
    UNKNOWN,
    Groups,
    detectable_difference,
    pairwise_tests,
    shaffer,
)
from bench.stats.pareto import pareto_front
from bench.stats.scaling_laws import (
    LawCrossover,
    ScalingLaw,
    TooFewPoints,
    find_crossover,
    fit_scaling_law,
)
from bench.stats.search import best_trial, expected_best, range_edges
from bench.stats.variance import (
    document_variances,
    effective_n,
    jackknife_changes,
    unsteady_groups,
)

__all__ = [
    "ALPHA",
    "BETTER",
    "CONFIDENCE",
    "MAX_SEEDS",
    "NOT_DISTINGUISHABLE",
    "ONE_SEED_DECIDES",
    "UNKNOWN",
    "Changes",
    "Groups",
    "Interval",
    "LawCrossover",
    "Numbers",
    "Ratio",
    "ScalingLaw",
    "TooFewPoints",
    "aa_bound",
    "adjusted_p_values",
    "best_trial",
    "between_process_variance",
    "detectable_difference",
    "document_variances",
    "effective_n",
    "expected_best",
    "find_crossover",
    "fit_scaling_law",
    "jackknife_changes",
    "mean_interval",
    "paired_changes",
    "paired_ratio",
    "paired_ratios",
    "pairwise_tests",
    "pareto_front",
    "process_medians",
    "range_edges",
    "ratio_within_processes",
    "shaffer",
    "unpaired_changes",
    "unsteady_groups",
]
