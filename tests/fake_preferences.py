"""Records of stages that no training made: gold = start + slope·√KL·(1 - √KL / 8), known exactly."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.config.preference_schema import (
    LabelCurveConfig,
    PolicyConfig,
    PreferenceConfig,
)
from bench.config.schema import ControlConfig
from bench.records import store
from bench.records.metrics import Metric, metric
from bench.stats.frontiers import best_of_n_kl
from bench.tasks.preferences.parts import StagePart, list_parts
from tests.fake_records import ENVIRONMENT, make_run

PROMPTS = 16
OPTIONS = PreferenceConfig(
    enabled=True, few_labels=128, few_beta=0.03, curve=LabelCurveConfig(sizes=[64, 256]),
    policy=PolicyConfig(betas=[0.1, 0.3]),
)  # fmt: skip
KL = {0.1: 5.0, 0.3: 1.5, 0.03: 30.0}  # of the last look, by beta


def gold_at(kl: float, start: float, slope: float) -> float:
    return start + slope * kl**0.5 * (1 - kl**0.5 / 8)


def spread(mean: float, seed: int) -> list[float]:
    """Samples of prompts whose mean is exact."""
    noise = np.random.default_rng(seed).normal(0, 0.02, PROMPTS)
    return (mean + noise - noise.mean()).tolist()


def policy_metrics(part: StagePart, start: float, slope: float, seed: int) -> Iterator[Metric]:
    for update in (0, 30, 60):
        kl = KL[part.beta] * update / 60
        at = {"update": update}
        yield metric("response_kl", [kl] * PROMPTS, at=at)
        yield metric("proxy_reward", [kl**0.5] * PROMPTS, at=at)
        yield metric("gold_reward", spread(gold_at(kl, start, slope), seed), at=at)
        yield metric("win_rate", [0.5 + 0.05 * kl**0.5] * PROMPTS, at=at)
        yield metric("response_length", [31.0] * PROMPTS, at=at)


def part_metrics(part: StagePart, start: float, slope: float, seed: int) -> Iterator[Metric]:
    if part.kind == "policy":
        yield from policy_metrics(part, start, slope, seed)
    elif part.kind == "reward":
        yield metric("reward_accuracy", 0.55 + 0.012 * np.log2(part.labels))
        yield metric("reward_regret", 0.3)
    elif part.kind == "best_of":
        for n in (1, 4, 16):
            kl = float(best_of_n_kl(n))
            yield metric("response_kl", kl, at={"n": n})
            yield metric("proxy_reward", [1.2 * kl**0.5] * PROMPTS, at={"n": n})
            yield metric("gold_reward", spread(gold_at(kl, start, 1.5 * slope), seed), at={"n": n})
    else:
        better = 0.02 * (part.method == "fisher")
        for labels in (64, 256):
            level = 0.5 + 0.015 * np.log2(labels) + better
            repeats = np.random.default_rng([seed, labels]).normal(0, 0.01, 10)
            yield metric("reward_accuracy", (level + repeats).tolist(), at={"labels": labels})
            yield metric("reward_regret", (0.4 + better + repeats).tolist(), at={"labels": labels})


def write_stage(
    root: Path, arch: str, seed: int = 0, start: float = 0.4, slope: float = 0.1, **options: object
) -> Path:
    """Write the finished record of one stage below results/<suite>."""
    run = make_run(root, arch, seed, learning_rate=1e-3)
    control = ControlConfig(arch="lstm", seeds=[100, 101, 102])
    run = replace(run, preference=replace(OPTIONS, **options), control=control)
    folder = store.attempt_folders(run)[0]
    store.create_record(folder, run, ENVIRONMENT, {"digests": {"data": "d1d1d1d1"}})
    parts = list_parts(run.preference, seed, run.preference.labels)
    described = [{**part.describe(), "status": "done", "reason": ""} for part in parts]
    metrics = [
        replace(one, at={**one.at, "part": number})
        for number, part in enumerate(parts)
        for one in part_metrics(part, start, slope, seed)
    ]
    facts = {"objective": "preferences", "parts": described}
    store.write_result(folder, "done", metrics=metrics, facts=facts)
    return folder
