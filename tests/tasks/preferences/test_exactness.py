"""In a world of 81 responses every method reaches its closed-form optimum, and wrong ones do not."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.tasks.preferences import losses, shaping
from tests.tasks.preferences.world import (
    BETA,
    CONTEXTS,
    RESPONSES,
    World,
    divergence,
    sample,
    sequence_log_probabilities,
    token_log_probabilities,
)

WORLD = World()
MASK = torch.ones(RESPONSES.shape, dtype=torch.float64)
Loss = Callable[[Tensor], Tensor]


def descend(loss: Loss, steps: int = 400, rate: float = 0.1) -> Tensor:
    """Minimise a loss that is exact: rows of all responses, weighed by their probabilities."""
    logits = WORLD.start()
    optimizer = torch.optim.Adam([logits], rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(logits).backward()
        optimizer.step()
        schedule.step()
    return sequence_log_probabilities(logits.detach())


def kl_samples(log_policy: Tensor, log_reference: Tensor) -> dict[str, Tensor]:
    """Estimates of KL(policy || reference) from samples of the policy (Schulman 2020)."""
    gap = log_reference - log_policy
    return {"k1": -gap, "k2": gap.square() / 2, "k3": gap.exp() - 1 - gap}


def expected_loss(penalty: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The expected loss of a policy gradient on the reward with a KL penalty as a *loss*."""
    reference = token_log_probabilities(WORLD.reference)

    def loss(logits: Tensor) -> Tensor:
        tokens = token_log_probabilities(logits)
        law = tokens.sum(1).detach().exp()
        gain = (tokens.sum(1) * WORLD.reward * law).sum()
        return -gain + BETA * (law * penalty(tokens, reference)).sum()

    return loss


def test_the_optimum_has_the_objective_beta_log_z() -> None:
    best = WORLD.objective(WORLD.log_optimum)
    assert float(best) == pytest.approx(float(BETA * WORLD.log_partition), abs=1e-12)
    assert divergence(WORLD.log_optimum, WORLD.log_reference) > 1  # it is far from the start


def test_dpo_with_exact_labels_reaches_the_optimum() -> None:
    first, second = torch.triu_indices(81, 81, 1)
    label = torch.sigmoid(WORLD.reward[first] - WORLD.reward[second])
    weight = (WORLD.log_reference[first] + WORLD.log_reference[second]).exp()
    weight = weight / weight.sum()
    logits = WORLD.start()
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=800, max_eval=2000, tolerance_grad=1e-13, tolerance_change=1e-18,
        history_size=60, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        ratio = sequence_log_probabilities(logits) - WORLD.log_reference
        loss = (weight * losses.dpo(ratio[first], ratio[second], label, BETA)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    reached = sequence_log_probabilities(logits.detach())
    assert abs(divergence(reached, WORLD.log_optimum)) < 1e-9


def reinforce(
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor], steps: int, epochs: int = 1
) -> float:
    """Train by sampled groups of 4, KL as k1 in the reward; return KL from the optimum."""
    draw, logits = torch.Generator().manual_seed(1), WORLD.start()
    optimizer = torch.optim.Adam([logits], 0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps * epochs)
    for _ in range(steps):
        rows = sample(logits, 256, draw)
        sampled = token_log_probabilities(logits.detach())[rows]
        returns = WORLD.reward[rows] - BETA * (sampled.sum(1) - WORLD.log_reference[rows])
        advantages = losses.leave_one_out(returns.view(-1, 4)).view(-1, 1)
        for _ in range(epochs):
            optimizer.zero_grad()
            loss_of(token_log_probabilities(logits)[rows], sampled, advantages).backward()
            optimizer.step()
            schedule.step()
    return divergence(sequence_log_probabilities(logits.detach()), WORLD.log_optimum)


def test_rloo_reaches_the_optimum() -> None:
    reached = reinforce(lambda now, _, advantages: losses.policy_gradient(now, advantages), 800)
    assert reached < 3e-3


def test_ppo_reaches_the_optimum() -> None:
    def loss(now: Tensor, sampled: Tensor, advantages: Tensor) -> Tensor:
        return losses.clipped_policy_gradient(now, sampled, advantages, 0.2)

    assert reinforce(loss, 400, epochs=4) < 3e-3


