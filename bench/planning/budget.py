"""How long each architecture trains where all get equal FLOPs or seconds: planned before the start, stored, and read again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.errors import UserError
from bench.config.identity import digest, subject
from bench.config.schema import Run
from bench.records import store, tables
from bench.records.metric import TRAINING
from bench.system import files, host

SCHEMA = 1
LONGEST = 10**9  # steps


class Rate(NamedTuple):
    """Training tokens a second, and the sitting that measured it."""

    tokens_per_second: float
    sitting: str


def place(run: Run) -> Path:
    """The file of a run's plan. Its name holds what a step costs and the budget, but neither seed nor learning rate."""
    name = f"{run.names['arch']}-{digest([subject(run), run.train.match, run.train.budget])}.json".replace(
        "/", "_"
    )
    return Path(run.results) / run.suite / "plans" / name


def planned(run: Run) -> Run:
    """The run with the steps that were planned for it; as it is where none are, or none are to be."""
    if run.train.match == "tokens":
        return run
    plan = store.read_json(place(run))
    if not isinstance(plan, dict) or plan.get("machine", here := host.machine_digest()) != here:
        return run  # seconds at a rate of another machine are none here
    return replace(run, train=replace(run.train, steps=plan["steps"], planned=plan["steps"]))


def confirm(run: Run) -> None:
    """Raise UserError for a run whose length was to be planned and was not."""
    if run.train.match != "tokens" and run.train.planned != run.train.steps:
        lacks = f"{place(run)} holds no plan of {run.train.steps:,} steps for this machine"
        raise UserError(f"train.match={run.train.match}: {lacks}; give the command again")


def make(runs: Sequence[Run], keep: bool = True) -> list[Run]:
    """The runs with their lengths planned. What is new is stored, unless it is not to be kept. Raises UserError, before any work.

    What can not be built stays as it is: its own record says why.
    """
    open_runs = {
        place(run): run
        for run in reversed(runs)
        if run.train.match != "tokens" and planned(run).train.planned == 0
    }
    rates = (
        measured(Path(runs[0].results) / runs[0].suite)
        if any(r.train.match == "seconds" for r in open_runs.values())
        else {}
    )
    made: dict[Path, dict[str, Any]] = {}
    for path, run in open_runs.items():
        if (plan := _plan(run, rates)) is not None:
            made[path] = plan
    for path, plan in made.items() if keep else ():
        files.check_writable(path.parent)
        store.write_json(path, plan)
    new = {path: plan["steps"] for path, plan in made.items()}
    return [
        replace(run, train=replace(run.train, steps=new[place(run)], planned=new[place(run)]))
        if place(run) in new
        else planned(run)
        for run in runs
    ]


def _plan(run: Run, rates: Mapping[str, Rate]) -> dict[str, Any] | None:
    """The plan of one run: the steps that its budget pays for, rounded down; None for what can not be built."""
    tokens = run.train.batch * run.size.context
    if run.train.match == "seconds":
        rate = rates.get(subject(run))
        if rate is None:
            raise UserError(_unmeasured(run))
        cost, basis = (
            tokens / rate.tokens_per_second,
            {"tokens_per_second": rate.tokens_per_second, "sitting": rate.sitting},
        )
        basis["machine"] = host.machine_digest()
    else:
        forward = flops_per_token(run)
        if forward is None:
            return None
        cost, basis = TRAINING * forward * tokens, {"forward_flops_per_token": forward}
    steps = int(run.train.budget / cost)
    unit = {"flops": "FLOPs", "seconds": "seconds"}[run.train.match]
    about = f"train.budget={run.train.budget:g} {unit}"
    if steps < 1:
        raise UserError(
            f"{about} can not be reached: one step of arch={run.names['arch']} costs {cost:.3g}; give more"
        )
    if steps > LONGEST:
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
        "subject": subject(run),
        "tokens_of_a_step": tokens,
        **numbers,
        **basis,
    }


def _unmeasured(run: Run) -> str:
    where = Path(run.results) / run.suite / "measure"
    known = f"no training rate of arch={run.names['arch']} on this machine lies in {where}"
    return f"train.match=seconds: {known}; python -m bench.measure with the same words measures it"


def flops_per_token(run: Run) -> float | None:
    """Forward FLOPs a token, by formula, at the run's own width; None where its budget has no width. Allocates nothing."""
    from architectures.interface import Unsupported
    from bench import data
    from bench.model import language_model, sizing

    try:
        vocabulary = data.prepare(run.data, run.names["data"]).vocabulary.size
        width = sizing.fitting_width(run.arch, run.size, vocabulary)
    except (language_model.CannotBuild, Unsupported):
        return None
    return sizing.sketch(run.arch, width, run.size.context, vocabulary).flops(run.size.context)


def measured(root: Path) -> dict[str, Rate]:
    """Training rates by subject on this machine, at the runs' own length and batch: medians of the sitting that counts."""
    measures = tables.in_standing(tables.read(root).measures)
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
        str(subject): Rate(float(row["value"]), str(row["sitting"]))
        for subject, row in medians.iterrows()
    }
