"""Draw the trials of a search: a function of the space, the search's seed and the trial number."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bench.config.errors import UserError, nearest
from bench.config.schema import ControlConfig, OptimizerConfig, Run, constructor_options

TUNE_FOLDER = "tune"  # of a suite: the records of trials and searches
LEARNING_RATE = "learning_rate"
OPTIMIZER = "optimizer."  # prefix of axes that are keys of the optimizer
SIGNIFICANT_DIGITS = 4  # of a drawn number


def axes(run: Run) -> dict[str, Any]:
    """Return what is searched by name: the learning rate, and what else the YAML names.

    A name is `learning_rate`, `optimizer.` and one of its keys, or an option of the architecture.
    A value is the two ends of a range, or `choices`. Raise UserError for anything else.
    """
    name, space = run.names.get("arch", "?"), dict((run.arch.get("tune") or {}).get("space") or {})
    rate = space.pop(LEARNING_RATE, None)
    rate = rate.get(run.optimizer.kind) if isinstance(rate, Mapping) else rate
    if rate is None:
        raise UserError(
            f"arch={name} has no tune.space.{LEARNING_RATE} for {run.optimizer.kind}: add the two "
            "ends of its range to its YAML, as in [1.0e-3, 2.0e-2]",
            "no-learning-rate",
        )
    searchable = _searchable(run)
    space = {LEARNING_RATE: rate, **space}
    for axis, values in space.items():
        if axis not in searchable:
            raise UserError(
                f"arch={name}: tune.space.{axis} cannot be searched; {nearest(axis, searchable)}",
                "unknown-key",
            )
        if not _is_choices(values) and not _is_range(values, positive=axis == LEARNING_RATE):
            raise UserError(
                f"arch={name}: tune.space.{axis}={values} is not a range: give two ends, the lower "
                "first, or choices: […]"
            )
    return space


def _searchable(run: Run) -> set[str]:
    optimizer = {OPTIMIZER + one.name for one in fields(OptimizerConfig)}
    return optimizer | {LEARNING_RATE} | set(constructor_options(run.arch))


def _is_choices(values: Any) -> bool:
    return isinstance(values, Mapping) and set(values) == {"choices"} and bool(values["choices"])


def _is_range(values: Any, positive: bool) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == 2
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        and values[0] < values[1]
        and (values[0] > 0 or not positive)
    )


def draw_trials(run: Run, count: int) -> list[dict[str, Any]]:
    """Return the values of the first `count` trials by axis; raise UserError without optuna."""
    try:
        import optuna
    except ImportError:
        raise UserError(
            "a search needs the package optuna, and it is not installed: pip install "
            "'architecture-bench[tune]'",
            "missing-package",
        ) from None
    kinds, space = optuna.distributions, dict[str, Any]()
    for axis, values in axes(run).items():
        if _is_choices(values):
            space[axis] = kinds.CategoricalDistribution(values["choices"])
        elif all(isinstance(value, int) for value in values):
            space[axis] = kinds.IntDistribution(values[0], values[1])
        else:
            space[axis] = kinds.FloatDistribution(values[0], values[1], log=axis == LEARNING_RATE)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=run.tune.seed))
    return [
        {axis: _rounded(value) for axis, value in study.ask(space).params.items()}
        for _ in range(count)
    ]


def _rounded(value: Any) -> Any:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def with_values(run: Run, values: Mapping[str, Any]) -> Run:
    """Return the run with the values of a trial."""
    others = {axis: value for axis, value in values.items() if axis != LEARNING_RATE}
    arch = {axis: others[axis] for axis in others if not axis.startswith(OPTIMIZER)}
    optimizer = {axis.removeprefix(OPTIMIZER): others[axis] for axis in others if axis not in arch}
    return replace(
        run,
        train=replace(run.train, learning_rate=float(values[LEARNING_RATE])),
        optimizer=replace(run.optimizer, **optimizer),
        arch={**run.arch, **arch},
    )


def value_of(run: Run, axis: str) -> Any:
    """Return what a run has for an axis."""
    if axis == LEARNING_RATE:
        return run.train.learning_rate
    if axis.startswith(OPTIMIZER):
        return getattr(run.optimizer, axis.removeprefix(OPTIMIZER))
    return run.arch[axis]


def trial_run(run: Run) -> Run:
    """Return trial `run.tune.trial`: a run in a folder of its own that never sees a test part.

    `run.tune.repeat` is added to its seed.
    """
    trial = replace(
        run,
        data=replace(run.data, searching=True),
        train=replace(run.train, steps=run.tune.steps or run.train.steps),
        evaluate=replace(run.evaluate, sample_tokens=0, saliency=0),
        measure=replace(run.measure, depth="off"),
        control=ControlConfig(),
        seed=run.tune.seed + run.tune.repeat,
        results=str(Path(run.results) / run.suite),
        suite=TUNE_FOLDER,
    )
    return with_values(trial, draw_trials(run, run.tune.trial + 1)[run.tune.trial])
