"""Which values the keys of a run take, and the check of them. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bench.config.errors import UserError, nearest
from bench.config.schema import Run, resolve_learning_rate

WINDOW_SOURCES = (
    "in_context_markov",
    "recall",
    "dyck",
    "parity",
)  # laws of sequences that fill a window each

CHOICES = {
    "data.source": ("text", "python_docs", "hub", "synthetic"),
    "data.synthetic.kind": ("none", *WINDOW_SOURCES, "markov", "hmm"),
    "data.split": ("auto", "documents", "tail", "given"),
    "data.deduplicate": ("exact", "near"),
    "size.match": ("parameters", "state"),
    "size.count": ("all", "without_embedding", "in_products"),
    "objective.kind": ("auto", "causal", "masked"),
    "objective.masking": ("uniform", "fixed"),
    "optimizer.kind": ("adamw", "muon"),
    "train.schedule": ("linear", "cosine", "constant"),
    "train.match": ("tokens", "flops", "seconds"),
    "train.precision": ("auto", "float32", "tf32", "bfloat16"),
    "train.compile": ("none", "default", "reduce-overhead"),
    "train.device": ("auto", "cpu", "cuda"),
    "train.sharding": ("none", "fsdp"),
    "evaluate.protocol": ("chunk", "stride", "stateful"),
    "measure.depth": ("off", "quick", "full"),
    "again": ("none", "failed", "all"),
}

RANGES: dict[str, tuple[float, float]] = {  # both ends allowed
    "data.vocabulary": (300, 1_000_000),
    "data.documents": (0, 10**12),
    "data.synthetic.symbols": (2, 60_000),
    "data.synthetic.order": (1, 16),
    "data.synthetic.states": (2, 1000),
    "data.synthetic.concentration": (0.001, 1000.0),
    "data.synthetic.pairs": (0, 10**6),
    "data.synthetic.depth": (1, 1000),
    "data.synthetic.length": (0, 1_000_000),
    "data.synthetic.tokens": (1, 10**9),
    "data.synthetic.held_out": (1, 10**9),
    "data.synthetic.seed": (0, 2**31 - 1),
    "size.parameters": (1, 10**12),
    "size.context": (2, 1_000_000),
    "size.state_bytes": (0, 10**12),
    "objective.rate": (0.01, 0.99),
    "train.steps": (1, 10**9),
    "train.budget": (0.0, 1e30),
    "train.planned": (0, 10**9),
    "train.batch": (1, 10**6),
    "train.accumulate": (1, 10**6),
    "train.learning_rate": (1e-8, 10.0),
    "train.final_rate": (0.0, 1.0),
    "train.warmup": (0, 10**9),
    "optimizer.weight_decay": (0.0, 10.0),
    "optimizer.beta1": (0.0, 0.9999),
    "optimizer.beta2": (0.0, 0.99999),
    "optimizer.momentum": (0.0, 0.9999),
    "train.clip": (0.0, 10**6),
    "train.ranks": (1, 10_000),
    "train.log_every": (1, 10**9),
    "train.validations": (0, 10**6),
    "train.checkpoint_seconds": (0.0, 10**9),
    "train.limit_seconds": (0.0, 10**9),
    "tune.trials": (0, 10**4),
    "tune.steps": (0, 10**9),
    "tune.seed": (0, 2**31 - 1),
    "tune.trial": (-1, 10**4 - 1),
    "evaluate.stride": (0, 1_000_000),
    "evaluate.stretches": (0, 10**6),
    "evaluate.windows": (0, 10**6),
    "evaluate.fillings": (0, 10**6),
    "evaluate.pseudo_positions": (2, 10**7),
    "evaluate.sample_tokens": (0, 10**6),
    "evaluate.temperature": (0.0, 100.0),
    "measure.narrow": (0.0001, 1.0),
    "measure.processes": (1, 100),
    "measure.rounds": (2, 10_000),
    "measure.window_seconds": (0.001, 60.0),
    "measure.side_rounds": (0, 10_000),
    "measure.curve_rounds": (1, 10_000),
    "measure.point_seconds": (0.001, 10**6),
    "measure.energy_seconds": (0.0, 10**4),
    "measure.memory_limit": (0, 10**15),
    "measure.limit_seconds": (1.0, 10**6),
    "measure.cap_seconds": (1.0, 10**6),
    "seed": (0, 2**31 - 1),
    "threads": (1, 1024),
}

RESERVED_KEY_TYPES: dict[
    str, tuple[Any, str]
] = {  # the reserved keys of an architecture's YAML, and what is in them
    "family": (str, "a word"),
    "card": (Mapping, "summary and paper"),
    "card.summary": (str, "a text"),
    "card.paper": (str, "a text"),
    "tune": (Mapping, "a learning_rate and what is known of its search"),
    "tune.space": (Mapping, "names with the two ends of a range, or choices"),
    "tune.trials": (int, "a whole number"),
    "tune.searched": (str, "a text"),
    "tune.edge": (str, "low or high"),
}


def validate_run(run: Run) -> None:
    """Raise UserError for the first value that is out of its range or no known word."""
    values = asdict(run)

    def at(path: str) -> Any:
        value: Any = values
        for part in path.split("."):
            value = value[part]
        return value

    for path, known in CHOICES.items():
        if at(path) not in known:
            raise UserError(f"{path}={at(path)} is not known; {nearest(str(at(path)), known)}")
    for path, (low, high) in RANGES.items():
        value = at(path)
        if value is not None and not low <= value <= high:  # NaN fails too
            raise UserError(f"{path}={value} is out of range: it takes {low:g} to {high:g}")
    if not run.results.strip():
        raise UserError("results= names no folder: leave it out, or name one")
    _check_described(run.names.get("arch", "?"), run.arch)
    for name, least in (("lengths", 2), ("batches", 1)):
        given = getattr(run.measure, name)
        if any(value < least for value in given):
            raise UserError(f"measure.{name}={given} is out of range: each takes {least} or more")
    if run.evaluate.stride > run.size.context:
        raise UserError(
            f"evaluate.stride={run.evaluate.stride} leaves tokens out: at most size.context={run.size.context}"
        )
    if run.control.arch and not run.control.seeds:
        raise UserError(
            f"control.arch={run.control.arch} has no seeds: give it other ones than the runs have, control.seeds=[100,101]"
        )
    if run.train.batch % run.train.accumulate:
        raise UserError(
            f"train.batch={run.train.batch} does not divide into train.accumulate={run.train.accumulate} micro-batches"
        )
    _check_ranks(run)
    _check_budgets(run)
    if not run.tune.trials and run.tune.trial < 0:  # a search finds it
        resolve_learning_rate(run)
    _check_law(run)


def _check_described(name: str, arch: Mapping[str, Any]) -> None:
    """Raise UserError where a reserved key of an architecture's YAML is of another kind than what reads it, hours later, takes."""
    if not isinstance(arch.get("_target_"), str):
        raise UserError(
            f"arch={name} has no _target_: name the class, as in _target_: my_module.MyBackbone"
        )
    for path, (kind, wanted) in RESERVED_KEY_TYPES.items():
        group, _, key = path.rpartition(".")
        value = ((arch.get(group) or {}) if group else arch).get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UserError(f"arch={name}: {path}={value} must be {wanted}: mend its YAML")
    found = (arch.get("tune") or {}).get("learning_rate")
    low, high = RANGES["train.learning_rate"]
    for rate in found.values() if isinstance(found, Mapping) else [found]:
        known = isinstance(rate, int | float) and not isinstance(rate, bool)
        if rate is not None and not (known and low <= rate <= high):  # NaN fails too
            raise UserError(
                f"arch={name}: tune.learning_rate={rate} must be a number from {low:g} to {high:g}: mend its YAML"
            )


