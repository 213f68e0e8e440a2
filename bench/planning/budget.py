"""Plan the steps of each run from an equal budget of FLOPs or seconds; store the plans."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.errors import UserError
from bench.config.identity import digest, workload_id
from bench.config.schema import Run
from bench.records import store
from bench.records.metrics import TRAINING_FLOPS_FACTOR
from bench.records.record_files import first_mismatch
from bench.records.schema import PLAN
from bench.system import files, host

SCHEMA = 1
MAX_STEPS = 10**9
UNITS = {"flops": "FLOPs", "seconds": "seconds"}


class TrainingRate(NamedTuple):
    """Training tokens per second, and the session that measured it."""

    tokens_per_second: float
    sitting: str


def plan_path(run: Run) -> Path:
    """Return the file of a run's plan, named by workload and budget, not by seed or rate."""
    key = digest([workload_id(run), run.train.match, run.train.budget])
    name = f"{run.names['arch']}-{key}.json".replace("/", "_")
    return Path(run.results) / run.suite / "plans" / name


def apply_plan(run: Run) -> Run:
    """Return the run with its planned steps, or unchanged where it has no plan or needs none."""
    if run.train.match == "tokens":
        return run
    plan = _read_plan(plan_path(run))
    if not plan or plan.get("machine") not in (None, host.machine_digest()):
        return run  # rates of another machine do not apply
    return _with_steps(run, plan["steps"])


def _read_plan(path: Path) -> dict[str, Any]:
    """Return a stored plan; nothing where it is missing or damaged: it is made anew."""
    plan = store.read_json(path)
    valid = not first_mismatch(plan, PLAN) and 1 <= plan["steps"] <= MAX_STEPS
    return plan if valid else {}


def _with_steps(run: Run, steps: int) -> Run:
    return replace(run, train=replace(run.train, steps=steps, planned=steps))


def require_plan(run: Run) -> None:
    """Raise UserError for a run whose length had to be planned and was not."""
    if run.train.match != "tokens" and run.train.planned != run.train.steps:
        raise UserError(
            f"train.match={run.train.match}: {plan_path(run)} holds no plan of "
            f"{run.train.steps:,} steps for this machine; give the command again",
            "no-rate",
        )


def plan_runs(runs: Sequence[Run], keep: bool = True) -> list[Run]:
    """Return the runs with their planned lengths; store new plans unless `keep` is false.

    A run that cannot be built stays unchanged: its own record says why. Raise UserError before
    any training.
    """
    planned = {plan_path(run): run for run in reversed(runs) if run.train.match != "tokens"}
    unplanned = {
        path: run
        for path, run in planned.items()
        if not apply_plan(run).train.planned or _has_other_vocabulary(path, run)
    }
    rates = _rates_for(unplanned.values())
    plans = {path: _make_plan(run, rates) for path, run in unplanned.items()}
    new = {path: plan for path, plan in plans.items() if plan is not None}
    for path, plan in new.items() if keep else ():
        files.check_writable(path.parent)
        store.write_json(path, plan)
    return [
        _with_steps(run, new[path]["steps"]) if (path := plan_path(run)) in new else apply_plan(run)
        for run in runs
    ]


def _rates_for(runs: Iterable[Run]) -> dict[str, TrainingRate]:
    suites = [Path(run.results) / run.suite for run in runs if run.train.match == "seconds"]
    return measured_rates(suites[0]) if suites else {}


def _has_other_vocabulary(path: Path, run: Run) -> bool:
    """Return whether a plan counted FLOPs of another vocabulary than that of the data as it is."""
    from bench import data

    counted = _read_plan(path).get("vocabulary")
    if counted is None:
        return False
    return bool(counted != data.prepare(run.data, run.names["data"]).vocabulary.size)


def _make_plan(run: Run, rates: Mapping[str, TrainingRate]) -> dict[str, Any] | None:
    """Return the plan of a run: the steps that its budget pays for; None if it cannot be built."""
    priced = _step_cost(run, rates)
    if priced is None:
        return None
    cost, basis = priced
    steps, unit = int(run.train.budget / cost), UNITS[run.train.match]
    if not 1 <= steps <= MAX_STEPS:
        hint = "give more" if steps < 1 else "give less"
        raise UserError(
            f"train.budget={run.train.budget:g} {unit} is {steps:,} steps of "
            f"arch={run.names['arch']}, each of {cost:.3g}: {hint}"
        )
    return {
        "schema": SCHEMA,
        "arch": run.names["arch"],
        "subject": workload_id(run),
        "tokens_of_a_step": run.train.batch * run.size.context,
        "match": run.train.match,
        "budget": run.train.budget,
        "unit": unit,
        "cost_of_a_step": cost,
        "steps": steps,
        **basis,
    }


def _step_cost(run: Run, rates: Mapping[str, TrainingRate]) -> tuple[float, dict[str, Any]] | None:
    """Return the cost of one step, and what it was computed from; None if it cannot be built."""
    tokens = run.train.batch * run.size.context
    if run.train.match == "seconds":
        rate = _require_rate(run, rates)
        basis = rate._asdict() | {"machine": host.machine_digest()}
        return tokens / rate.tokens_per_second, basis
    priced = flops_per_token(run)
    if priced is None:
        return None
    forward, vocabulary = priced
    basis = {"forward_flops_per_token": forward, "vocabulary": vocabulary}
    return TRAINING_FLOPS_FACTOR * forward * tokens, basis


def _require_rate(run: Run, rates: Mapping[str, TrainingRate]) -> TrainingRate:
    rate = rates.get(workload_id(run))
    if rate is None:
        raise UserError(
            f"train.match=seconds: no training rate of arch={run.names['arch']} on this machine "
            f"is in {Path(run.results) / run.suite / 'measure'}; measure it by python -m "
            "bench.measure with the same arguments",
            "no-rate",
        )
    return rate


def flops_per_token(run: Run) -> tuple[float, int] | None:
    """Return forward FLOPs per token by formula, and the vocabulary; None without a width."""
    from architectures.interface import Unsupported
    from bench import data, model

    try:
        vocabulary = data.prepare(run.data, run.names["data"]).vocabulary.size
        width = model.width_for_size(run.arch, run.size, vocabulary)
    except (model.ModelBuildError, Unsupported):
        return None
    network = model.build_on_meta(run.arch, width, run.size.context, vocabulary)
    return network.flops(run.size.context), vocabulary


def measured_rates(root: Path) -> dict[str, TrainingRate]:
    """Return training rates by workload on this machine: medians of the session that counts."""
    from bench.records import tables  # slow to import

    measures = tables.by_session_precedence(tables.read_records(root).measures)
    rates = measures[
        (measures["metric"] == "train_tokens_per_second")
        & (measures["axis"] == "")
        & (measures["machine"] == host.machine_digest())
    ]
    medians = rates.groupby(["subject", "sitting"], sort=False)["value"].median().reset_index()
    return {  # later sessions replace earlier ones
        str(row["subject"]): TrainingRate(float(row["value"]), str(row["sitting"]))
        for _, row in medians.iterrows()
    }
