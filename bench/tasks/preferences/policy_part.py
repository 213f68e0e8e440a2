"""Train the policy of one part, with looks at held-out prompts, and resume it from the last."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.model import LanguageModel
from bench.records.metrics import Metric, metric
from bench.tasks.preferences.direct import prefer, updates_per_epoch
from bench.tasks.preferences.looks import Examiner
from bench.tasks.preferences.part_store import PartStore
from bench.tasks.preferences.parts import StagePart
from bench.tasks.preferences.policies import Trainer, Update
from bench.tasks.preferences.reinforcement import Reinforcement, reinforce
from bench.tasks.preferences.reward_model import RewardModel
from bench.tasks.preferences.shaping import Shape
from bench.tasks.preferences.spans import SpanModel
from bench.tasks.preferences.worlds import World

logger = logging.getLogger(__name__)
IDLE_UPDATES = 10  # without a gradient: worth a warning


@dataclass(frozen=True)
class PolicyTraining:
    """One policy, from the base to its last update."""

    part: StagePart
    base: LanguageModel
    world: World
    reward: RewardModel | None  # None for a method that needs none, where there is none
    rate: float
    shape: Shape | None = None
    spans: SpanModel | None = None

    @cached_property
    def trainer(self) -> Trainer:
        """Return the policy in training."""
        options = self.world.options.policy
        updates = options.updates
        if self.part.method == "dpo":
            updates = options.dpo_epochs * updates_per_epoch(self.part.labels)
        return Trainer.of(self.base, self.rate, updates)

    @cached_property
    def due(self) -> set[int]:
        """Return the updates after which a look is due."""
        ends = np.linspace(0, self.trainer.updates, self.world.options.looks + 1)[1:]
        return {max(1, round(end)) for end in ends}

    def updates(self) -> Iterator[Update]:
        """Yield what is left of the updates. Raise PolicyDiverged."""
        part, world, options = self.part, self.world, self.world.options
        seed = world.run.seed
        if part.method == "dpo":
            pairs = world.training_pairs(part.labels, part.flip)
            flip = part.flip if part.corrected else 0.0
            return prefer(self.trainer, self.base, pairs, part.beta, flip, seed)
        assert self.reward is not None
        setting = Reinforcement(
            self.base, self.reward.rewards, world.prompts_of, options.response,
            world.vocabulary.separator, part.beta, seed, self.shape,
        )  # fmt: skip
        epochs = options.policy.ppo_epochs if part.method == "ppo" else 1
        return reinforce(self.trainer, setting, options.policy, epochs)


def train_policy(
    training: PolicyTraining, examiner: Examiner, store: PartStore, progress: Callable[[str], None]
) -> Iterator[Metric]:
    """Yield the numbers of every look; save the policy at each, and at the end to be used."""
    part, trainer, options = training.part, training.trainer, training.world.options

    def look() -> list[Metric]:
        seen = examiner.look(trainer.policy, training.reward, training.spans)
        numbers = list(seen.metrics({"update": trainer.done}, examiner.start))
        store.save_look(part, trainer, seen.table(training.world, trainer.done), numbers)
        return numbers

    resumed = store.resume(part, trainer)
    yield from resumed or look()
    for update in training.updates():
        store.log(part, update)
        if update.update in training.due:
            progress(describe_update(part, update, trainer.updates))
            yield from look()
    if part.method != "dpo":
        yield idle_updates(part, store, options.policy.prompts)
    store.save_policy(part, trainer.policy, training.world)


def idle_updates(part: StagePart, store: PartStore, groups: int) -> Metric:
    """Return in how many updates all groups of responses had equal returns; warn of many."""
    idle = sum(row["idle_groups"] == groups for row in store.curve(part))
    if idle >= IDLE_UPDATES:
        logger.warning(
            f"{part.name}: in {idle} updates no group had two different returns: the responses to "
            "a prompt are alike, and the policy learned nothing from them"
        )
    return metric("idle_updates", idle)


def describe_update(part: StagePart, update: Update, last: int) -> str:
    """Return how far a policy is, in words."""
    seen = f"loss {update.loss:.3f}"
    if update.kl is not None:
        seen = f"proxy {update.proxy:.2f}, KL {update.kl:.2f} nats"
    return f"{part.name}: update {update.update:,} of {last:,}, {seen}"
