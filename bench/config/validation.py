"""Check a run's values against the ranges and choices of its fields, and against each other."""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

from bench.config.data_schema import WINDOW_SOURCES
from bench.config.errors import UserError, nearest
from bench.config.fields import Span, walk_fields
from bench.config.schema import Run, resolve_learning_rate
from bench.config.task_schema import NO_TASK

FIELDS = dict(walk_fields(Run))  # dotted key -> field
CHOICES: dict[str, tuple[str, ...]] = {
    key: field.metadata["choices"] for key, field in FIELDS.items() if field.metadata["choices"]
}
RANGES: dict[str, Span] = {  # both ends are allowed
    key: field.metadata["within"] for key, field in FIELDS.items() if field.metadata["within"]
}
# reserved keys of an architecture's YAML: type, and the type in words
RESERVED_KEY_TYPES: dict[str, tuple[Any, str]] = {
    "family": (str, "a word"),
    "card": (Mapping, "summary and paper"),
    "card.summary": (str, "text"),
    "card.paper": (str, "text"),
    "tune": (Mapping, "learning_rate and the settings of its search"),
    "tune.space": (Mapping, "names with the two ends of a range, or with choices"),
    "tune.trials": (int, "an integer"),
    "tune.searched": (str, "text"),
    "tune.edge": (str, "low or high"),
}


def validate_run(run: Run) -> None:
    """Raise UserError for the first value that is not allowed."""
    _check_fields(run)
    _check_architecture(run.names.get("arch", "?"), run.arch)
    for conflicts in CONFLICTS:
        for message in conflicts(run):
            raise UserError(message, "conflicting-values")
    if not run.tune.trials and run.tune.trial < 0:  # otherwise the search sets it
        resolve_learning_rate(run)


def _check_fields(run: Run) -> None:
    for key, choices in CHOICES.items():
        value = attrgetter(key)(run)
        if value not in choices:
            hint = nearest(str(value), choices)
            raise UserError(f"{key}={value} is not known; {hint}", "unknown-choice")
    for key, (low, high) in RANGES.items():
        value = attrgetter(key)(run)
        for number in value if isinstance(value, list) else [value]:
            if number is not None and not low <= number <= high:  # NaN fails too
                raise UserError(f"{key}={value} is out of range: choose {low:g} to {high:g}")
    if not run.results.strip():
        raise UserError("results= is empty: omit it, or name a folder")


def _check_architecture(name: str, arch: Mapping[str, Any]) -> None:
    """Raise UserError where a reserved key of an architecture's YAML has the wrong type."""
    if not isinstance(arch.get("_target_"), str):
        raise UserError(
            f"arch={name} has no _target_: name the class, as in _target_: my_module.MyBackbone",
            "invalid-architecture",
        )
    for key, (kind, description) in RESERVED_KEY_TYPES.items():
        group, _, last = key.rpartition(".")
        value = ((arch.get(group) or {}) if group else arch).get(last)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UserError(f"arch={name}: {key}={value} must be {description}: fix its YAML")
    _check_tuned_rates(name, (arch.get("tune") or {}).get("learning_rate"))


def _check_tuned_rates(name: str, rates: Any) -> None:
    low, high = RANGES["train.learning_rate"]
    for rate in rates.values() if isinstance(rates, Mapping) else [rates]:
        number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if rate is not None and not (number and low <= rate <= high):  # NaN fails too
            raise UserError(
                f"arch={name}: tune.learning_rate={rate} must be a number from {low:g} to {high:g}:"
                " fix its YAML"
            )


def _basic_conflicts(run: Run) -> Iterator[str]:
    train, control, evaluate = run.train, run.control, run.evaluate
    if evaluate.stride > run.size.context:
        yield (
            f"evaluate.stride={evaluate.stride} skips tokens: "
            f"choose at most size.context={run.size.context}"
        )
    if control.arch and not control.seeds:
        yield (
            f"control.arch={control.arch} has no seeds: "
            "give seeds that no run uses, as in control.seeds=[100,101]"
        )
    if train.batch % train.accumulate:
        yield (f"train.batch={train.batch} is not divisible by train.accumulate={train.accumulate}")


