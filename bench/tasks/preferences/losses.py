"""State the losses of learning from preferences: tensors in, tensors out.

B responses of R tokens · G groups of K responses to one prompt. Log-probabilities are natural.
"""

import torch
from torch import Tensor
from torch.nn import functional


def bradley_terry(margin: Tensor, flip: float = 0.0) -> Tensor:
    """Return the nats of "the first is preferred" where its reward is higher by `margin`.

    `flip`: the share of labels that are known to be reversed; the likelihood is then the mixture
    (1 - flip)·σ(margin) + flip·σ(-margin), which estimates the same rewards as clean labels.
    """
    if not flip:
        return -functional.logsigmoid(margin)
    kept = torch.log1p(margin.new_tensor(-flip)) + functional.logsigmoid(margin)
    reversed_label = margin.new_tensor(flip).log() + functional.logsigmoid(-margin)
    return -torch.logaddexp(kept, reversed_label)


def label_nats(margin: Tensor, label: Tensor, flip: float = 0.0) -> Tensor:
    """Return the nats of labels: 1 the first is preferred, 0 the second; between them, shares."""
    first, second = bradley_terry(margin, flip), bradley_terry(-margin, flip)
    return label * first + (1 - label) * second


def dpo(first: Tensor, second: Tensor, label: Tensor, beta: float, flip: float = 0.0) -> Tensor:
    """Return the nats of labels under the reward that a policy implies (Rafailov et al. 2023).

    `first`, `second` (pairs,): log-probabilities of the responses under the policy less those under
    the reference. The optimum is that of E[reward] - beta·KL, with rewards in log-odds.
    """
    return label_nats(beta * (first - second), label, flip)


def exact_kl(policy_logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Return KL(policy || reference) of the next token, (…, V) -> (…), by the sum over V."""
    policy = policy_logits.log_softmax(dim=-1)
    gap = policy - reference_logits.log_softmax(dim=-1)
    return (policy.exp() * gap).sum(dim=-1)


def leave_one_out(returns: Tensor) -> Tensor:
    """Return each return less the mean of the others of its group, (G, K, …) -> same (RLOO).

    Ahmadian et al. 2024, arXiv:2402.14740.
    """
    count = returns.shape[1]
    return (returns - returns.mean(dim=1, keepdim=True)) * (count / (count - 1))


def idle_groups(returns: Tensor, tolerance: float = 1e-6) -> int:
    """Count the groups (G, K) whose returns are all alike: they have no gradient."""
    return int((returns.amax(dim=1) - returns.amin(dim=1) <= tolerance).sum())


def terminal_rewards(rewards: Tensor, mask: Tensor) -> Tensor:
    """Return rewards (B,) at the last token of each response, else 0: (B, R)."""
    last = mask.cumsum(dim=1).eq(mask.sum(dim=1, keepdim=True)) & mask.bool()
    return last * rewards[:, None]


def to_go(rewards: Tensor) -> Tensor:
    """Return the sum of the rewards from each token on, (B, R)."""
    return rewards.flip(-1).cumsum(dim=-1).flip(-1)


def policy_gradient(log_probabilities: Tensor, advantages: Tensor) -> Tensor:
    """Return the loss whose gradient is the policy gradient: the mean over responses (B, R).

    `advantages` (B, R), or (B, 1) where the response is one action, are not differentiated.
    """
    return -(log_probabilities * advantages.detach()).sum(dim=-1).mean()


def clipped_policy_gradient(
    log_probabilities: Tensor, sampled: Tensor, advantages: Tensor, clip: float
) -> Tensor:
    """Return PPO's loss: ratios to the sampling policy count up to 1 ± clip.

    Schulman et al. 2017, arXiv:1707.06347. `sampled` (B, R): log-probabilities when sampled.
    """
    ratio = (log_probabilities - sampled.detach()).exp()
    gain = ratio * advantages.detach()
    clipped = ratio.clamp(1 - clip, 1 + clip) * advantages.detach()
    return -torch.minimum(gain, clipped).sum(dim=-1).mean()
