"""What the trials of a search found, from their records; and the runs that take it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.identity import digest, weights_key
from bench.config.schema import Run
from bench.planning.search_space import LEARNING_RATE, TUNE_FOLDER, axes, trial_run, with_values
from bench.records import store
from bench.records.loading import load_record
from bench.records.schema import FINISHED

SCHEMA = 1
SCORES = (
    "bits_per_byte",
    "regret",
    "pseudo_perplexity",
    "nats_per_token",
)  # what the trials of a search are judged by: the first that they have


def search_path(run: Run) -> Path:
    """The file of a run's search. Its name holds what is trained, but for the seed, and what is searched."""
    key = weights_key(replace(run, train=replace(run.train, learning_rate=1.0)), seeded=False)
    searched = {"steps": run.tune.steps, "seed": run.tune.seed, "axes": axes(run)}
    name = f"{run.names['arch']}-{digest(key | {'tune': searched})}.json".replace("/", "_")
    return Path(run.results) / run.suite / TUNE_FOLDER / "searches" / name


def distinct_searches(runs: Sequence[Run]) -> Iterator[Run]:
    """A run for each different search that the runs of a command ask for."""
    yield from {
        search_path(run): run for run in reversed(runs) if run.tune.trials and run.tune.trial < 0
    }.values()


def has_open_searches(runs: Sequence[Run]) -> bool:
    """Whether trials are wanted that have no record yet."""
    return any(_read_complete(run) is None for run in distinct_searches(runs))


def _read_complete(run: Run) -> dict[str, Any] | None:
    """The record of a search that has all the trials asked for."""
    content = store.read_json(search_path(run))
    return (
        content
        if isinstance(content, dict) and len(content.get("trials", [])) >= run.tune.trials
        else None
    )


def conclude_searches(runs: Sequence[Run]) -> list[str]:
    """Write what each search of a command found; a line for each, which says what is missing where trials have no result."""
    lines = []
    for run in reversed([*distinct_searches(runs)]):
        known = _read_complete(run)
        rows = (
            known["trials"]
            if known
            else [_trial_row(run, number) for number in range(run.tune.trials)]
        )
        lacking = [
            f"trial {row['trial']} {row['status']}: {row['reason']}"
            for row in rows
            if row["status"] not in ("done", "diverged")
        ]
        if lacking:
            lines.append(f"{run.names['arch']}: the search is not finished; {lacking[0]}")
            continue
        if not known:
            store.write_json(search_path(run), _search_record(run, rows))
        lines.append(_summary_line(run, rows))
    return lines


def _trial_row(run: Run, number: int) -> dict[str, Any]:
    """One trial: what it took, and what came of it."""
    made = trial_run(replace(run, tune=replace(run.tune, trial=number)))
    folder = store.attempt_folders(made)[-1]
    result = store.read_result(folder)
    scores = {
        metric["name"]: metric["values"][0] for metric in result["metrics"] if metric["values"]
    }
    metric = next((name for name in SCORES if name in scores), "")
    state = "diverged" if result["facts"].get("diverged") else store.run_status(folder)
    reason = result["reason"] or ("" if state in FINISHED else "it has no record")
    row = {"trial": number, "run": folder.name, "status": state, "reason": reason, "metric": metric}
    tokenized = (load_record(folder).provenance.get("digests") or {}).get("data", "")
    taken = {axis: _trial_value(made, axis) for axis in axes(run)}
    return (
        row
        | {
            "score": scores.get(metric),
            "part": result["facts"].get("part", ""),
            "data_digest": tokenized,
        }
        | {"values": taken}
    )


def _trial_value(run: Run, axis: str) -> Any:
    if axis == LEARNING_RATE:
        return run.train.learning_rate
    return (
        getattr(run.optimizer, axis.partition(".")[2])
        if axis.startswith("optimizer.")
        else run.arch[axis]
    )


def _search_record(run: Run, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of a search: whole enough to be read without its trials."""
    about = {
        "arch": run.names["arch"],
        "family": run.arch.get("family", ""),
        "data": run.names["data"],
        "seed": run.tune.seed,
    }
    sizes = {
        "size": run.names["size"],
        "context": run.size.context,
        "steps": run.tune.steps or run.train.steps,
    }
    scored = {
        key: next((row[key] for row in rows if row[key]), "")
        for key in ("metric", "part", "data_digest")
    }
    facts = {
        "batch": run.train.batch,
        "optimizer": run.optimizer.kind,
        "space": axes(run),
        "trials": rows,
    }
    return {"schema": SCHEMA, **about, **sizes, **scored, **facts}


def best_trial(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The trial with the lowest score; None where none has one."""
    scored = [row for row in rows if row["score"] is not None and math.isfinite(row["score"])]
    return min(scored, key=lambda row: row["score"], default=None)


def range_edge(rows: Sequence[Mapping[str, Any]]) -> str:
    """low or high (or both) where no trial with a learning rate beyond the best one's shows that it is the best; else nothing."""
    chosen = best_trial(rows)
    if chosen is None:
        return ""
    rates, at = [row["values"][LEARNING_RATE] for row in rows], chosen["values"][LEARNING_RATE]
    return " and ".join(
        word for word, end in (("low", min(rates)), ("high", max(rates))) if at == end
    )


def _summary_line(run: Run, rows: Sequence[Mapping[str, Any]]) -> str:
    """What a search found, in the words of the architecture's YAML."""
    chosen, name, edges = (
        best_trial(rows[: run.tune.trials]),
        run.names["arch"],
        range_edge(rows[: run.tune.trials]),
    )
    if chosen is None:
        return (
            f"{name}: every trial diverged; lower the range in its YAML, tune.space.{LEARNING_RATE}"
        )
    others = "".join(
        f", {axis} {value}" for axis, value in chosen["values"].items() if axis != LEARNING_RATE
    )
    words = f"{LEARNING_RATE}: {chosen['values'][LEARNING_RATE]:g}, trials: {run.tune.trials}" + (
        f", edge: {edges}" if edges else ""
    )
    steps = run.tune.steps or run.train.steps
    words += f', searched: "size={run.names["size"]}, {steps:,} steps of {run.names["data"]}"'
    ends = " and ".join(f"{word}est" for word in edges.split(" and "))
    doubt = (
        f"; UNTUNED: the {ends} rate tried was the best, widen tune.space.{LEARNING_RATE} or take more trials"
        if edges
        else ""
    )
    return f"{name}: tune: {{{words}}} ({chosen['metric']} {chosen['score']:.4f}{others}){doubt}"


def apply_search(run: Run) -> Run:
    """The run with what its search found; as it is, where there is no such search, or none of its trials came to an end."""
    known = _read_complete(run)
    rows = known["trials"][: run.tune.trials] if known else []
    chosen = best_trial(rows)
    return (
        with_values(replace(run, tune=replace(run.tune, edge=range_edge(rows))), chosen["values"])
        if chosen
        else run
    )


def require_search(run: Run) -> None:
    """Raise UserError for a run that asks for a search and has not got what it found."""
    if run.tune.trials and run.train.learning_rate is None:
        raise UserError(
            f"tune.trials={run.tune.trials}: the search for arch={run.names['arch']} found no learning rate"
        )
