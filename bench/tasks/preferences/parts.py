"""List the parts of a stage: reward models, policies, best of n, label curves. Imports no torch."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from bench.config.errors import UserError, nearest
from bench.config.preference_schema import PreferenceConfig
from bench.config.schema import Run
from bench.tasks.preferences.gold import gold_class
from bench.tasks.preferences.people import has_spans, read_labels, training_labels
from bench.tasks.preferences.selection import STRATEGIES

METHODS = ("rloo", "ppo", "dpo", "best_of")
SHAPINGS = ("potential", "bonus", "spans")


@dataclass(frozen=True)
class StagePart:
    """One trained model, or one set of measurements, of a stage."""

    kind: str  # reward, spans (a model of marked tokens), policy, best_of or curve
    labels: int = 0
    flip: float = 0.0  # share of labels that are reversed
    corrected: bool = False  # and whether the loss takes them so
    method: str = ""  # rloo, ppo or dpo; of a curve, how labels are chosen
    beta: float = math.nan
    shaping: str = ""

    @property
    def reward(self) -> "StagePart":
        """Return the reward model that a policy is improved on."""
        return replace(self, kind="reward", method="", beta=math.nan, shaping="")

    @property
    def needs_reward(self) -> bool:
        """Return whether a reward model has to come first."""
        return self.kind == "best_of" or (self.kind == "policy" and self.method != "dpo")

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        words = ["curve"] if self.kind == "curve" else []
        words += [self.method or self.kind]
        words += [] if math.isnan(self.beta) else [f"b{self.beta:g}"]
        words += [str(self.labels)] if self.labels else []
        words += [f"flip{self.flip:g}"] if self.flip else []
        words += ["corrected"] if self.corrected else []
        return "-".join([*words, self.shaping] if self.shaping else words)

    def describe(self) -> dict[str, Any]:
        """Return what a record says of it."""
        beta = None if math.isnan(self.beta) else self.beta
        return {"name": self.name, **asdict(self), "beta": beta}


SPANS = StagePart("spans")


def list_parts(options: PreferenceConfig, seed: int, labels: int) -> list[StagePart]:
    """Return the parts of a stage in order; `labels`: how many the main reward model has."""
    parts = list(_main_parts(options, labels))
    if not options.extras.seeds or seed in options.extras.seeds:
        parts += _extra_parts(options, labels)
    ordered: dict[StagePart, None] = {}
    for part in parts:
        if part.needs_reward:
            ordered.setdefault(part.reward)
        ordered.setdefault(part)
    return list(ordered)


def _main_parts(options: PreferenceConfig, labels: int) -> Iterator[StagePart]:
    main = StagePart("reward", labels, options.flip, options.reward.flip > 0)
    yield main
    if "spans" in options.extras.shaping:
        yield SPANS
    for method in options.policy.methods:
        if method == "best_of":
            yield replace(main, kind="best_of")
            continue
        for beta in options.policy.betas:
            yield replace(main, kind="policy", method=method, beta=beta)
    if options.few_labels and not options.path:
        few = StagePart("policy", options.few_labels, options.flip, method="rloo")
        yield replace(few, beta=options.few_beta)
    if options.curve.sizes and not options.path:
        yield from (StagePart("curve", method=name) for name in options.curve.select)


def _extra_parts(options: PreferenceConfig, labels: int) -> Iterator[StagePart]:
    extras = options.extras
    if not (extras.flips or extras.shaping):
        return
    policy = StagePart("policy", labels, options.flip, method="rloo", beta=options.policy.betas[0])
    for flip, corrected in product([] if options.path else extras.flips, (False, True)):
        yield replace(policy, flip=flip, corrected=corrected)
    for shaping in extras.shaping:
        yield replace(policy, shaping=shaping)


def check_options(run: Run) -> None:
    """Raise UserError for the first value of `preference` that is not allowed."""
    options = run.preference
    for key, names, choices in (
        ("policy.methods", options.policy.methods, METHODS),
        ("extras.shaping", options.extras.shaping, SHAPINGS),
        ("curve.select", options.curve.select, STRATEGIES),
    ):
        for name in names:
            if name not in choices:
                advice = nearest(name, choices)
                raise UserError(f"preference.{key}={name} is not known; {advice}", "unknown-choice")
    if options.gold:
        gold_class(options.gold)
    for message in _conflicts(options, run.size.context):
        raise UserError(message, "conflicting-values")
    for message in _wrong_values(options):
        raise UserError(message)


def _conflicts(options: PreferenceConfig, context: int) -> Iterator[str]:
    path = options.path
    if options.prompt + options.response > context:
        yield (
            f"preference.prompt={options.prompt} and preference.response={options.response} do not "
            f"fit size.context={context}: together at most {context}"
        )
    if not options.gold and not path:
        yield (
            "preference=human has no gold reward: name a file of people's labels by "
            "preference.path=…"
        )
    if not options.labels and not path:
        yield (
            "preference.labels=0 takes all labels of a file: name it by preference.path=…, or give "
            "a number of labels"
        )
    if path and options.flip:
        yield (
            f"preference.flip={options.flip} is of the simulated annotator, and preference.path="
            f"{path} has people's labels: omit one"
        )
    for name in options.extras.shaping:
        if name == "spans" and not path:
            yield f"preference.extras.shaping={name} needs people's labels: give preference.path=…"
        if name != "spans" and path:
            yield f"preference.extras.shaping={name} needs a gold: omit it, or preference.path"


def _wrong_values(options: PreferenceConfig) -> Iterator[str]:
    extras, path = options.extras, options.path
    if not options.policy.betas and (
        extras.flips or extras.shaping or set(options.policy.methods) - {"best_of"}
    ):
        yield "preference.policy.betas is empty: give at least one, as in [0.1]"
    for flip in extras.flips:
        if not 0 < flip < 0.5:
            yield (
                f"preference.extras.flips={flip} must lie between 0 and 0.5: beyond that the "
                "labels say the opposite"
            )
    if path:
        parts = training_labels(read_labels(Path(path)), options.labels, path)
        if "spans" in extras.shaping and not all(map(has_spans, parts)):
            yield (
                f"preference.extras.shaping=spans: {path} has no chosen_spans or rejected_spans in "
                "its training or held-out part: omit it"
            )
