"""Score the trials of a learning-rate search from its record."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def mean_scores(trials: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return each trial's mean score over its seeds, infinite where a seed diverged.

    Where finalists ran with a second seed, the other trials are out of the choice: infinite too.
    """
    has_finalists = any(trial.get("repeats") for trial in trials)
    scores = [first_scores([trial, *(trial.get("repeats") or ())]) for trial in trials]
    return [math.inf if has_finalists and len(own) == 1 else sum(own) / len(own) for own in scores]


def first_scores(trials: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return each trial's score with the search's first seed, infinite where it diverged."""
    scores = [math.nan if trial["score"] is None else float(trial["score"]) for trial in trials]
    return [math.inf if math.isnan(score) else score for score in scores]


def uniform_score(
    metric: str, scores: Mapping[str, float], provenance: Mapping[str, Any]
) -> float | None:
    """Return the score of equal probabilities on the data of a trial; None where it is not known.

    A separator costs as much as any token; the trial's part has about the bytes per token of the
    validation part.
    """
    facts = provenance.get("data") or {}
    size = facts.get("vocabulary")
    if not size:
        return None
    nats = math.log(size)
    if metric == "bits_per_byte":
        per_token = (facts.get("bytes_per_token") or {}).get("validation")
        return nats / math.log(2) / per_token if per_token else None
    if metric == "regret":
        oracle = scores.get("oracle_nats_per_token")
        return None if oracle is None else nats - oracle
    return {"nats_per_token": nats, "pseudo_perplexity": float(size)}.get(metric)
