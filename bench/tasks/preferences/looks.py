"""Evaluate a policy on held-out prompts: gold, proxy, KL and length, beside the start's."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench.model import LanguageModel
from bench.records.metrics import Metric, metric
from bench.stats.frontiers import best_of_n, best_of_n_kl
from bench.tasks.preferences.reward_model import RewardModel
from bench.tasks.preferences.rollouts import (
    Responses,
    divergence,
    join,
    log_probabilities,
    write,
)
from bench.tasks.preferences.worlds import World, token_rows
from bench.training import torch_generator

BATCH = 256  # responses that are written at a time


def write_looks(model: LanguageModel, world: World, each: int, key: int) -> Responses:
    """Return `each` responses to every held-out prompt, those of a prompt in a row."""
    prompts = world.look_prompts.repeat_interleave(each, dim=0)
    room, separator = world.options.response, world.vocabulary.separator
    return join([
        write(model, piece, room, separator, torch_generator(world.run.seed, 4, key, number))
        for number, piece in enumerate(prompts.split(BATCH))
    ])  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Held-out responses of one model, with what they are worth: by prompt, (M, each)."""

    responses: Responses
    prompts: int
    proxy: np.ndarray | None
    gold: np.ndarray | None
    kl: np.ndarray
    k1: np.ndarray
    words: np.ndarray | None = None  # completed words, repeats too

    def by_prompt(self, values: np.ndarray) -> np.ndarray:
        """Return values (B,) by prompt, (M, each)."""
        return values.reshape(self.prompts, -1)

    def metrics(self, at: dict[str, float], start: "Look") -> Iterator[Metric]:
        """Yield the mean of each prompt as a sample, and shares of all responses."""
        values = {
            "response_kl": self.kl, "response_k1": self.k1, "proxy_reward": self.proxy,
            "gold_reward": self.gold, "response_length": self.responses.lengths.numpy(),
            "completed_words": self.words,
        }  # fmt: skip
        for name, numbers in values.items():
            if numbers is None:
                continue
            yield metric(name, _rounded(self.by_prompt(numbers).mean(axis=1)), at=at)
        if self.gold is not None and start.gold is not None:
            wins = win_rates(self.by_prompt(self.gold), start.by_prompt(start.gold))
            yield metric("win_rate", _rounded(wins), at=at)
        texts = {row.tobytes() for row in token_rows(self.responses)}
        yield metric("distinct_responses", len(texts) / len(self.responses), at=at)

    def table(self, world: World, update: int) -> pd.DataFrame:
        """Return the responses with their numbers, a row each."""
        tokens, start = self.responses.tokens.numpy(), self.responses.start
        decode = world.vocabulary.decode
        columns: dict[str, Any] = {
            "update": update,
            "prompt": [decode(row[:start]) for row in tokens],
            "text": [decode(row) for row in token_rows(self.responses)],
            "tokens": self.responses.lengths.numpy().astype(int),
            "kl": self.kl,
        }
        columns |= {} if self.proxy is None else {"proxy": self.proxy}
        return pd.DataFrame(columns | ({} if self.gold is None else {"gold": self.gold}))


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def win_rates(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each prompt the share of pairs that `values` (M, K) win, ties half: (M,)."""
    above = values[:, :, None] > others[:, None, :]
    ties = values[:, :, None] == others[:, None, :]
    return np.asarray((above + 0.5 * ties).mean(axis=(1, 2)))


class Examiner:
    """Look at policies that start from one base, on the same prompts with the same noise."""

    def __init__(self, base: LanguageModel, world: World) -> None:
        self.base, self.world = base, world

    def look(self, policy: LanguageModel, reward: RewardModel | None, key: int = 0) -> Look:
        """Return a look at a policy; its responses are drawn with the noise of `key`."""
        responses = write_looks(policy, self.world, self.world.options.look_each, key)
        proxy = None if reward is None else reward.rewards(responses).numpy()
        kl = divergence(policy, self.base, responses).numpy()
        return Look(
            responses, len(self.world.look_prompts), proxy, self.world.gold_of(responses), kl,
            self._sampled_kl(policy, responses), self.world.words_of(responses),
        )  # fmt: skip

    @torch.no_grad()
    def _sampled_kl(self, policy: LanguageModel, responses: Responses) -> np.ndarray:
        parts = [
            (log_probabilities(policy, piece) - log_probabilities(self.base, piece)).sum(dim=1)
            for piece in responses.batches(BATCH)
        ]
        return torch.cat(parts).numpy()

    @cached_property
    def start(self) -> Look:
        """Return the look at the base itself."""
        return self.look(self.base, None)

    @cached_property
    def best_of_responses(self) -> tuple[Responses, float]:
        """Return responses to choose the best from, and tokens written per CPU second."""
        count = max(self.world.options.policy.best_of)
        began = time.process_time()
        responses = write_looks(self.base, self.world, count, 1)
        seconds = time.process_time() - began
        return responses, float(responses.lengths.sum()) / max(seconds, 1e-9)


def best_of_table(examiner: Examiner, reward: RewardModel) -> pd.DataFrame:
    """Return the best of the most responses by the proxy for each held-out prompt, a row each."""
    responses, _ = examiner.best_of_responses
    proxy = reward.rewards(responses).view(len(examiner.world.look_prompts), -1)
    first = torch.arange(len(proxy)) * proxy.shape[1]
    best = responses.rows(first + proxy.argmax(dim=1))
    world, nothing = examiner.world, np.zeros(len(best))
    scored = proxy.amax(dim=1).numpy(), world.gold_of(best)
    look = Look(best, len(proxy), *scored, nothing, nothing)
    return look.table(world, 0).drop(columns=["kl", "update"]).assign(n=proxy.shape[1])


def best_of_metrics(examiner: Examiner, reward: RewardModel) -> Iterator[Metric]:
    """Yield gold and proxy of the best of n responses, by the proxy and by the gold itself."""
    responses, speed = examiner.best_of_responses
    world, prompts = examiner.world, len(examiner.world.look_prompts)
    proxy = reward.rewards(responses).numpy().reshape(prompts, -1)
    gold = world.gold_of(responses)
    golds = None if gold is None else gold.reshape(prompts, -1)
    for n in world.options.policy.best_of:
        at = {"n": n}
        yield metric("response_kl", float(best_of_n_kl(n)), "upper bound", at=at)
        yield metric("proxy_reward", _rounded(best_of_n(proxy, proxy, n)), at=at)
        if golds is not None:
            yield metric("gold_reward", _rounded(best_of_n(golds, proxy, n)), at=at)
            yield metric("oracle_gold", _rounded(best_of_n(golds, golds, n)), at=at)
    yield metric("rollout_tokens_per_cpu_second", speed)
