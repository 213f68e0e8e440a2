"""Score the reference lines of a suite: baselines, and checkpoints in place of training."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cli.sweep import Sweep
from bench.config.errors import UserError
from bench.config.schema import Run
from bench.config.task_schema import NO_TASK
from bench.execution.preflight import distinct_by
from bench.records import store

logger = logging.getLogger(__name__)


def has_score(folder: Path) -> bool:
    """Return whether baselines can be compared with a run."""
    return any(metric["name"] == "bits_per_byte" for metric in store.read_result(folder)["metrics"])


def score_baselines(suite: Path, runs: Sequence[Run]) -> None:
    """Score what needs no architecture, on all training text and on what the runs read of it."""
    from bench import data
    from bench.evaluation import baselines
    from bench.evaluation.read_text import text_read_by

    for run in runs_to_match(runs):
        corpus = data.prepare(run.data, run.names["data"])
        for text in (None, text_read_by(run, corpus)):
            baselines.ensure_baselines(suite, corpus, run.size.context, logger.info, text)


def runs_to_match(runs: Sequence[Run]) -> list[Run]:
    """Return, of the runs with equal budgets, the one that read most, with the lowest seed."""

    def budget(run: Run) -> list[Any]:
        length = run.train.budget or run.train.steps
        return [run.data, run.size.context, run.train.batch, length]

    return distinct_by(sorted(runs, key=lambda run: (-run.train.steps, run.seed)), budget)


def score_checkpoints(sweep: Sweep) -> Sweep:
    """Score what `arch.pretrained` names in a sweep, and return the sweep of all else.

    Raise UserError for a checkpoint that cannot be scored.
    """
    checkpoints = list(_checkpoints(sweep))
    if not checkpoints:
        return sweep
    if any(run.preference.enabled or run.task.kind != NO_TASK for run in checkpoints):
        raise UserError(
            "arch.pretrained: a checkpoint that was trained elsewhere is scored as it is, and "
            "nothing starts from it: task= and preference= start from runs that are trained here",
            "not-supported",
        )
    from bench.evaluation.pretrained import score_pretrained

    for run in distinct_by(checkpoints, lambda run: [run.arch, run.data, run.size.context]):
        logger.info(score_pretrained(run, sweep.folder))
    jobs = (job for job in sweep.jobs if not any(job.run is run for run in checkpoints))
    return replace(sweep, jobs=tuple(jobs))


def _checkpoints(sweep: Sweep) -> Iterator[Run]:
    for run in sweep.runs:
        if isinstance(run.arch.get("pretrained"), str) and run.arch["pretrained"]:
            from bench.evaluation.pretrained import names_checkpoint

            if names_checkpoint(run):
                yield run
