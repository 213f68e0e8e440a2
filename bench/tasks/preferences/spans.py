"""Learn which tokens of a response people mark as wrong, and reward what they would not mark."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.config.preference_schema import RewardConfig
from bench.model import LanguageModel
from bench.tasks.preferences.reward_model import RewardModel, descend
from bench.tasks.preferences.rollouts import Responses
from bench.tasks.preferences.shaping import Shape


class SpanModel(RewardModel):
    """The language model's states with a linear head: log-odds that people mark a token."""

    def forward(self, responses: Responses) -> Tensor:
        """Return the log-odds of every token of the responses, (B, R); `shift` is constant."""
        hidden, _ = self.body.hidden(responses.tokens)
        return hidden[:, responses.start :] @ self.head + self.shift

    @torch.no_grad()
    def marked(self, responses: Responses) -> Tensor:
        """Return the probability that people mark each token, (B, R); zero after the end."""
        return self.rewards(responses).sigmoid() * responses.response_mask

    def marked_share(self, responses: Responses) -> np.ndarray:
        """Return the expected share of marked tokens in each response, (B,)."""
        return (self.marked(responses).sum(dim=1) / responses.lengths).numpy()


def token_nats(log_odds: Tensor, marks: Tensor, responses: Responses) -> Tensor:
    """Return the nats per token of which tokens are marked, `marks` (B, T): (B,)."""
    mask = responses.response_mask
    nats = functional.binary_cross_entropy_with_logits(
        log_odds.expand_as(mask), marks[:, responses.start :], reduction="none"
    )
    return (nats * mask).sum(dim=1) / mask.sum(dim=1)


def train_spans(
    body: LanguageModel,
    responses: Responses,
    marks: Tensor,
    options: RewardConfig,
    rate: float,
    seed: int,
) -> SpanModel:
    """Return a model of the marked tokens, `marks` (B, T); it starts at their share."""
    model = SpanModel(body, "mean")
    share = float((marks * responses.mask).sum() / responses.mask.sum())
    share = min(max(share, 1e-6), 1 - 1e-6)
    model.shift += math.log(share / (1 - share))

    def loss(chosen: Tensor) -> Tensor:
        batch = responses.rows(chosen)
        return token_nats(model(batch), marks[chosen], batch).mean()

    descend(model, len(responses), loss, options, rate, seed)
    return model


@torch.no_grad()
def nats_saved(model: SpanModel, responses: Responses, marks: Tensor) -> list[float]:
    """Return for each response the nats per token saved over predicting their training share."""
    saved = []
    for first in range(0, len(responses), 64):
        rows = slice(first, first + 64)
        batch, own = responses.rows(rows), marks[rows]
        constant = token_nats(model.shift, own, batch)
        saved += (constant - token_nats(model(batch), own, batch)).tolist()
    return saved


def span_shape(model: SpanModel, penalty: float) -> Shape:
    """Return rewards that take `penalty` log-odds for each token that people would mark."""
    return lambda responses: -penalty * model.marked(responses)