def _check_law(run: Run) -> None:
    """Raise UserError where source and law do not go together, or where windows would not be the law's sequences."""
    synthetic = run.data.synthetic
    if (run.data.source == "synthetic") != (synthetic.kind != "none"):
        raise UserError(
            f"data.source={run.data.source} does not go with data.synthetic.kind={synthetic.kind}: take data=markov or another"
        )
    if (run.data.source == "synthetic") != (run.data.tokenizer == "symbols"):
        raise UserError(
            f"data.tokenizer={run.data.tokenizer} does not go with data.source={run.data.source}: symbols are of synthetic ones"
        )
    if run.data.source == "synthetic" and run.evaluate.protocol != "chunk":
        raise UserError(
            f"evaluate.protocol={run.evaluate.protocol} on a known law: regret is of windows side by side, so take chunk"
        )
    if synthetic.kind in WINDOW_SOURCES and synthetic.length != run.size.context:
        raise UserError(
            f"data.synthetic.length={synthetic.length} is not size.context={run.size.context}: here each window is one sequence"
        )


def _check_ranks(run: Run) -> None:
    train = run.train
    if train.batch % (train.ranks * train.accumulate):
        pieces = f"train.ranks={train.ranks}" + f" times train.accumulate={train.accumulate}" * (
            train.accumulate > 1
        )
        raise UserError(f"train.batch={train.batch} does not divide into {pieces} pieces")
    if train.sharding != "none" and train.ranks == 1:
        raise UserError(
            f"train.sharding={train.sharding} spreads a model over several processes: give train.ranks=2 or more"
        )
    if train.sharding != "none" and (run.optimizer.kind != "adamw" or train.compile != "none"):
        other = "Muon and torch.compile need matrices whole"
        raise UserError(
            f"train.sharding={train.sharding} goes with optimizer=adamw and train.compile=none: {other}"
        )
    if train.ranks > 1 and train.compile == "reduce-overhead":
        raise UserError(
            "train.compile=reduce-overhead is for one process: use train.compile=default, or train.ranks=1"
        )


def _check_budgets(run: Run) -> None:
    """Raise UserError for a budget that is not stated, or not asked for, and for a search that can not mean what it says."""
    size, train, tune = run.size, run.train, run.tune
    if (size.match == "state") != (size.state_bytes > 0):
        raise UserError(
            f"size.match={size.match} and size.state_bytes={size.state_bytes} do not go together: give both, or neither"
        )
    if size.match == "state" and size.count != "all":
        raise UserError(
            f"size.count={size.count} counts parameters, and size.match=state matches none: leave it out"
        )
    if (train.match != "tokens") != (train.budget > 0):
        unit = {
            "tokens": "none: train.steps is its budget",
            "flops": "FLOPs a run",
            "seconds": "seconds a run",
        }[train.match]
        raise UserError(
            f"train.match={train.match} and train.budget={train.budget:g} do not go together: it takes {unit}"
        )
    if not tune.trials:
        return
    if train.learning_rate is not None and tune.trial < 0:
        raise UserError(
            f"train.learning_rate={train.learning_rate:g} leaves tune.trials={tune.trials} nothing to find: give one of the two"
        )
    if tune.steps and train.match != "tokens":
        raise UserError(
            f"tune.steps={tune.steps} is no budget of train.match={train.match}: leave it out, trials are then as long as runs"
        )
    if tune.trial < 0 and run.seed == tune.seed:
        raise UserError(
            f"seed={run.seed} belongs to the trials: runs are trained on fresh seeds; take another, or give tune.seed=…"
        )
