"""Define the configuration of a run: the dataclasses behind conf/."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from bench.config.data_schema import SEEDS, DataConfig, SyntheticConfig
from bench.config.errors import UserError
from bench.config.fields import LATER, choice, option, setting
from bench.config.preference_schema import PreferenceConfig
from bench.config.stage_schema import EvaluateConfig, MeasureConfig
from bench.config.task_schema import TaskConfig

__all__ = [
    "ControlConfig", "DataConfig", "EvaluateConfig", "MeasureConfig", "ObjectiveConfig",
    "OptimizerConfig", "PreferenceConfig", "Run", "SizeConfig", "SyntheticConfig", "TaskConfig",
    "TrainConfig", "TuneConfig",
]  # fmt: skip

# keys of an architecture's YAML that are not arguments of its constructor
RESERVED_KEYS = ("_target_", "family", "card", "tune")


@dataclass
class SizeConfig:
    """Set the budget from which the width of every architecture is solved."""

    parameters: int = option(800_000, "number of parameters, as `count` counts them", (1, 10**12))
    context: int = option(128, "tokens per training sequence", (2, 1_000_000))
    match: str = choice("parameters state", "what is equal; state: bytes at the full context")
    count: str = choice(
        "all without_embedding in_products",
        "which parameters count; in_products: those in matrix products",
        LATER,
    )
    state_bytes: int = option(0, "match=state: bytes of one sequence's state", (0, 10**12), LATER)


@dataclass
class ObjectiveConfig:
    """Choose what is trained."""

    kind: str = choice("auto causal masked", "auto: causal where possible")
    masking: str = choice(
        "uniform fixed", "uniform: 1..L masks, equally likely; fixed: share `rate`, as BERT"
    )
    rate: float = option(0.15, "masking=fixed: share of masked positions", (0.01, 0.99))


@dataclass
class TrainConfig:
    """Configure the training that all architectures share, apart from the learning rate."""

    steps: int = option(1000, "optimizer steps", (1, 10**9))
    batch: int = option(8, "sequences per step", (1, 10**6))
    accumulate: int = option(1, "micro-batches per step", (1, 10**6))
    learning_rate: float | None = option(None, "default: that of the architecture", (1e-8, 10.0))
    final_rate: float = option(0.0, "share of the learning rate at the last step", (0.0, 1.0))
    warmup: int = option(100, "steps of linear warm-up", (0, 10**9))
    schedule: str = choice("linear cosine constant", "decay of the learning rate")
    clip: float = option(1.0, "maximum gradient norm; 0: no clipping", (0.0, 10**6))
    match: str = choice(
        "tokens flops seconds",
        "tokens: equal steps; flops, seconds: steps planned from `budget` before training",
    )
    budget: float = setting(0.0, "training FLOPs, or seconds at the measured rate", (0.0, 1e30))
    planned: int = setting(0, "set by the plan: steps for match=flops or seconds", (0, 10**9))
    precision: str = choice(
        "auto float32 tf32 bfloat16",
        "auto: bfloat16 on a GPU that supports it, else float32; tf32: CUDA only",
    )
    compile: str = choice(
        "none default reduce-overhead",
        "mode of torch.compile; reduce-overhead: for small models on CUDA",
    )
    device: str = choice("auto cpu cuda", "where to train")
    ranks: int = setting(
        1, "processes that train one model; results differ by rounding", (1, 10**4)
    )
    sharding: str = choice("none fsdp", "none: DDP; fsdp: shard weights and optimizer", False)
    log_every: int = setting(20, "steps between lines of curve.jsonl", (1, 10**9))
    validations: int = setting(10, "evenly spaced validations during training", (0, 10**6))
    checkpoint_seconds: float = setting(300.0, "time between checkpoints", (0.0, 10**9))
    limit_seconds: float | None = setting(
        -1.0,
        "end a run that takes longer; 0 or null: no limit; -1: one without progress for ten times "
        "its estimate, at least ten minutes",
        (-1.0, 10**9),
    )


@dataclass
class OptimizerConfig:
    """Choose the optimizer, the same for every architecture."""

    kind: str = choice("adamw muon", "muon: for matrices of the backbone, AdamW for the rest")
    weight_decay: float = option(0.1, "of matrices", (0.0, 10.0))
    beta1: float = option(0.9, "AdamW: decay of the first moment", (0.0, 0.9999))
    beta2: float = option(0.99, "AdamW: decay of the second moment", (0.0, 0.99999))
    momentum: float = option(0.9, "Muon: momentum", (0.0, 0.9999))


@dataclass
class TuneConfig:
    """Configure the random search for the learning rate. Outside identity."""

    trials: int = option(0, "trials per architecture; 0: use the YAML's learning rate", (0, 10**4))
    steps: int = option(0, "steps per trial; 0: as many as a run", (0, 10**9))
    seed: int = option(1000, "of the search and of every trial; no run may use it", SEEDS)
    finalists: int = option(
        0, "best trials that run again with seed + 1; the lowest mean wins", (0, 10**4)
    )
    trial: int = option(-1, "set by the search: index of this trial", (-1, 10**4 - 1))
    repeat: int = option(0, "set by the search: 1 for the second run of a finalist", (0, 1))
    edge: str = option("", "set by the search: low or high where the best trial is at an edge")


@dataclass
class ControlConfig:
    """Add an A/A control: an architecture of the suite again with other seeds."""

    arch: str = option("", "name of its YAML; empty: no control")
    seeds: list[int] = option([], "its seeds, none of the runs' own")


@dataclass
class Run:
    """Hold the resolved configuration of one run."""

    arch: dict[str, Any] = option({}, "`_target_`, options of the constructor, reserved keys")
    data: DataConfig = field(default_factory=DataConfig)
    size: SizeConfig = field(default_factory=SizeConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    preference: PreferenceConfig = field(default_factory=PreferenceConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    names: dict[str, str] = option({}, "filled in: the chosen YAML of each group")
    base: str = option("", "folder of a finished run to start from, in place of the keys above")
    seed: int = option(0, "of initialization, data order and dropout", SEEDS)
    suite: str = option("single", "name of the suite: the folder below `results`")
    results: str = option("results", "folder of all suites")
    again: str = choice("none failed all", "which finished runs to train again")
    threads: int = option(1, "CPU threads per process", (1, 1024))
    decode: str = choice(
        "auto eager compiled",
        "form of the one-token step that is measured; auto: compiled too with measure=full",
        False,
    )
    figures: str = choice("svg pdf png none", "format of the report's figures")
    dry: bool = option(False, "show what would be run, with its cost, and stop")


def constructor_options(arch: Mapping[str, Any]) -> dict[str, Any]:
    """Return an architecture's keys without the reserved ones."""
    return {key: value for key, value in arch.items() if key not in RESERVED_KEYS}


