"""Try learning rates on the validation part: equally many, over one range, for every run."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.schema import OptimizerConfig
from bench.records import store
from bench.records.loading import read_json
from bench.tasks.finetuning.objectives import Classifier
from bench.tasks.finetuning.results import validation_loss
from bench.tasks.finetuning.scores import label_log_probabilities
from bench.tasks.finetuning.setup import TaskSetup
from bench.training import Diverged, build_optimizer, train

LOWEST, HIGHEST = 0.05, 2.0  # of the architecture's own rate


def trial_rates(own: float, count: int) -> list[float]:
    """Return so many rates, the middles of equal intervals on a logarithmic scale."""
    ratio = HIGHEST / LOWEST
    return [own * LOWEST * ratio ** ((number + 0.5) / count) for number in range(count)]


def best_rate(
    rates: Sequence[float],
    prepare: Callable[[float], TaskSetup],
    optimizer: OptimizerConfig,
    file: Path,
    origin: dict[str, str],
) -> float:
    """Return the rate with the fewest errors on the validation part; a tie is broken by the loss.

    Each trial trains from what `prepare` returns for its rate to the last step, and is kept in the
    file: an interrupted run goes on behind its last trial. Raise Diverged where all do.
    """
    content = read_json(file) or {}
    trials: list[dict[str, Any]] = content["trials"] if content.get("origin") == origin else []
    for rate in rates[len(trials) :]:
        trials.append({"learning_rate": rate, **_score(prepare(rate), optimizer)})
        store.write_json(file, {"origin": origin, "trials": trials})
    finished = [trial for trial in trials if trial["nats"] is not None]
    if not finished:
        raise Diverged(0, f"the loss of all {len(trials)} trials")
    best = min(finished, key=lambda trial: (trial["errors"] or 0.0, trial["nats"]))
    return float(best["learning_rate"])


def _score(setup: TaskSetup, options: OptimizerConfig) -> dict[str, float | None]:
    """Return the share of wrong labels (None: it has none) and the loss; None where it diverged."""
    optimizer = build_optimizer(setup.objective, options, setup.settings.learning_rate)
    try:
        for _ in train(setup.objective, optimizer, setup.blocks, setup.settings):
            pass
    except Diverged:
        return {"errors": None, "nats": None}
    part, errors = setup.parts["validation"], None
    if isinstance(setup.objective, Classifier):
        log_p = label_log_probabilities(setup.objective, part, setup.settings)
        errors = float(np.mean(log_p.argmax(axis=1) != part.labels))
    nats = validation_loss(setup, len(part))
    return {"errors": errors, "nats": nats if math.isfinite(nats) else None}
