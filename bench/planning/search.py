"""Conclude learning-rate searches from the records of their trials, and apply their results."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from bench import stats
from bench.config.errors import UserError
from bench.config.identity import digest, weights_key
from bench.config.schema import Run
from bench.planning.search_space import (
    LEARNING_RATE,
    TUNE_FOLDER,
    axes,
    trial_run,
    value_of,
    with_values,
)
from bench.records import store
from bench.records.loading import load_record
from bench.records.schema import FINISHED
from bench.records.search_scores import mean_scores

SCHEMA = 1
# Trials are judged by the first of these that they have.
SCORES = ("bits_per_byte", "regret", "pseudo_perplexity", "nats_per_token")


def search_path(run: Run) -> Path:
    """Return the file of a run's search, named by what is trained and searched, not by the seed."""
    key = weights_key(replace(run, train=replace(run.train, learning_rate=1.0)), seeded=False)
    searched = {"steps": run.tune.steps, "seed": run.tune.seed, "axes": axes(run)}
    if run.tune.finalists:
        searched["finalists"] = run.tune.finalists
    name = f"{run.names['arch']}-{digest(key | {'tune': searched})}.json".replace("/", "_")
    return Path(run.results) / run.suite / TUNE_FOLDER / "searches" / name


def distinct_searches(runs: Sequence[Run]) -> Iterator[Run]:
    """Yield a run for each different search that the runs need."""
    yield from {
        search_path(run): run for run in reversed(runs) if run.tune.trials and run.tune.trial < 0
    }.values()


def has_open_searches(runs: Sequence[Run]) -> bool:
    """Return whether a search lacks records of trials."""
    return any(_read_complete(run) is None for run in distinct_searches(runs))


def _read_complete(run: Run) -> list[dict[str, Any]] | None:
    """Return the trials of a search that has as many as the run needs."""
    content = store.read_json(search_path(run))
    trials: list[dict[str, Any]] = content.get("trials", []) if isinstance(content, dict) else []
    return trials if len(trials) >= run.tune.trials else None


def conclude_searches(runs: Sequence[Run]) -> list[str]:
    """Write the result of each search; return a line for each, also of those not finished."""
    return [_conclude(run) for run in reversed([*distinct_searches(runs)])]


def _conclude(run: Run) -> str:
    complete = _read_complete(run)
    trials = complete or _trial_rows(run)
    repeats = [] if complete else [_trial_row(run, number, 1) for number in finalists(run)]
    if missing := _unscored([*trials, *repeats]):
        first = missing[0]
        return (
            f"{run.names['arch']}: the search is not finished; trial {first['trial']} "
            f"{first['status']}: {first['reason']}"
        )
    for row in repeats:
        trials[row["trial"]]["repeats"] = [row]
    if not complete:
        store.write_json(search_path(run), _search_record(run, trials))
    return _summary_line(run, trials[: run.tune.trials])


def finalists(run: Run) -> list[int]:
    """Return the numbers of the trials to run again, the best first; none before all are scored."""
    if not run.tune.finalists or _read_complete(run):
        return []
    rows = _trial_rows(run)
    if _unscored(rows):
        return []
    ranked = sorted((row for row in rows if row["score"] is not None), key=itemgetter("score"))
    return [row["trial"] for row in ranked[: run.tune.finalists]]


def numbered_trial(run: Run, trial: int, repeat: int = 0) -> Run:
    """Return the run as a trial of its search, not planned yet."""
    return replace(run, tune=replace(run.tune, trial=trial, repeat=repeat))


def _trial_rows(run: Run) -> list[dict[str, Any]]:
    return [_trial_row(run, number) for number in range(run.tune.trials)]


def _unscored(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["status"] not in ("done", "diverged")]


