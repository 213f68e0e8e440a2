"""What a run is: the dataclasses behind conf/. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bench.config.errors import UserError

RESERVED_KEYS = (
    "_target_",
    "family",
    "card",
    "tune",
)  # keys of an architecture's YAML that are not its constructor's


def aside(default: Any) -> Any:
    """A field that does not change what is trained, and so stands outside a run's identity."""
    return field(default=default, metadata={"identity": False})


def later(default: Any) -> Any:
    """A field that older records do not have: it counts for a run's identity where it is not its default, and they stay found."""
    return field(default=default, metadata={"identity": "later"})


@dataclass
class SyntheticConfig:
    """A source whose best possible loss is known: its law, and how much is drawn by it."""

    kind: str = "none"  # markov | hmm | in_context_markov | recall | dyck | parity
    symbols: int = 8
    order: int = 2  # markov: how many symbols back the law looks
    states: int = 32  # hmm: hidden states
    concentration: float = (
        0.5  # of the Dirichlet distributions that rows are drawn from: less is easier to foresee
    )
    pairs: int = 0  # recall: keys with values; 0: one for 16 tokens of context
    depth: int = 8  # dyck: of nesting, at most
    length: int = 0  # of a sequence, where windows are sequences of their own: size.context
    tokens: int = 4_000_000  # of the training part
    held_out: int = 200_000  # of the validation part, and of the test part
    seed: int = 0  # of the law and of what is drawn by it


@dataclass
class DataConfig:
    """Which text, how it is cut into parts, and what a token is."""

    source: str = "text"  # text | python_docs | hub | synthetic
    path: str = ""  # text: a file, a folder or a glob
    column: str = "text"  # the field that holds the text in .jsonl, .parquet and hub sets
    split: str = "auto"  # documents | tail | given: as the hub set comes | auto: tail for a single .txt or .md, else documents
    tokenizer: str = "bytes"  # bytes | characters | bpe | the path of a tokenizer.json | symbols: of synthetic sources
    vocabulary: int = 4096  # tokens that `bpe` learns
    deduplicate: str = (
        "exact"  # exact | near: a document that shares over 20 % of its 13-word runs goes
    )
    repository: str = ""  # hub: the set's name, or name@revision; or a local folder
    subset: str = ""  # hub: the configuration's name
    parts: dict[str, str] = field(
        default_factory=dict
    )  # hub: our part -> the set's split expression
    streamed: bool = False  # hub: read without downloading the whole
    documents: int = 0  # hub: how many documents to take of each part; 0 is all
    joined: bool = False  # hub: the rows are lines of one text, not documents
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    searching: bool = later(
        False
    )  # of a trial: never the test part; where there is none, the end of the training part is scored
    cache: str = aside("")  # where tokens lie; empty: $BENCH_CACHE, or the user's cache folder


@dataclass
class SizeConfig:
    """The budget that every architecture gets: its width is solved from it."""

    parameters: int = 800_000  # as `count` counts them
    context: int = 128  # tokens of one training sequence
    match: str = (
        "parameters"  # parameters | state: the bytes that decoding keeps at the full context
    )
    count: str = later(
        "all"
    )  # all: embeddings included | without_embedding | in_products: which parameters the budget is of
    state_bytes: int = later(0)  # the budget of size.match=state: bytes of one sequence's state


@dataclass
class ObjectiveConfig:
    """What is trained: `auto` takes what the architecture can."""

    kind: str = "auto"  # auto | causal | masked
    masking: str = "uniform"  # uniform: the number of masks uniform on 1..L | fixed: `rate` of the positions, as BERT
    rate: float = 0.15


