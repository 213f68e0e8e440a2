"""Define the configuration of learning from preferences."""

from dataclasses import dataclass, field
from typing import Any

from bench.config.data_schema import SEEDS
from bench.config.fields import LATER, choice, option, setting

NO_PREFERENCE = "off"


@dataclass
class RewardConfig:
    """Configure reward models: the architecture with a scalar head, from the base's weights."""

    epochs: int = option(2, "passes over the labels", (1, 1000))
    batch: int = option(32, "pairs per step", (1, 10**6))
    pool: str = choice("mean last", "states of the response that the head reads")
    flip: float = option(0.0, "share of labels that the loss takes as reversed", (0.0, 0.49))
    learning_rate: float | None = option(
        None, "default: preference.rate_share of the base's own", (1e-8, 10.0)
    )
    arch: str = setting("", "architecture of all reward models; empty: each base's own")
    model: dict[str, Any] = setting({}, "its YAML; set by preference.reward.arch")


@dataclass
class PolicyConfig:
    """Configure the improvement of policies."""

    methods: list[str] = option(["rloo", "dpo", "best_of"], "of rloo, ppo, dpo, best_of")
    betas: list[float] = option([0.1], "log-odds per nat of KL", (0.0, 1000.0))
    updates: int = option(60, "updates of rloo and ppo", (1, 10**6))
    prompts: int = option(16, "prompts per update", (1, 10**6))
    each: int = option(4, "responses per prompt", (2, 10**4))
    ppo_epochs: int = option(2, "optimizer steps per update of ppo", (2, 100))
    dpo_epochs: int = option(2, "passes of dpo over the labels", (1, 1000))
    dpo_rate_share: float = option(
        0.33, "dpo: its learning rate as a share of the other policies'", (1e-4, 100.0)
    )
    clip: float = option(0.2, "ppo: largest change of a probability ratio", (0.001, 10.0))
    best_of: list[int] = option([1, 2, 4, 8, 16, 32, 64], "best of n: each n", (1, 10**4))
    learning_rate: float | None = option(
        None, "default: preference.rate_share of the base's own", (1e-8, 10.0)
    )


@dataclass
class LabelCurveConfig:
    """Configure what labels are worth, by a head on the base's frozen states."""

    sizes: list[int] = option([], "numbers of labels; none: no curve", (8, 10**6))
    select: list[str] = option(
        ["random", "fisher"], "of random, margin, fisher, distant, disagreement"
    )
    repeats: int = option(10, "draws of pool and labels", (2, 1000))


@dataclass
class ExtrasConfig:
    """Configure further reward models and policies, with the first of the betas."""

    flips: list[float] = option([], "reward models and policies of so many reversed labels")
    shaping: list[str] = option([], "policies with shaped rewards, of potential, bonus, spans")
    bonus: float = option(0.5, "shaping by a bonus: log-odds per word", (0.0, 1000.0))
    span_penalty: float = option(
        0.1, "shaping by spans: log-odds per token that people would mark", (0.0, 1000.0), LATER
    )
    seeds: list[int] = option([], "seeds that have them; none: every seed", SEEDS)


@dataclass
class PreferenceConfig:
    """Configure learning from preferences after training. Outside a run's identity."""

    enabled: bool = option(False, "whether finished runs learn from preferences")
    gold: str = option("words", "exact reward: its name, or your own module.Class; empty: none")
    temperature: float = option(0.1, "of the annotator, in the gold's unit", (1e-6, 10**6))
    flip: float = option(0.0, "share of labels that are reversed", (0.0, 0.5))
    annotators: int = option(1, "annotators who share the labels", (1, 10**4))
    length_bias: float = option(0.0, "log-odds for a response longer by the room", (-100.0, 100.0))
    position_bias: float = option(0.0, "log-odds for the response shown first", (-100.0, 100.0))
    path: str = option("", "people's labels (.jsonl) in place of the annotator")
    pairs: str = choice("neutral own", "who writes the pairs: an n-gram for all, or each base")
    prompt: int = option(24, "tokens of a prompt", (1, 10**6))
    response: int = option(32, "tokens of a response at most", (1, 10**6))
    labels: int = option(1024, "labels to train on; 0: nine tenths of `path`", (0, 10**7))
    held_out: int = option(512, "pairs that reward models are judged on", (8, 10**6))
    rate_share: float = option(0.3, "learning rate as a share of the base's own", (1e-4, 100.0))
    reward: RewardConfig = field(default_factory=RewardConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    curve: LabelCurveConfig = field(default_factory=LabelCurveConfig)
    few_labels: int = option(0, "labels of the over-optimised policy; 0: none", (0, 10**7))
    few_beta: float = option(0.003, "its log-odds per nat of KL", (0.0, 1000.0))
    extras: ExtrasConfig = field(default_factory=ExtrasConfig)
    looks: int = setting(5, "evaluations of a policy on held-out prompts", (1, 1000))
    look_prompts: int = option(64, "held-out prompts of a look", (2, 10**6))
    look_each: int = option(4, "responses per held-out prompt", (1, 10**4))

    @property
    def pool(self) -> int:
        """Return the pairs that are written: a curve chooses from twice as many as it labels."""
        curve = [2 * size for size in self.curve.sizes]
        return max(self.labels, self.few_labels, *curve, 0)
