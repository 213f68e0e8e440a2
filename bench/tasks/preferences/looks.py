"""Evaluate a policy on held-out prompts: gold, proxy, KL and length, beside the start's."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from bench.model import LanguageModel
from bench.records.metrics import Metric, metric
from bench.stats.frontiers import best_of_n, best_of_n_kl
from bench.tasks.preferences.reward_model import RewardModel
from bench.tasks.preferences.rollouts import Responses, divergence, write_batches
from bench.tasks.preferences.spans import SpanModel
from bench.tasks.preferences.worlds import World, token_rows

TEXT_COLUMNS = {"response_kl": "kl", "proxy_reward": "proxy", "gold_reward": "gold"}


def write_looks(model: LanguageModel, world: World, each: int, key: int) -> Responses:
    """Return `each` responses to every held-out prompt, those of a prompt in a row."""
    prompts = world.look_prompts.repeat_interleave(each, dim=0)
    room, separator = world.options.response, world.vocabulary.separator
    return write_batches(model, prompts, room, separator, (world.run.seed, 4, key))


def text_table(
    responses: Responses, world: World, values: dict[str, np.ndarray], update: int | None = None
) -> pd.DataFrame:
    """Return the texts of responses with their numbers, a row each."""
    tokens, decode = responses.tokens.numpy(), world.vocabulary.decode
    table = pd.DataFrame({
        "prompt": [decode(row[: responses.start]) for row in tokens],
        "text": [decode(row) for row in token_rows(responses)],
        "tokens": responses.lengths.numpy().astype(int),
        **{title: values[name] for name, title in TEXT_COLUMNS.items() if name in values},
    })  # fmt: skip
    if update is not None:
        table.insert(0, "update", update)
    return table


@dataclass(frozen=True)
class Look:
    """Held-out responses of one model, those of a prompt in a row, with what they are worth."""

    responses: Responses
    prompts: int
    values: dict[str, np.ndarray]  # by metric, (prompts · each,)

    def by_prompt(self, name: str) -> np.ndarray:
        """Return the values of a metric by prompt, (prompts, each)."""
        return self.values[name].reshape(self.prompts, -1)

    def metrics(self, at: dict[str, float], start: "Look") -> Iterator[Metric]:
        """Yield the mean of each prompt as a sample, and shares of all responses."""
        for name in self.values:
            yield metric(name, _rounded(self.by_prompt(name).mean(axis=1)), at=at)
        if "gold_reward" in self.values:
            wins = win_rates(self.by_prompt("gold_reward"), start.by_prompt("gold_reward"))
            yield metric("win_rate", _rounded(wins), at=at)
        texts = {row.tobytes() for row in token_rows(self.responses)}
        yield metric("distinct_responses", len(texts) / len(self.responses), at=at)

    def table(self, world: World, update: int) -> pd.DataFrame:
        """Return the responses with their numbers, a row each."""
        return text_table(self.responses, world, self.values, update)


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

    def look(
        self,
        policy: LanguageModel,
        reward: RewardModel | None = None,
        spans: SpanModel | None = None,
    ) -> Look:
        """Return a look at a policy; without a reward model it has no proxy."""
        world = self.world
        responses = write_looks(policy, world, world.options.look_each, 0)
        exact, sampled = divergence(policy, self.base, responses)
        values = {
            "response_kl": exact.numpy(),
            "response_k1": sampled.numpy(),
            "proxy_reward": None if reward is None else reward.rewards(responses).numpy(),
            "gold_reward": world.gold_of(responses),
            "response_length": responses.lengths.numpy(),
            "completed_words": world.words_of(responses),
            "marked_share": None if spans is None else spans.marked_share(responses),
        }
        present = {name: value for name, value in values.items() if value is not None}
        return Look(responses, len(world.look_prompts), present)

    @cached_property
    def start(self) -> Look:
        """Return the look at the base itself."""
        return self.look(self.base)

    @cached_property
    def best_of_responses(self) -> tuple[Responses, float]:
        """Return responses to choose the best from, and tokens written per CPU second."""
        count = max(self.world.options.policy.best_of)
        began = time.process_time()
        responses = write_looks(self.base, self.world, count, 1)
        seconds = time.process_time() - began
        return responses, float(responses.lengths.sum()) / max(seconds, 1e-9)


def best_of_table(examiner: Examiner, proxy: np.ndarray) -> pd.DataFrame:
    """Return the best of the most responses by the proxy (M, N), a row for each prompt."""
    responses, _ = examiner.best_of_responses
    chosen = np.arange(len(proxy)) * proxy.shape[1] + proxy.argmax(axis=1)
    best = responses.rows(torch.from_numpy(chosen))
    values = {"proxy_reward": proxy.max(axis=1), "gold_reward": examiner.world.gold_of(best)}
    present = {name: value for name, value in values.items() if value is not None}
    return text_table(best, examiner.world, present).assign(n=proxy.shape[1])


def best_of_metrics(examiner: Examiner, proxy: np.ndarray) -> Iterator[Metric]:
    """Yield gold and proxy (M, N) of the best of n responses, by the proxy and by the gold."""
    responses, speed = examiner.best_of_responses
    gold = examiner.world.gold_of(responses)
    golds = None if gold is None else gold.reshape(proxy.shape)
    for n in examiner.world.options.policy.best_of:
        at = {"n": n}
        yield metric("response_kl", float(best_of_n_kl(n)), "upper bound", at=at)
        yield metric("proxy_reward", _rounded(best_of_n(proxy, proxy, n)), at=at)
        if golds is not None:
            yield metric("gold_reward", _rounded(best_of_n(golds, proxy, n)), at=at)
            yield metric("oracle_gold", _rounded(best_of_n(golds, golds, n)), at=at)
    yield metric("rollout_tokens_per_cpu_second", speed)
