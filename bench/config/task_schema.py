"""Define the configuration of fine-tuning: which task, which examples, how a model is trained."""

from dataclasses import dataclass

from bench.config.fields import LATER, choice, option, setting

NO_TASK = "none"
ARMS = ("pretrained", "scratch", "self")


@dataclass
class TaskConfig:
    """Choose a task for a trained model, and how it is fine-tuned. Counts only where chosen."""

    kind: str = choice(
        "none classification generation pairs",
        "classification: a label per text; generation: an answer to a text; pairs: which of two "
        "texts is likelier, without training",
    )
    source: str = option("files", "name of a source in bench/tasks/finetuning/sources")
    path: str = option("", "files: the examples, split 80/10/10, or the training part alone")
    validation_path: str = option("", "files: the validation part")
    test_path: str = option("", "files: the test part")
    repository: str = option(
        "",
        "hub: name or name@revision of the set, or a local folder; path replaces it",
        identity=LATER,
    )
    subset: str = option("", "hub: name of the configuration", identity=LATER)
    parts: dict[str, str] = option({}, "hub: split expression of each part", identity=LATER)
    text: str = option("text", "column of the input; answers.text: a field within one")
    pair: str = option("", "column of a second text, as a question's passage; empty: none")
    target: str = option("label", "column of the label, of the answer, or of the pair's worse text")
    examples: int = option(0, "training examples, a fixed nested sample; 0: all", (0, 10**9))
    start: str = choice(
        " ".join(ARMS),
        "weights to start from; scratch: the initial values that the run was trained from; self: "
        "pre-trained on the task's own training texts for as many steps",
    )
    frozen: bool = option(False, "train the head alone, on the features of the trained model")
    pool: str = choice("mean last first max", "how hidden states become one vector per text")
    steps: int = option(400, "optimizer steps", (1, 10**9))
    batch: int = option(16, "examples per step", (1, 10**6))
    warmup: float = option(0.1, "share of the steps with linear warm-up", (0.0, 1.0))
    learning_rate: float | None = option(
        None, "default: a share of the architecture's own", (1e-8, 10.0)
    )
    trials: int = option(
        0, "rates tried on the validation part, by each run; 0: the share below", (0, 1000), LATER
    )
    share: float = option(0.3, "of that rate, for weights that were trained before", (1e-4, 10.0))
    scratch_share: float = option(1.0, "of that rate, for start=scratch", (1e-4, 10.0))
    scratch_steps: int = option(1, "start=scratch: times as many steps", (1, 1000))
    cut: str = choice(
        "refuse end start",
        "texts beyond size.context; refuse: an error above 1 % of them; end, start: drop that side",
    )
    room: int = option(48, "generation: tokens of an answer at most", (1, 10**6))
    decode: int = setting(200, "generation: test examples that are scored; 0: all", (0, 10**9))


def arm_name(task: TaskConfig) -> str:
    """Return what a fine-tuning starts from, with the factor of its steps where that is not 1."""
    longer = task.start == "scratch" and task.scratch_steps > 1
    return f"{task.start} × {task.scratch_steps}" if longer else task.start
