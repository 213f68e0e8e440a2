"""Apply searches and plans to composed runs: the one place that reads them for a command."""

from collections.abc import Sequence
from dataclasses import replace

from bench.config.dependencies import LATER_GROUPS, base_run
from bench.config.schema import Run
from bench.config.validation import validate_run
from bench.planning.budget import plan_runs
from bench.planning.search import (
    Searches,
    apply_search,
    complete_searches,
    distinct_searches,
    finalists,
    numbered_trial,
)
from bench.planning.search_space import trial_run


def plan(runs: Sequence[Run], keep: bool = True) -> list[Run]:
    """Return composed runs with what their searches and plans say.

    A run with a search takes its best trial; a run with a budget in FLOPs or seconds the steps
    planned for it, which are stored unless `keep` is false. A task is planned as the run that it
    starts from; a finished run stays as it is. Raise UserError.
    """
    bases = [base_run(run) for run in runs if not run.base]
    searches = complete_searches([base for base in bases if base.tune.trial < 0])
    planned = iter(plan_runs([_searched(base, searches) for base in bases], keep))
    return [run if run.base else _with_later_groups(next(planned), run) for run in runs]


def _with_later_groups(planned: Run, run: Run) -> Run:
    later = {group: getattr(run, group) for group in LATER_GROUPS}
    return replace(planned, names=run.names, **later)


def _searched(run: Run, searches: Searches) -> Run:
    if run.tune.trial < 0:
        return apply_search(run, searches) if run.tune.trials else run
    trial = trial_run(run)
    validate_run(trial)
    return trial


def search_trials(runs: Sequence[Run], repeat: int = 0) -> list[tuple[Run, list[Run]]]:
    """Return each different search of composed runs, by its first run, with its trials.

    `repeat=1` returns the second runs of its finalists, once all of its trials are scored.
    """
    return [
        (run, [numbered_trial(run, trial, repeat) for trial in trials])
        for run in reversed([*distinct_searches(runs)])
        for trials in [finalists(run) if repeat else range(run.tune.trials)]
    ]