@dataclass
class TrainConfig:
    """The one recipe: the same for every architecture but for the learning rate that was found for each."""

    steps: int = 1000
    batch: int = 8  # sequences a step
    accumulate: int = 1  # micro-batches that a step's batch is cut into
    learning_rate: float | None = (
        None  # None: the one in the architecture's YAML (tune.learning_rate)
    )
    final_rate: float = 0.0  # the share of the learning rate that is left at the last step
    warmup: int = 100
    schedule: str = "linear"  # linear | cosine | constant
    clip: float = 1.0  # largest norm of the gradient; 0: none
    match: str = "tokens"  # tokens: `steps` for all | flops | seconds: steps planned for each from `budget`, before the start
    budget: float = aside(0.0)  # FLOPs, or seconds at the measured rate, of one run's training
    planned: int = aside(
        0
    )  # filled in: the steps that were planned for match=flops and match=seconds
    precision: str = "auto"  # auto: bfloat16 on a GPU that has it, else float32 | float32 | tf32 (CUDA) | bfloat16
    compile: str = "none"  # none | default | reduce-overhead: a mode of torch.compile, the second for small models on CUDA
    device: str = "auto"  # auto | cpu | cuda
    ranks: int = aside(
        1
    )  # processes that train together, each a share of the batch: the same run, but for rounding
    sharding: str = aside(
        "none"
    )  # none: each has the whole model (DDP) | fsdp: a part of weights and optimizer state (FSDP2)
    log_every: int = aside(20)
    validations: int = aside(10)  # looks at a fixed piece of the validation part, spread evenly
    checkpoint_seconds: float = aside(300.0)
    limit_seconds: float = aside(
        0.0
    )  # a run that takes longer is ended and recorded as failed; 0: no limit


@dataclass
class OptimizerConfig:
    """What turns gradients into steps, the same for every architecture."""

    kind: str = "adamw"  # adamw | muon: the backbone's matrices by Muon, everything else by AdamW
    weight_decay: float = 0.1  # of matrices
    beta1: float = 0.9
    beta2: float = 0.99
    momentum: float = 0.9  # Muon's


@dataclass
class TuneConfig:
    """A random search for the learning rate, equally many trials for each. Outside the run's identity: what it finds is not."""

    trials: int = 0  # 0: no search, the learning rate is the one of the architecture's YAML
    steps: int = 0  # of a trial; 0: as many as of a run
    seed: int = 1000  # of what is drawn, and of the training of every trial: none of the runs' own
    trial: int = -1  # given by the search: which of its trials this run is
    edge: str = (
        ""  # filled in: low | high, where no trial beyond the best one shows that it is the best
    )


@dataclass
class EvaluateConfig:
    """How the trained model is scored: once, when its training ends. Outside the run's identity."""

    protocol: str = "chunk"  # chunk: windows side by side | stride: they overlap | stateful: the state is carried through the text
    stride: int = 0  # tokens that the windows of `stride` advance by; 0: a quarter of the context
    stretches: int = 8  # of 8 contexts each: what the further protocols and lengths of context are tried on; 0: none
    windows: int = 32  # that an encoder unmasks from left to right, and every causal model is scored on too; 0: none
    fillings: int = 32  # single hidden tokens that encoders and causal models fill in with the same information; 0: none
    pseudo_positions: int = (
        2000  # positions that the pseudo-perplexity of an encoder is estimated on
    )
    prompt: str = "The function returns"
    sample_tokens: int = 200
    temperature: float = 0.8


@dataclass
class MeasureConfig:
    """How deep the speed and memory stage goes. Outside the run's identity: another depth trains nothing again."""

    depth: str = "quick"  # off | quick | full
    narrow: float = 0.015  # rounds end when every ratio of rates is known to this share, 95 % interval, half of its width
    processes: int = 6  # an architecture, one after another, and 3 where many are measured: each keeps about 1 % while it lives
    rounds: int = 60  # at most, in all processes together
    window_seconds: float = 0.1  # of training; of reading and writing a third
    side_rounds: int = 4  # rounds of what stands beside the rates: parts of a step, larger batches, the machine's own peak
    batches: list[int] = field(default_factory=lambda: [8, 32])  # of reading and writing, beside 1
    lengths: list[int] = field(
        default_factory=lambda: [64, 128, 256, 512]
    )  # of the curves: models are built afresh for each
    curve_rounds: int = 3  # rounds at each length
    point_seconds: float = 2.0  # one pass over a length that would take longer is left out, and every longer one with it
    energy_seconds: float = (
        3.0  # of training while a counter of energy runs, where there is one; 0: not asked
    )
    memory_limit: int = 0  # bytes that the largest batch is searched for; 0: not asked
    limit_seconds: float = 120.0  # a worker that answers later than this is ended
    cap_seconds: float = (
        100.0  # no further round of rates is begun after this, and no further length of curves
    )


