"""How long each architecture trains where all get equal FLOPs or seconds: planned before the start, stored, and read again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.errors import UserError
from bench.config.identity import digest, workload_id
from bench.config.schema import Run
from bench.records import store, tables
from bench.records.metrics import TRAINING_FLOPS_FACTOR
from bench.system import files, host

SCHEMA = 1
MAX_STEPS = 10**9  # steps


class TrainingRate(NamedTuple):
    """Training tokens a second, and the sitting that measured it."""

    tokens_per_second: float
    sitting: str


def plan_path(run: Run) -> Path:
    """The file of a run's plan. Its name holds what a step costs and the budget, but neither seed nor learning rate."""
    name = f"{run.names['arch']}-{digest([workload_id(run), run.train.match, run.train.budget])}.json".replace(
        "/", "_"
    )
    return Path(run.results) / run.suite / "plans" / name


def apply_plan(run: Run) -> Run:
    """The run with the steps that were planned for it; as it is where none are, or none are to be."""
    if run.train.match == "tokens":
        return run
    plan = store.read_json(plan_path(run))
    if not isinstance(plan, dict) or plan.get("machine", here := host.machine_digest()) != here:
        return run  # seconds at a rate of another machine are none here
    return replace(run, train=replace(run.train, steps=plan["steps"], planned=plan["steps"]))


def require_plan(run: Run) -> None:
    """Raise UserError for a run whose length was to be planned and was not."""
    if run.train.match != "tokens" and run.train.planned != run.train.steps:
        lacks = f"{plan_path(run)} holds no plan of {run.train.steps:,} steps for this machine"
        raise UserError(f"train.match={run.train.match}: {lacks}; give the command again")


def plan_runs(runs: Sequence[Run], keep: bool = True) -> list[Run]:
    """The runs with their lengths planned. What is new is stored, unless it is not to be kept. Raises UserError, before any work.

    What can not be built stays as it is: its own record says why.
    """
    open_runs = {
        plan_path(run): run
        for run in reversed(runs)
        if run.train.match != "tokens" and apply_plan(run).train.planned == 0
    }
    rates = (
        measured_rates(Path(runs[0].results) / runs[0].suite)
        if any(r.train.match == "seconds" for r in open_runs.values())
        else {}
    )
    made: dict[Path, dict[str, Any]] = {}
    for path, run in open_runs.items():
        if (plan := _make_plan(run, rates)) is not None:
            made[path] = plan
    for path, plan in made.items() if keep else ():
        files.check_writable(path.parent)
        store.write_json(path, plan)
    new = {path: plan["steps"] for path, plan in made.items()}
    return [
        replace(
            run, train=replace(run.train, steps=new[plan_path(run)], planned=new[plan_path(run)])
        )
        if plan_path(run) in new
        else apply_plan(run)
        for run in runs
    ]


def _make_plan(run: Run, rates: Mapping[str, TrainingRate]) -> dict[str, Any] | None:
    """The plan of one run: the steps that its budget pays for, rounded down; None for what can not be built."""
    tokens = run.train.batch * run.size.context
    if run.train.match == "seconds":
        rate = rates.get(workload_id(run))
        if rate is None:
            raise UserError(_no_rate_message(run))
        cost, basis = (
            tokens / rate.tokens_per_second,
            {"tokens_per_second": rate.tokens_per_second, "sitting": rate.sitting},
        )
        basis["machine"] = host.machine_digest()
    else:
        forward = flops_per_token(run)
        if forward is None:
            return None
        cost, basis = TRAINING_FLOPS_FACTOR * forward * tokens, {"forward_flops_per_token": forward}
    steps = int(run.train.budget / cost)
    unit = {"flops": "FLOPs", "seconds": "seconds"}[run.train.match]
    about = f"train.budget={run.train.budget:g} {unit}"
    if steps < 1:
        raise UserError(
            f"{about} can not be reached: one step of arch={run.names['arch']} costs {cost:.3g}; give more"
        )
    if steps > MAX_STEPS:
        raise UserError(
            f"{about} is out of range: {steps:,} steps of arch={run.names['arch']}; give less"
        )
    numbers = {
        "match": run.train.match,
        "budget": run.train.budget,
        "unit": unit,
        "cost_of_a_step": cost,
        "steps": steps,
    }
    return {
        "schema": SCHEMA,
        "arch": run.names["arch"],
        "subject": workload_id(run),
        "tokens_of_a_step": tokens,
        **numbers,
        **basis,
    }


def _no_rate_message(run: Run) -> str:
    where = Path(run.results) / run.suite / "measure"
    known = f"no training rate of arch={run.names['arch']} on this machine lies in {where}"
    return f"train.match=seconds: {known}; python -m bench.measure with the same words measures it"


def flops_per_token(run: Run) -> float | None:
    """Forward FLOPs a token, by formula, at the run's own width; None where its budget has no width. Allocates nothing."""
    from architectures.interface import Unsupported
    from bench import data, model

    try:
        vocabulary = data.prepare(run.data, run.names["data"]).vocabulary.size
        width = model.width_for_size(run.arch, run.size, vocabulary)
    except (model.ModelBuildError, Unsupported):
        return None
    return model.build_on_meta(run.arch, width, run.size.context, vocabulary).flops(
        run.size.context
    )


def measured_rates(root: Path) -> dict[str, TrainingRate]:
    """Training rates by subject on this machine, at the runs' own length and batch: medians of the sitting that counts."""
    measures = tables.by_session_precedence(tables.read_records(root).measures)
    rates = measures[(measures["metric"] == "train_tokens_per_second") & (measures["axis"] == "")]
    here = rates[rates["machine"] == host.machine_digest()]
    medians = (
        here.groupby(["subject", "sitting"], sort=False)["value"]
        .median()
        .reset_index()
        .groupby("subject")
        .last()
    )
    return {
        str(subject): TrainingRate(float(row["value"]), str(row["sitting"]))
        for subject, row in medians.iterrows()
    }
