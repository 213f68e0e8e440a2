"""Conclude learning-rate searches from the records of their trials, and apply their results."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from bench import data
from bench.config.errors import UserError
from bench.config.identity import digest, weights_key
from bench.config.schema import Run
from bench.planning.search_results import best_trial, range_edge, summary_line
from bench.planning.search_space import TUNE_FOLDER, axes, trial_run, value_of, with_values
from bench.records import store
from bench.records.loading import load_record
from bench.records.schema import FINISHED
from bench.records.search_scores import uniform_score
from bench.records.validation import trials_error

SCHEMA = 1
Searches = dict[tuple[Path, int], list[dict[str, Any]]]  # (file, number of trials) -> trials
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
    """Return the trials of a search that has as many as the run needs, on its data as they are."""
    content = store.read_json(search_path(run))
    trials = content.get("trials") if isinstance(content, dict) else None
    if not isinstance(trials, list) or len(trials) < run.tune.trials or trials_error(trials):
        return None
    return None if _has_other_data(content.get("data_digest"), run) else trials


def _has_other_data(digest: str | None, run: Run) -> bool:
    """Return whether trials of a search saw other data than those that there are now."""
    if not digest:
        return False
    now = data.prepared_digest(replace(run.data, searching=True), run.names["data"])
    return bool(now) and now != digest


class Conclusion(NamedTuple):
    """How a search ended: a line about it, and whether it has a learning rate."""

    line: str
    has_result: bool


def conclude_searches(runs: Sequence[Run]) -> list[Conclusion]:
    """Write the result of each search, and return how each ended, also those not finished."""
    return [_conclude(run) for run in reversed([*distinct_searches(runs)])]


def _conclude(run: Run) -> Conclusion:
    complete = _read_complete(run)
    trials = complete or _trial_rows(run)
    repeats = [] if complete else [_trial_row(run, number, 1) for number in finalists(run)]
    if missing := _unscored([*trials, *repeats]):
        first = missing[0]
        line = (
            f"{run.names['arch']}: the search is not finished; trial {first['trial']} "
            f"{first['status']}: {first['reason']}"
        )
        return Conclusion(line, has_result=False)
    for row in repeats:
        trials[row["trial"]]["repeats"] = [row]
    if not complete:
        store.write_json(search_path(run), _search_record(run, trials))
    counted = trials[: run.tune.trials]
    return Conclusion(summary_line(run, counted), best_trial(counted) is not None)


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
    rows = [_trial_row(run, number) for number in range(run.tune.trials)]
    digests = {row["data_digest"] for row in rows}
    others = {digest for digest in digests if _has_other_data(digest, run)}
    changed = {"status": "unfinished", "reason": "its text or tokenizer has changed since"}
    return [row | changed if row["data_digest"] in others else row for row in rows]


def _unscored(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["status"] not in ("done", "diverged")]


def _trial_row(run: Run, number: int, repeat: int = 0) -> dict[str, Any]:
    """Return what a trial took, and its result."""
    trial = trial_run(numbered_trial(run, number, repeat))
    folder = store.attempt_folders(trial)[-1]
    result, provenance = store.read_result(folder), load_record(folder).provenance
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
        "uniform": uniform_score(metric, scores, provenance),
        "part": result["facts"].get("part", ""),
        "data_digest": (provenance.get("digests") or {}).get("data", ""),
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


def complete_searches(runs: Sequence[Run]) -> Searches:
    """Return the trials of each finished search of some runs, as `apply_search` takes them."""
    searches = {(search_path(run), run.tune.trials): run for run in runs if run.tune.trials}
    return {key: _read_complete(run) or [] for key, run in searches.items()}


def apply_search(run: Run, searches: Searches | None = None) -> Run:
    """Return the run with the best trial's values, or unchanged without a finished search."""
    searches = complete_searches([run]) if searches is None else searches
    trials = searches[search_path(run), run.tune.trials][: run.tune.trials]
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
