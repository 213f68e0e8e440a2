"""Train an architecture with a scalar head to predict which of two responses is preferred."""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import entr, logit
from torch import Tensor, nn

from bench.config.preference_schema import RewardConfig
from bench.config.schema import OptimizerConfig
from bench.model import LanguageModel
from bench.tasks.preferences.losses import label_nats
from bench.tasks.preferences.rollouts import Responses
from bench.training import torch_generator

HEAD_RATE = 5e-3  # of every architecture: a head that starts at zero is no part of its search
WARMUP = 10  # updates: the first ones of Adam would be too large
CLIP = 1.0  # maximum gradient norm
EVALUATION_BATCH = 256


class RewardModel(nn.Module):
    """The language model's states, pooled over the response, and a linear head without bias."""

    def __init__(self, body: LanguageModel, pool: str) -> None:
        super().__init__()
        self.body, self.pool = copy.deepcopy(body), pool
        self.head = nn.Parameter(torch.zeros(body.backbone.width))
        self.shift: Tensor
        self.register_buffer("shift", torch.zeros(()))

    def features(self, responses: Responses) -> Tensor:
        """Return the mean state of each response, or that of its last token, (B, D)."""
        hidden, _ = self.body.hidden(responses.tokens)
        weight = responses.mask
        if self.pool == "last":
            weight = weight * (weight.cumsum(dim=1) == responses.lengths[:, None])
        return (hidden * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True)

    def forward(self, responses: Responses) -> Tensor:
        """Return the reward of each response in log-odds, (B,)."""
        return self.features(responses) @ self.head - self.shift

    @torch.no_grad()
    def rewards(self, responses: Responses) -> Tensor:
        """Return the rewards of any number of responses, (B,), without gradients."""
        self.eval()
        return torch.cat([self(piece) for piece in responses.batches(EVALUATION_BATCH)])

    def centre(self, responses: Responses) -> None:
        """Set the free constant so that these responses have a mean reward of zero."""
        self.shift += self.rewards(responses).mean()


@dataclass(frozen=True)
class LabelledPairs:
    """Two responses to each of N prompts, and labels: 1 the first is preferred, 0 the second."""

    first: Responses
    second: Responses
    labels: Tensor  # (N,) float

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, chosen: Tensor | slice) -> "LabelledPairs":
        """Return some pairs."""
        return LabelledPairs(self.first.rows(chosen), self.second.rows(chosen), self.labels[chosen])


def warm_up(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step: it rises over at most a quarter of them."""
    return min(1.0, (step + 1) / max(1, min(WARMUP, steps // 4)))


def adam(*groups: Iterable[nn.Parameter]) -> torch.optim.AdamW:
    """Return AdamW without weight decay: the start is where decay should lead, not zero."""
    options = OptimizerConfig()
    return torch.optim.AdamW(
        [{"params": list(group)} for group in groups], betas=(options.beta1, options.beta2),
        weight_decay=0.0, fused=True,
    )  # fmt: skip


def update(module: nn.Module, optimizer: torch.optim.AdamW, loss: Tensor, *rates: float) -> float:
    """Do one step with a learning rate for each group; return the gradient norm before clipping."""
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    optimizer.step()
    return float(norm)


def descend(
    model: RewardModel,
    count: int,
    loss_of: Callable[[Tensor], Tensor],
    options: RewardConfig,
    rate: float,
    seed: int,
) -> None:
    """Train a model on `count` examples; `loss_of` gives the loss of some of them by number.

    `rate` is the body's. The head has one rate for all: at the small rate of some bodies it would
    end far below the scale of log-odds, in which beta is given. The order of the examples is a
    function of (seed, epoch). Raise FloatingPointError where the loss is not finite.
    """
    optimizer = adam(model.body.parameters(), [model.head])
    per_epoch = -(-count // options.batch)
    steps = options.epochs * per_epoch
    model.eval()  # no dropout: labels are few, and every architecture is trained alike
    for epoch in range(options.epochs):
        order = torch.randperm(count, generator=torch_generator(seed, 1, epoch))
        for number, chosen in enumerate(order.split(options.batch)):
            step, loss = epoch * per_epoch + number, loss_of(chosen)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the reward model diverged at step {step + 1}")
            share = warm_up(step, steps)
            update(model, optimizer, loss, share * rate, share * HEAD_RATE)


def train_reward(
    body: LanguageModel, pairs: LabelledPairs, options: RewardConfig, rate: float, seed: int
) -> RewardModel:
    """Return a reward model that starts from a language model's weights, as `descend` trains it."""
    reward = RewardModel(body, options.pool)

    def loss(chosen: Tensor) -> Tensor:
        batch = pairs.rows(chosen)
        margin = reward(batch.first) - reward(batch.second)
        return label_nats(margin, batch.labels, options.flip).mean()

    descend(reward, len(pairs), loss, options, rate, seed)
    return reward


def judge(margins: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Compare margins (N,) in log-odds with true probabilities (N,) that the first is preferred.

    Return metrics: expected share of labels that the sign of the margin predicts, its standard
    error over pairs, that share by the true probabilities, expected nats per label, nats above the
    labels' entropy, and the correlation with the true log-odds (NaN where either is constant).
    """
    p = np.clip(np.float64(probabilities), 1e-12, 1 - 1e-12)
    nats = p * np.logaddexp(0, -margins) + (1 - p) * np.logaddexp(0, margins)
    # the probability that a label has the sign of the margin
    hits = np.where(margins > 0, p, np.where(margins < 0, 1 - p, 0.5))
    truth = logit(p)
    varies = min(margins.std(), truth.std()) > 0
    return {
        "reward_accuracy": float(hits.mean()),
        "reward_accuracy_standard_error": float(hits.std(ddof=1) / np.sqrt(len(hits))),
        "reward_nats": float(nats.mean()),
        "reward_regret": float((nats - entr(p) - entr(1 - p)).mean()),
        "reward_correlation": float(np.corrcoef(margins, truth)[0, 1]) if varies else math.nan,
        "best_reward_accuracy": float(np.maximum(p, 1 - p).mean()),
    }


def margins(reward: RewardModel, pairs: LabelledPairs) -> np.ndarray:
    """Return by how much the first response of each pair is better, (N,) log-odds."""
    return (reward.rewards(pairs.first) - reward.rewards(pairs.second)).cpu().numpy()
