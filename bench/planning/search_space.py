"""What a trial takes: a pure function of the architecture's space, the search's seed and the trial's number."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bench.config.errors import UserError, nearest
from bench.config.schema import ControlConfig, OptimizerConfig, Run, constructor_options

TUNE_FOLDER = "tune"  # of a suite: the trials' records, and what they found
LEARNING_RATE = "learning_rate"
SIGNIFICANT_DIGITS = 4  # of a number that is drawn


def axes(run: Run) -> dict[str, Any]:
    """What is searched, by name: the learning rate always, then what else the architecture's YAML names. Raises UserError.

    A name is `learning_rate`, `optimizer.` and one of its keys, or an option of the architecture. It has two ends, or `choices`.
    """
    name, given = run.names.get("arch", "?"), dict((run.arch.get("tune") or {}).get("space") or {})
    rate = given.pop(LEARNING_RATE, None)
    rate = rate.get(run.optimizer.kind) if isinstance(rate, Mapping) else rate
    if rate is None:
        where = f"tune.space.{LEARNING_RATE} for {run.optimizer.kind}"
        raise UserError(
            f"arch={name} names no {where}: add the two ends of its range to its YAML, as in [1.0e-3, 2.0e-2]"
        )
    found = {LEARNING_RATE: rate, **given}
    for axis, values in found.items():
        known = (
            {f"optimizer.{f.name}" for f in fields(OptimizerConfig)}
            | set(constructor_options(run.arch))
            | {LEARNING_RATE}
        )
        if axis not in known:
            raise UserError(
                f"arch={name}: tune.space.{axis} can not be searched; {nearest(axis, known)}"
            )
        if not _is_choices(values) and not _is_range(values, positive=axis == LEARNING_RATE):
            raise UserError(
                f"arch={name}: tune.space.{axis}={values} is no range: give two ends, the lower first, or choices: […]"
            )
    return found


def _is_choices(values: Any) -> bool:
    return isinstance(values, Mapping) and set(values) == {"choices"} and bool(values["choices"])


def _is_range(values: Any, positive: bool) -> bool:
    """Whether these are the two ends of a range, the lower first."""
    numbers = isinstance(values, list | tuple) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
    return (
        numbers and len(values) == 2 and values[0] < values[1] and (values[0] > 0 or not positive)
    )


def draw_trials(run: Run, trials: int) -> list[dict[str, Any]]:
    """What the first trials of a search take, by the names of its axes. Raises UserError where the library is missing."""
    try:
        import optuna
    except ImportError:
        raise UserError(
            "a search needs the package optuna, and it is not installed: pip install 'architecture-bench[tune]'"
        ) from None
    kinds = optuna.distributions
    made: dict[str, Any] = {}
    for axis, values in axes(run).items():
        if _is_choices(values):
            made[axis] = kinds.CategoricalDistribution(values["choices"])
        elif all(isinstance(value, int) for value in values):
            made[axis] = kinds.IntDistribution(values[0], values[1])
        else:
            made[axis] = kinds.FloatDistribution(values[0], values[1], log=axis == LEARNING_RATE)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=run.tune.seed))
    return [
        {axis: _rounded(value) for axis, value in study.ask(made).params.items()}
        for _ in range(trials)
    ]


def _rounded(value: Any) -> Any:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def with_values(run: Run, values: Mapping[str, Any]) -> Run:
    """The run with what was drawn, or found."""
    train = replace(run.train, learning_rate=float(values[LEARNING_RATE]))
    inner = {
        axis.partition(".")[2]: value
        for axis, value in values.items()
        if axis.startswith("optimizer.")
    }
    outer = {
        axis: value
        for axis, value in values.items()
        if axis != LEARNING_RATE and not axis.startswith("optimizer.")
    }
    return replace(
        run, train=train, optimizer=replace(run.optimizer, **inner), arch={**run.arch, **outer}
    )


def trial_run(run: Run) -> Run:
    """The trial that `run.tune.trial` numbers: a run like any other, in a folder of its own, that never sees a test part."""
    shorter = replace(
        run,
        data=replace(run.data, searching=True),
        train=replace(run.train, steps=run.tune.steps or run.train.steps),
        evaluate=replace(run.evaluate, sample_tokens=0),
        measure=replace(run.measure, depth="off"),
        control=ControlConfig(),
        seed=run.tune.seed,
        results=str(Path(run.results) / run.suite),
        suite=TUNE_FOLDER,
    )
    return with_values(shorter, draw_trials(run, run.tune.trial + 1)[run.tune.trial])