def resolve_learning_rate(run: Run) -> float:
    """Return the run's learning rate, else its architecture's. Raise UserError without one."""
    if run.train.learning_rate is not None:
        return run.train.learning_rate
    tuned = tuned_learning_rate(run.arch, run.optimizer.kind)
    if tuned is None:
        name = run.names.get("arch", "?")
        raise UserError(
            f"arch={name} has no tune.learning_rate for {run.optimizer.kind}: "
            "add it to its YAML, or give train.learning_rate=…",
            "no-learning-rate",
        )
    return tuned


def tuned_learning_rate(arch: Mapping[str, Any], optimizer: str) -> float | None:
    """Return the learning rate that an architecture's YAML gives for an optimizer, if any."""
    rates = (arch.get("tune") or {}).get("learning_rate")
    rate = rates.get(optimizer) if isinstance(rates, Mapping) else rates
    return float(rate) if isinstance(rate, int | float) else None


def is_control(control: ControlConfig, arch: str, seed: int) -> bool:
    """Tell whether a run of this architecture and seed belongs to the A/A control."""
    return arch == control.arch and seed in control.seeds


def run_from_dict(tree: Mapping[str, Any]) -> Run:
    """Return the run of a config.yaml's values; ignore keys that this version does not have."""
    return _from_dict(Run, tree)


def _from_dict(kind: Any, tree: Mapping[str, Any]) -> Any:
    values = {each.name: tree[each.name] for each in fields(kind) if each.name in tree}
    nested = {e.name: e.type for e in fields(kind) if e.name in values and is_dataclass(e.type)}
    return kind(**values | {name: _from_dict(of, values[name]) for name, of in nested.items()})