def _trial_row(run: Run, number: int, repeat: int = 0) -> dict[str, Any]:
    """Return what a trial took, and its result."""
    trial = trial_run(numbered_trial(run, number, repeat))
    folder = store.attempt_folders(trial)[-1]
    result = store.read_result(folder)
    scores = {m["name"]: m["values"][0] for m in result["metrics"] if m["values"]}
    metric = next((name for name in SCORES if name in scores), "")
    status = "diverged" if result["facts"].get("diverged") else store.run_status(folder)
    return {
        "trial": number,
        "seed": trial.seed,
        "run": folder.name,
        "status": status,
        "reason": result["reason"] or ("" if status in FINISHED else "it has no record"),
        "metric": metric,
        "score": scores.get(metric),
        "part": result["facts"].get("part", ""),
        "data_digest": (load_record(folder).provenance.get("digests") or {}).get("data", ""),
        "values": {axis: value_of(trial, axis) for axis in axes(run)},
    }


def _search_record(run: Run, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a search, which needs no record of a trial to be read."""
    shared = {
        key: next((row[key] for row in trials if row[key]), "")
        for key in ("metric", "part", "data_digest")
    }
    return {
        "schema": SCHEMA,
        "arch": run.names["arch"],
        "family": run.arch.get("family", ""),
        "data": run.names["data"],
        "seed": run.tune.seed,
        "finalists": run.tune.finalists,
        "size": run.names["size"],
        "context": run.size.context,
        "steps": run.tune.steps or run.train.steps,
        **shared,
        "batch": run.train.batch,
        "optimizer": run.optimizer.kind,
        "space": axes(run),
        "trials": trials,
    }


def best_trial(trials: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the trial with the lowest finite mean score over its seeds."""
    best = stats.best_trial(mean_scores(trials))
    return None if best is None else trials[best]


def range_edge(trials: Sequence[dict[str, Any]]) -> str:
    """Return low or high, or both, where no trial has a rate beyond the best one's."""
    rates = [row["values"][LEARNING_RATE] for row in trials]
    return " and ".join(stats.range_edges(rates, mean_scores(trials)))


def _summary_line(run: Run, trials: Sequence[dict[str, Any]]) -> str:
    """Return the result of a search as a line for the architecture's YAML."""
    best, name, edge = best_trial(trials), run.names["arch"], range_edge(trials)
    if best is None:
        return (
            f"{name}: every trial diverged; lower the range in its YAML, tune.space.{LEARNING_RATE}"
        )
    tuned = f"{LEARNING_RATE}: {best['values'][LEARNING_RATE]:g}, trials: {run.tune.trials}"
    tuned += f", edge: {edge}" if edge else ""
    steps = run.tune.steps or run.train.steps
    source = f'"size={run.names["size"]}, {steps:,} steps of {run.names["data"]}"'
    others = [
        f", {axis} {value}" for axis, value in best["values"].items() if axis != LEARNING_RATE
    ]
    mean = min(mean_scores(trials))
    score = f"{best['metric']} {mean:.4f}{''.join(others)}"
    return f"{name}: tune: {{{tuned}, searched: {source}}} ({score}){_edge_warning(edge)}"


def _edge_warning(edge: str) -> str:
    if not edge:
        return ""
    ends = " and ".join(f"{end}est" for end in edge.split(" and "))
    return (
        f"; UNTUNED: the {ends} rate tried was the best, widen tune.space.{LEARNING_RATE} or take "
        "more trials"
    )


def apply_search(run: Run) -> Run:
    """Return the run with the best trial's values, or unchanged without a finished search."""
    trials = (_read_complete(run) or [])[: run.tune.trials]
    best = best_trial(trials)
    if best is None:
        return run
    edge = range_edge(trials)
    return with_values(replace(run, tune=replace(run.tune, edge=edge)), best["values"])


def require_search(run: Run) -> None:
    """Raise UserError for a run that needs a search and has no result of one."""
    if run.tune.trials and run.train.learning_rate is None:
        raise UserError(
            f"tune.trials={run.tune.trials}: the search for arch={run.names['arch']} found no "
            "learning rate",
            "incomplete-search",
        )
