"""Run the parts of one stage: reward models, policies, best of n, label curves."""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from bench.model import LanguageModel
from bench.records.metrics import Metric, metric
from bench.tasks.preferences import label_curves
from bench.tasks.preferences.looks import Examiner, best_of_metrics, best_of_table
from bench.tasks.preferences.part_store import PartStore
from bench.tasks.preferences.parts import SPANS, StagePart
from bench.tasks.preferences.peoples_world import PeoplesWorld
from bench.tasks.preferences.policy_part import PolicyTraining, train_policy
from bench.tasks.preferences.reward_model import RewardModel, judge, margins, train_reward
from bench.tasks.preferences.shaping import Shape, gold_shape
from bench.tasks.preferences.spans import SpanModel, nats_saved, span_shape, train_spans
from bench.tasks.preferences.worlds import SimulatedWorld, World

OF_THE_LAW = ("reward_regret", "reward_correlation", "best_reward_accuracy")
AT_CHANCE_ERRORS = 2.0  # standard errors above chance that a reward model must reach


class PartFailed(Exception):
    """A part without all of its numbers; the message is the reason."""


@dataclass(frozen=True)
class Rates:
    """The learning rates that models start again with, unless others are given."""

    policy: float
    reward: float  # of another architecture where preference.reward.arch names one


@dataclass(frozen=True)
class Stage:
    """What one base model learns from preferences, part by part."""

    base: LanguageModel
    reward_base: LanguageModel  # that reward models start from: the base, or another architecture's
    rates: Rates
    world: World
    store: PartStore
    progress: Callable[[str], None]

    @cached_property
    def examiner(self) -> Examiner:
        """Return what looks at policies."""
        return Examiner(self.base, self.world)

    def run(self, part: StagePart) -> Iterator[Metric]:
        """Yield the numbers of a part. Raise PartFailed, PolicyDiverged, FloatingPointError."""
        return {
            "reward": self._reward, "spans": self._spans, "policy": self._policy,
            "best_of": self._best_of, "curve": self._curve,
        }[part.kind](part)  # fmt: skip

    def _reward(self, part: StagePart) -> Iterator[Metric]:
        world, options = self.world, self.world.options.reward
        options = replace(options, flip=part.flip if part.corrected else options.flip)
        pairs, held = world.training_pairs(part.labels, part.flip), world.held_out
        reward = train_reward(self.reward_base, pairs, options, self.rates.reward, world.run.seed)
        if len(world.look_prompts):
            reward.centre(self.examiner.start.responses)
        self.store.save_model(part, reward)
        judgement = judge(margins(reward, held), held.labels.numpy())
        for name, value in judgement.items():
            # of people's labels the law is not known; rewards may be all equal
            if not (math.isnan(value) or (world.gold is None and name in OF_THE_LAW)):
                yield metric(name, value)
        yield metric("held_out_labels", len(held))
        self.progress(f"{part.name}: accuracy {judgement['reward_accuracy']:.3f}, n={len(held):,}")

    def _load_reward(self, part: StagePart) -> RewardModel:
        reward = RewardModel(self.reward_base, self.world.options.reward.pool)
        self.store.load_model(part.reward, reward)
        return reward

    def _usable_reward(self, part: StagePart) -> RewardModel:
        """Return the reward model of a part. Raise PartFailed where it failed or is at chance."""
        numbers = self.store.numbers(part.reward)
        if numbers is None:
            raise PartFailed(f"its reward model {part.reward.name} failed")
        accuracy, error = numbers["reward_accuracy"], numbers["reward_accuracy_standard_error"]
        if accuracy - AT_CHANCE_ERRORS * error <= 0.5:
            raise PartFailed(
                f"its reward model is at chance (accuracy {accuracy:.2f} ± {error:.2f}, "
                f"n={numbers['held_out_labels']:.0f}): no policy is trained on it"
            )
        return self._load_reward(part)

    def _spans(self, part: StagePart) -> Iterator[Metric]:
        world, options = self.world, self.world.options.reward
        assert isinstance(world, PeoplesWorld)
        examples = world.span_examples(held=False)
        model = train_spans(self.reward_base, *examples, options, self.rates.reward, world.run.seed)
        self.store.save_model(part, model)
        yield metric("span_nats_saved", nats_saved(model, *world.span_examples(held=True)))

    @cached_property
    def span_model(self) -> SpanModel | None:
        """Return the model of marked tokens, where there is one."""
        if self.store.numbers(SPANS) is None:
            return None
        model = SpanModel(self.reward_base, "mean")
        self.store.load_model(SPANS, model)
        return model

    def _shape(self, part: StagePart) -> Shape | None:
        """Return the rewards of single tokens. Raise PartFailed where no model of spans serves."""
        if part.shaping != "spans":
            return gold_shape(part.shaping, self.world) if part.shaping else None
        result = self.store.result(SPANS)
        saved = result["metrics"][0]["values"] if result and result["metrics"] else [0.0, 0.0]
        mean = statistics.fmean(saved)
        error = statistics.stdev(saved) / len(saved) ** 0.5 if len(saved) > 1 else float("inf")
        if mean - AT_CHANCE_ERRORS * error <= 0:
            raise PartFailed(
                f"its model of marked tokens is at chance ({mean:.3f} ± {error:.3f} nats per token "
                f"saved, n={len(saved)}): no policy is trained on it"
            )
        assert self.span_model is not None
        return span_shape(self.span_model, self.world.options.extras.span_penalty)

    def _best_of(self, part: StagePart) -> Iterator[Metric]:
        reward = self._usable_reward(part)
        self._require_prompts()
        responses, _ = self.examiner.best_of_responses
        proxy = reward.rewards(responses).numpy().reshape(len(self.world.look_prompts), -1)
        self.store.save_table(part, best_of_table(self.examiner, proxy))
        yield from best_of_metrics(self.examiner, proxy)

    def _require_prompts(self) -> None:
        world = self.world
        if not (len(world.update_prompts) and len(world.look_prompts)):
            raise PartFailed(
                f"no prompt has preference.prompt={world.options.prompt} tokens: a smaller one"
            )

    def _policy(self, part: StagePart) -> Iterator[Metric]:
        self._require_prompts()
        reward = None
        if part.needs_reward:
            reward = self._usable_reward(part)
        elif self.store.numbers(part.reward) is not None:
            reward = self._load_reward(part)  # its score is reported, and not trained on
        share = self.world.options.policy.dpo_rate_share if part.method == "dpo" else 1.0
        rate = self.rates.policy * share
        spans = self.span_model if "spans" in self.world.options.extras.shaping else None
        shape = self._shape(part)
        training = PolicyTraining(part, self.base, self.world, reward, rate, shape, spans)
        yield from train_policy(training, self.examiner, self.store, self.progress)

    def _curve(self, part: StagePart) -> Iterator[Metric]:
        world = self.world
        assert isinstance(world, SimulatedWorld)
        untrained = RewardModel(self.reward_base, world.options.reward.pool).eval()
        pool = world.training_pairs(world.pool, world.options.flip)
        data = label_curves.curve_data(untrained, pool, world.held_out)
        curve, seed = world.options.curve, world.run.seed
        yield from label_curves.curve_metrics(data, curve, part.method, seed)