def wrong(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    def penalty(policy: Tensor, reference: Tensor) -> Tensor:
        if name == "k1":
            return kl_samples(policy.sum(1), reference.sum(1))["k1"]
        return kl_samples(policy, reference)[name.split()[0]].sum(1)

    return penalty


@pytest.mark.parametrize("name", ["k1", "k2 a token", "k3 a token"])
def test_a_kl_estimate_as_a_loss_misses_the_optimum(name: str) -> None:
    reached = descend(expected_loss(wrong(name)))
    assert divergence(reached, WORLD.log_optimum) > 0.02


def test_k2_of_the_response_as_a_loss_has_the_right_gradient() -> None:
    def penalty(policy: Tensor, reference: Tensor) -> Tensor:
        return kl_samples(policy.sum(1), reference.sum(1))["k2"]

    assert divergence(descend(expected_loss(penalty)), WORLD.log_optimum) < 2e-2


def test_k1_in_the_reward_reaches_the_optimum_exactly() -> None:
    reached = descend(lambda logits: -WORLD.objective(sequence_log_probabilities(logits)))
    assert divergence(reached, WORLD.log_optimum) < 1e-3


def optimum_of(rewards: Tensor) -> Tensor:
    return (WORLD.log_reference + rewards / BETA).log_softmax(0)


def test_a_potential_leaves_the_optimum_and_a_bonus_moves_it() -> None:
    draw = torch.Generator().manual_seed(2)
    of_prefix = torch.randn(121, generator=draw, dtype=torch.float64)
    prefixes = torch.cat([CONTEXTS, 40 + torch.arange(81)[:, None]], dim=1)  # of 0 … 4 symbols
    shaped = losses.terminal_rewards(WORLD.reward, MASK)
    shaped = shaped + shaping.potential_shaping(of_prefix[prefixes], MASK)
    moved = optimum_of(shaped.sum(1)) - WORLD.log_optimum
    assert float(moved.abs().max()) < 1e-12
    bonus = 0.5 * (RESPONSES == 0).double()
    hacked = optimum_of(WORLD.reward + bonus.sum(1))
    assert divergence(hacked, WORLD.log_optimum) > 0.02
    zeros = (RESPONSES == 0).double().sum(1)
    assert float((hacked.exp() * zeros).sum()) > float((WORLD.log_optimum.exp() * zeros).sum())
    reached = descend(
        lambda x: -WORLD.objective(sequence_log_probabilities(x), WORLD.reward + bonus.sum(1))
    )
    assert divergence(reached, hacked) < 5e-3


def test_shaped_rewards_to_go_have_the_gradient_of_the_unshaped_response() -> None:
    """By enumeration: reward to go, with and without a potential, has the gradient of the whole."""
    logits = WORLD.start()
    tokens = token_log_probabilities(logits)
    law = tokens.sum(1).detach().exp()
    rewards = losses.terminal_rewards(WORLD.reward, MASK)
    potentials = torch.randn(121, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    prefixes = torch.cat([CONTEXTS, 40 + torch.arange(81)[:, None]], dim=1)
    shaped = rewards + shaping.potential_shaping(potentials[prefixes], MASK)
    gradients = []
    for advantages in (WORLD.reward[:, None], losses.to_go(rewards), losses.to_go(shaped)):
        loss = 81 * losses.policy_gradient(law[:, None] * tokens, advantages)
        gradients.append(torch.autograd.grad(loss, logits, retain_graph=True)[0])
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=0, atol=1e-12)


def test_kl_estimates_by_enumeration() -> None:
    law, true = WORLD.log_optimum.exp(), divergence(WORLD.log_optimum, WORLD.log_reference)
    samples = kl_samples(WORLD.log_optimum, WORLD.log_reference)
    assert float((law * samples["k1"]).sum()) == pytest.approx(true, abs=1e-12)
    assert float((law * samples["k3"]).sum()) == pytest.approx(true, abs=1e-12)
    assert float((law * samples["k2"]).sum()) > true + 0.5
    reversed_k3 = kl_samples(WORLD.log_reference, WORLD.log_optimum)["k3"]
    assert float((law * reversed_k3).sum()) > 2 * true  # the estimator of some libraries


def test_the_exact_sum_over_the_vocabulary_is_the_kl_of_the_response() -> None:
    policy = torch.randn(40, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    log_policy = sequence_log_probabilities(policy)
    places = losses.exact_kl(policy[CONTEXTS], WORLD.reference[CONTEXTS]).sum(1)
    true = divergence(log_policy, WORLD.log_reference)
    assert float((log_policy.exp() * places).sum()) == pytest.approx(true, abs=1e-12)
    k1 = kl_samples(log_policy, WORLD.log_reference)["k1"]
    law = log_policy.exp()
    assert float((law * (places - true) ** 2).sum()) < float((law * (k1 - true) ** 2).sum())


def test_bradley_terry_with_reversed_labels() -> None:
    """The best margins of expected labels: the true ones, corrected; too small ones, uncorrected."""
    margin = torch.linspace(-3, 3, 13, dtype=torch.float64)
    flip = 0.2
    label = (1 - flip) * torch.sigmoid(margin) + flip * torch.sigmoid(-margin)
    fits = {}
    for name, correction in (("corrected", flip), ("naive", 0.0)):
        fit = torch.zeros_like(margin).requires_grad_()
        optimizer = torch.optim.LBFGS(
            [fit],
            max_iter=500,
            tolerance_grad=1e-12,
            tolerance_change=1e-16,
            line_search_fn="strong_wolfe",
        )

        def closure(fit=fit, optimizer=optimizer, correction=correction) -> Tensor:
            optimizer.zero_grad()
            loss = losses.label_nats(fit, label, correction).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        fits[name] = fit.detach()
    torch.testing.assert_close(fits["corrected"], margin, rtol=0, atol=1e-5)
    slope = float((fits["naive"] * margin).sum() / (margin**2).sum())
    assert (1 - 2 * flip) ** 2 < slope < 1 - 2 * flip + 0.05
    assert float(fits["naive"].abs().max()) < math.log((1 - flip) / flip)


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    returns = torch.tensor([[1.0, 2.0, 6.0], [3.0, 3.0, 3.0]])
    expected = torch.tensor([[1 - 4.0, 2 - 3.5, 6 - 1.5], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(losses.leave_one_out(returns), expected)
    assert losses.idle_groups(returns) == 1


def test_the_clip_stops_a_gain_and_not_a_loss() -> None:
    sampled = torch.zeros(2, 1)
    now = torch.tensor([[0.5], [0.5]], requires_grad=True)  # ratio 1.65
    losses.clipped_policy_gradient(now, sampled, torch.tensor([[1.0], [-1.0]]), 0.2).backward()
    assert now.grad is not None
    assert now.grad[0] == 0
    assert now.grad[1] > 0
