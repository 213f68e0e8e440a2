"""Choose the best trial of a search, and say in a line what it found."""

import math
from collections.abc import Sequence
from typing import Any

from bench import stats
from bench.config.schema import Run
from bench.planning.search_space import LEARNING_RATE
from bench.records.search_scores import mean_scores


def best_trial(trials: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the trial with the lowest finite mean score over its seeds.

    None where even that is no better than equal probabilities, as a model is that learned nothing.
    """
    scores = mean_scores(trials)
    best = stats.best_trial(scores)
    if best is None:
        return None
    uniform = trials[best].get("uniform")
    return None if uniform is not None and scores[best] >= uniform else trials[best]


def range_edge(trials: Sequence[dict[str, Any]]) -> str:
    """Return low or high, or both, where no trial has a rate beyond the best one's."""
    rates = [row["values"][LEARNING_RATE] for row in trials]
    return " and ".join(stats.range_edges(rates, mean_scores(trials)))


def summary_line(run: Run, trials: Sequence[dict[str, Any]]) -> str:
    """Return the result of a search as a line for the architecture's YAML."""
    best, name, edge = best_trial(trials), run.names["arch"], range_edge(trials)
    if best is None:
        return f"{name}: {_failure(trials)}"
    others = dict(best["values"])
    tuned = f"{LEARNING_RATE}: {others.pop(LEARNING_RATE):g}, trials: {run.tune.trials}"
    tuned += f", edge: {edge}" if edge else ""
    steps = run.tune.steps or run.train.steps
    source = f'"size={run.names["size"]}, {steps:,} steps of {run.names["data"]}"'
    more = "".join(f", {axis} {value}" for axis, value in others.items())
    score = f"{best['metric']} {min(mean_scores(trials)):.4f}{more}"
    return f"{name}: tune: {{{tuned}, searched: {source}}} ({score}){_edge_warning(edge)}"


def _failure(trials: Sequence[dict[str, Any]]) -> str:
    diverged = all(math.isinf(score) for score in mean_scores(trials))
    problem = "every trial diverged" if diverged else "no trial is better than equal probabilities"
    return f"{problem}; change the range in its YAML, tune.space.{LEARNING_RATE}"


def _edge_warning(edge: str) -> str:
    if not edge:
        return ""
    ends = " and ".join(f"{end}est" for end in edge.split(" and "))
    return (
        f"; UNTUNED: the {ends} rate tried was the best, widen tune.space.{LEARNING_RATE} or take "
        "more trials"
    )
