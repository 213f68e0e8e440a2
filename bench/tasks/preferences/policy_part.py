"""Train the policy of one part, with looks at held-out prompts, and resume it from the last."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bench.model import LanguageModel
from bench.records.metrics import Metric
from bench.tasks.preferences.direct import DirectPreferences, prefer, updates_per_epoch
from bench.tasks.preferences.looks import Examiner
from bench.tasks.preferences.part_store import PartStore
from bench.tasks.preferences.parts import StagePart
from bench.tasks.preferences.policies import Trainer, Update
from bench.tasks.preferences.reinforcement import Reinforcement, reinforce
from bench.tasks.preferences.reward_model import RewardModel
from bench.tasks.preferences.shaped_rewards import SHAPES
from bench.tasks.preferences.worlds import World


@dataclass(frozen=True)
class PolicyTraining:
    """One policy, from the base to its last update."""

    part: StagePart
    base: LanguageModel
    world: World
    reward: RewardModel | None  # None for a method that needs none, where there is none
    rate: float

    @property
    def last(self) -> int:
        """Return the number of updates."""
        options = self.world.options.policy
        if self.part.method == "dpo":
            return options.dpo_epochs * updates_per_epoch(self.part.labels)
        return options.updates

    @property
    def due(self) -> set[int]:
        """Return the updates after which a look is due."""
        looks = self.world.options.looks
        return {max(1, round(self.last * look / looks)) for look in range(1, looks + 1)}

    @cached_property
    def trainer(self) -> Trainer:
        """Return the policy in training."""
        return Trainer.of(self.base, self.rate, self.last)

    def updates(self) -> Iterator[Update]:
        """Yield what is left of the updates. Raise PolicyDiverged."""
        return self._direct() if self.part.method == "dpo" else self._reinforced()

    def _direct(self) -> Iterator[Update]:
        part, world = self.part, self.world
        pairs = world.training_pairs(part.labels, part.flip)
        flip = part.flip if part.corrected else 0.0
        setting = DirectPreferences(self.base, pairs, part.beta, flip, world.run.seed)
        return prefer(self.trainer, setting)

    def _reinforced(self) -> Iterator[Update]:
        part, world, options = self.part, self.world, self.world.options
        assert self.reward is not None
        setting = Reinforcement(
            reference=self.base,
            reward=self.reward.rewards,
            prompts=world.prompts_of,
            room=options.response,
            separator=world.vocabulary.separator,
            beta=part.beta,
            seed=world.run.seed,
            shape=SHAPES[part.shaping](world) if part.shaping else None,
        )
        epochs = options.policy.ppo_epochs if part.method == "ppo" else 1
        return reinforce(self.trainer, setting, options.policy, epochs)


def train_policy(
    training: PolicyTraining, examiner: Examiner, store: PartStore, progress: Callable[[str], None]
) -> Iterator[Metric]:
    """Yield the numbers of every look; save the policy at each, and at the end to be used."""
    part, trainer, due = training.part, training.trainer, training.due

    def look() -> list[Metric]:
        seen = examiner.look(trainer.policy, training.reward)
        numbers = list(seen.metrics({"update": trainer.done}, examiner.start))
        store.save_look(part, trainer, seen.table(training.world, trainer.done), numbers)
        return numbers

    resumed = store.resume(part, trainer)
    yield from resumed or look()
    for update in training.updates():
        store.log(part, update)
        if update.update in due:
            progress(describe_update(part, update, training.last))
            yield from look()
    store.save_policy(part, trainer.policy, training.world)


def describe_update(part: StagePart, update: Update, last: int) -> str:
    """Return how far a policy is, in words."""
    seen = f"loss {update.loss:.3f}"
    if update.kl is not None:
        seen = f"proxy {update.proxy:.2f}, KL {update.kl:.2f} nats"
    return f"{part.name}: update {update.update:,} of {last:,}, {seen}"
