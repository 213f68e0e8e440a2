"""Count what the parts of a stage cost, before it is run."""

from collections.abc import Iterator
from pathlib import Path

from architectures.interface import Unsupported
from bench.config.preference_schema import PreferenceConfig
from bench.config.schema import Run
from bench.model import LanguageModel
from bench.tasks.preferences.parts import StagePart, list_parts
from bench.tasks.preferences.people import read_labels, training_labels

# in tokens that are trained, forward and backward
READ = 1 / 3
WRITTEN = 1.5  # through the state, in batches: measured on an LSTM, and on a transformer


def part_costs(run: Run, with_state: bool) -> Iterator[tuple[StagePart, float]]:
    """Yield the parts of a stage, and what each costs: in tokens that the base trains on."""
    options = run.preference
    labels, held, pair = _pairs(run)
    passes = READ * (options.prompt + options.response / 2)
    written = options.response * (WRITTEN if with_state else passes)
    for part in list_parts(options, run.seed, labels):
        if part.kind == "best_of":
            yield part, options.look_prompts * max(options.policy.best_of, default=0) * written
        elif part.kind == "policy":
            yield part, _policy_cost(options, part, pair, written)
        elif part.kind == "curve":
            yield part, pair * READ * (held + options.pool)
        else:
            taught = (part.labels or labels) * options.reward.epochs
            yield part, pair * (READ * held + taught)


def keeps_state(model: LanguageModel) -> bool:
    """Return whether a model writes through a state, and not by passes over the whole text."""
    try:
        model.init_state(1, model.backbone.context)
    except Unsupported:
        return False
    return True


def _pairs(run: Run) -> tuple[int, int, float]:
    """Return the pairs that train and those held out, and the tokens of one."""
    options = run.preference
    if not options.path:
        return options.labels, options.held_out, 2.0 * (options.prompt + options.response)
    labels = read_labels(Path(options.path))
    trained, held = training_labels(labels, options.labels, options.path)
    return options.labels or len(trained), len(held), 2.0 * run.size.context


def _policy_cost(options: PreferenceConfig, part: StagePart, pair: float, written: float) -> float:
    policy, length = options.policy, options.prompt + options.response
    scored = written + 3 * READ * length  # a response: by policy, reference and reward model
    looks = (1 + options.looks) * options.look_prompts * options.look_each * scored
    if part.method == "dpo":
        return looks + policy.dpo_epochs * part.labels * pair * (1 + READ)
    epochs = policy.ppo_epochs if part.method == "ppo" else 1
    return looks + policy.updates * policy.prompts * policy.each * (scored + epochs * length)