@dataclass
class ControlConfig:
    """An A/A control: an architecture of the suite once more with other seeds. What it differs by from itself is chance."""

    arch: str = ""  # the name of its YAML; empty: none
    seeds: list[int] = field(default_factory=list)


@dataclass
class Run:
    """One run, resolved: nothing is left to look up."""

    arch: dict[str, Any] = field(
        default_factory=dict
    )  # the open group: `_target_`, options, and the reserved keys
    data: DataConfig = field(default_factory=DataConfig)
    size: SizeConfig = field(default_factory=SizeConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    control: ControlConfig = field(
        default_factory=ControlConfig
    )  # of the suite that this run belongs to
    names: dict[str, str] = field(
        default_factory=dict
    )  # the chosen YAML of each group: arch, data, size, objective
    seed: int = 0
    suite: str = "single"
    results: str = "results"
    again: str = "none"  # none | failed | all
    threads: int = 1
    dry: bool = False


def constructor_options(arch: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's keywords among an architecture's keys."""
    return {key: value for key, value in arch.items() if key not in RESERVED_KEYS}


def resolve_learning_rate(run: Run) -> float:
    """The learning rate of the run: as given, or as the architecture's YAML says, for every optimizer or for each by its name."""
    if run.train.learning_rate is not None:
        return run.train.learning_rate
    tuned = tuned_learning_rate(run.arch, run.optimizer.kind)
    if tuned is None:
        name = run.names.get("arch", "?")
        raise UserError(
            f"arch={name} names no tune.learning_rate for {run.optimizer.kind}: add it to its YAML, or give train.learning_rate=…"
        )
    return tuned


def tuned_learning_rate(arch: Mapping[str, Any], optimizer: str) -> float | None:
    """The learning rate that was found for an architecture with an optimizer; None where its YAML names none that is a number."""
    found = (arch.get("tune") or {}).get("learning_rate")
    chosen = found.get(optimizer) if isinstance(found, Mapping) else found
    return float(chosen) if isinstance(chosen, int | float) else None


def is_control(control: ControlConfig, arch: str, seed: int) -> bool:
    """Whether a run of this architecture and seed is one of the A/A control."""
    return arch == control.arch and seed in control.seeds


def run_from_dict(tree: Mapping[str, Any]) -> Run:
    """A run from the plain values of its config.yaml. Keys that this version does not know are left out."""
    known = {f.name for f in fields(Run)}
    groups = {
        "data": DataConfig, "size": SizeConfig, "objective": ObjectiveConfig, "train": TrainConfig, "optimizer": OptimizerConfig, "tune": TuneConfig,
        "evaluate": EvaluateConfig, "measure": MeasureConfig, "control": ControlConfig,
    }  # fmt: skip
    values = {key: value for key, value in tree.items() if key in known and key not in groups}
    for name, kind in groups.items():
        names = {f.name for f in fields(kind)}
        values[name] = kind(
            **{key: value for key, value in tree.get(name, {}).items() if key in names}
        )
    known = {f.name for f in fields(SyntheticConfig)}
    law = tree.get("data", {}).get("synthetic", {})
    values["data"].synthetic = SyntheticConfig(
        **{key: value for key, value in law.items() if key in known}
    )
    return Run(**values)