def _parallel_conflicts(run: Run) -> Iterator[str]:
    train = run.train
    if train.batch % (train.ranks * train.accumulate):
        accumulate = f" · train.accumulate={train.accumulate}" * (train.accumulate > 1)
        yield f"train.batch={train.batch} is not divisible by train.ranks={train.ranks}{accumulate}"
    if train.sharding != "none" and train.ranks == 1:
        yield f"train.sharding={train.sharding} needs several processes: give train.ranks=2 or more"
    if train.sharding != "none" and (run.optimizer.kind != "adamw" or train.compile != "none"):
        yield (
            f"train.sharding={train.sharding} needs optimizer=adamw and train.compile=none: "
            "Muon and torch.compile need unsharded matrices"
        )
    if train.ranks > 1 and train.compile == "reduce-overhead":
        yield (
            "train.compile=reduce-overhead supports one process only: "
            "use train.compile=default or train.ranks=1"
        )


def _budget_conflicts(run: Run) -> Iterator[str]:
    size, train = run.size, run.train
    if (size.match == "state") != (size.state_bytes > 0):
        yield (
            f"size.match={size.match} does not fit size.state_bytes={size.state_bytes}: "
            "give both, or neither"
        )
    if size.match == "state" and size.count != "all":
        yield f"size.count={size.count} has no effect with size.match=state: omit it"
    if (train.match != "tokens") != (train.budget > 0):
        unit = {"flops": "FLOPs per run", "seconds": "seconds per run"}.get(train.match)
        needed = f"give a budget in {unit}" if unit else "train.steps is its budget"
        yield f"train.match={train.match} does not fit train.budget={train.budget:g}: {needed}"


def _search_conflicts(run: Run) -> Iterator[str]:
    train, tune = run.train, run.tune
    if not tune.trials:
        return
    if train.learning_rate is not None and tune.trial < 0:
        yield (
            f"train.learning_rate={train.learning_rate:g} leaves nothing to search for "
            f"tune.trials={tune.trials}: give one of the two"
        )
    if tune.steps and train.match != "tokens":
        yield (
            f"tune.steps={tune.steps} does not fit train.match={train.match}: "
            "omit it, trials are then as long as runs"
        )
    if tune.finalists > tune.trials:
        yield (
            f"tune.finalists={tune.finalists} are more than tune.trials={tune.trials}: "
            "finalists are the best of the trials"
        )
    if tune.trial < 0 and run.seed in (tune.seed, tune.seed + bool(tune.finalists)):
        yield (
            f"seed={run.seed} is a seed of the trials: "
            "runs need another one; change it or tune.seed"
        )


def _data_conflicts(run: Run) -> Iterator[str]:
    data, source = run.data, run.data.synthetic
    is_synthetic = data.source == "synthetic"
    if is_synthetic != (source.kind != "none"):
        yield (
            f"data.source={data.source} does not fit data.synthetic.kind={source.kind}: "
            "use data=markov or another synthetic source"
        )
    if is_synthetic != (data.tokenizer == "symbols"):
        yield (
            f"data.tokenizer={data.tokenizer} does not fit data.source={data.source}: "
            "symbols is the tokenizer of synthetic sources"
        )
    if is_synthetic and run.evaluate.protocol != "chunk":
        yield (
            f"evaluate.protocol={run.evaluate.protocol} does not fit a synthetic source: "
            "regret is computed on adjacent windows, so use chunk"
        )
    if source.kind in WINDOW_SOURCES and source.length != run.size.context:
        yield (
            f"data.synthetic.length={source.length} differs from size.context={run.size.context}: "
            "each window has to be one sequence"
        )


def _task_conflicts(run: Run) -> Iterator[str]:
    task = run.task
    if task.kind == NO_TASK:
        return
    if task.frozen and task.kind != "classification":
        yield "task.frozen=true trains a head alone, and only a classification has one: omit it"
    if task.kind == "pairs" and (task.start == "self" or task.trials):
        yield "minimal pairs are judged without training: omit task.start=self and task.trials"
    if task.trials and task.learning_rate is not None:
        yield "task.trials tries learning rates, and task.learning_rate gives one: omit one of them"
    if run.preference.enabled:
        yield "a run has a task or preferences: give task=… and preference=… in two commands"
    if run.data.source == "synthetic":
        yield (
            f"data={run.names.get('data', 'synthetic')} has symbols, which are not text: give a "
            "task a run that was trained on text"
        )


CONFLICTS = (
    _task_conflicts,
    _basic_conflicts,
    _parallel_conflicts,
    _budget_conflicts,
    _search_conflicts,
    _data_conflicts,
)
