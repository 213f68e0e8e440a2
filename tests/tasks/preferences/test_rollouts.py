"""Responses through the state are those of the full forward pass, for every causal architecture."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bench.model import LanguageModel, build_model
from bench.tasks.preferences import losses
from bench.tasks.preferences.direct import log_ratio, prefer
from bench.tasks.preferences.policies import Trainer
from bench.tasks.preferences.reinforcement import Reinforcement, draw_rollout, policy_loss
from bench.tasks.preferences.reward_model import LabelledPairs, RewardModel, judge
from bench.tasks.preferences.rollouts import (
    Decoder,
    Responses,
    divergence,
    log_probabilities,
    response_logits,
    responses_of,
    write,
)
from tests.conftest import REPRESENTATIVES, each_architecture

VOCABULARY, SEPARATOR = 30, 29
GRU = {"_target_": "architectures.rnn.RNN", "cell": "gru", "layers": 1, "dropout": 0.0}


def peaked(arch: dict, width: int = 32, context: int = 48) -> LanguageModel:
    """A model whose predictions are far from even."""
    model = build_model(arch, width, context, VOCABULARY, seed=1).eval()
    with torch.no_grad():
        model.embedding.weight *= 20
    return model


@pytest.mark.parametrize("path", each_architecture(REPRESENTATIVES))
def test_log_probabilities_through_the_state_are_those_of_the_forward(path: Path) -> None:
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    model = next(
        (made for width in (32, 48, 64, 96) if (made := accepted(arch, width)) is not None), None
    )
    assert model is not None
    if not model.backbone.causal:
        pytest.skip("an encoder writes nothing from left to right")
    prompts = torch.randint(SEPARATOR, (4, 12), generator=torch.Generator().manual_seed(0))
    responses = write(model, prompts, 20, SEPARATOR, torch.Generator().manual_seed(1))
    with torch.no_grad():
        by_forward = response_logits(model, responses).log_softmax(-1)
        decoder = Decoder(model, prompts, 20)
        steps = [decoder.logits(prompts)]
        steps += [decoder.logits(responses.tokens[:, 12 + t : 13 + t]) for t in range(19)]
    by_state = torch.stack(steps, dim=1).log_softmax(-1)
    targets = responses.tokens[:, 12:, None]
    gap = (by_state.gather(-1, targets) - by_forward.gather(-1, targets)).squeeze(-1)
    gap = gap * responses.response_mask
    assert float(gap.abs().max()) < 1e-5
    assert float(gap.sum(dim=1).abs().max()) < 1e-4


def accepted(arch: dict, width: int) -> LanguageModel | None:
    try:
        return peaked(arch, width)
    except Exception:  # a width that the architecture does not take
        return None


def test_a_separator_ends_a_response_and_is_one_of_its_actions() -> None:
    prompts = torch.tensor([[1, 2], [3, 4], [5, 6]])
    written = torch.tensor([[7, SEPARATOR, 8, 9], [SEPARATOR, 1, 1, 1], [1, 2, 3, 4]])
    responses = responses_of(prompts, written, SEPARATOR)
    assert responses.start == 2
    assert responses.lengths.tolist() == [2, 1, 4]
    assert responses.tokens[0].tolist() == [1, 2, 7, SEPARATOR, SEPARATOR, SEPARATOR]
    model = peaked(GRU)
    nats = log_probabilities(model, responses)
    assert (nats[0, 2:] == 0).all()
    assert (nats[0, :2] < 0).all()


def test_what_follows_the_end_changes_neither_reward_nor_log_probability() -> None:
    model, prompts = peaked(GRU), torch.tensor([[1, 2, 3]])
    responses = responses_of(prompts, torch.tensor([[7, SEPARATOR, 8, 9]]), SEPARATOR)
    padded = Responses(
        torch.cat([responses.tokens[:, :5], torch.tensor([[4, 5]])], 1), responses.mask
    )
    reward = RewardModel(model, "mean").eval()
    with torch.no_grad():
        reward.head += torch.randn(32, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(reward(padded), reward(responses))
        last = RewardModel(model, "last").features(padded)
        torch.testing.assert_close(last, model.hidden(padded.tokens[:, :5])[0][:, -1])
    torch.testing.assert_close(
        log_probabilities(model, padded).sum(), log_probabilities(model, responses).sum()
    )


def test_responses_are_drawn_from_the_full_softmax() -> None:
    model = peaked(GRU)
    prompts = torch.tensor([[1, 2, 3]]).repeat(20_000, 1)
    responses = write(model, prompts, 1, SEPARATOR, torch.Generator().manual_seed(3))
    law = response_logits(model, responses.rows(slice(0, 1))).softmax(-1)[0, 0].detach()
    drawn = torch.bincount(responses.tokens[:, 3], minlength=VOCABULARY) / len(prompts)
    error = (law * (1 - law) / len(prompts)).sqrt()
    assert float(((drawn - law).abs() / error.clamp(min=1e-5)).max()) < 4.5


def test_the_divergence_of_a_model_from_itself_is_zero_and_else_agrees_with_its_samples() -> None:
    policy, reference = peaked(GRU), peaked(GRU | {"cell": "lstm"})
    prompts = torch.randint(SEPARATOR, (600, 6), generator=torch.Generator().manual_seed(0))
    responses = write(policy, prompts, 8, SEPARATOR, torch.Generator().manual_seed(1))
    assert float(divergence(policy, policy, responses)[0].abs().max()) < 1e-6
    exact, sampled = divergence(policy, reference, responses)
    with torch.no_grad():
        k1 = log_ratio(policy, reference, responses)
    torch.testing.assert_close(sampled, k1)
    gap, error = float((exact - k1).mean()), float((exact - k1).std() / 600**0.5)
    assert abs(gap) < 4 * error
    assert float(exact.std()) < float(k1.std())


def test_the_first_update_of_rloo_has_the_gradient_of_the_objective() -> None:
    """Enumerated: two tokens, so that every response of a prompt is known."""
    policy, reference = peaked(GRU, width=8), peaked(GRU | {"cell": "lstm"}, width=8)
    worth = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(5))
    prompt = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        policy.embedding.weight /= 4
        reference.embedding.weight /= 4
    setting = Reinforcement(
        reference=reference, reward=lambda responses: worth[responses.tokens[:, 3]],
        prompts=lambda update: prompt.repeat(500, 1), room=1, separator=SEPARATOR, beta=0.3, seed=0,
    )  # fmt: skip
    gradients = []
    for number in range(8):
        rollout = draw_rollout(policy, setting, 4, number)
        advantages = losses.leave_one_out(rollout.returns.unflatten(0, (-1, 4))).flatten(0, 1)
        policy.zero_grad()
        policy_loss(policy, rollout, advantages, None).backward()
        gradients.append(policy.embedding.weight.grad.clone().flatten())
    every = responses_of(prompt.repeat(VOCABULARY, 1), torch.arange(VOCABULARY)[:, None], SEPARATOR)
    logs = log_probabilities(policy, every).squeeze(1)
    gap = logs - log_probabilities(reference, every).squeeze(1).detach()
    policy.zero_grad()
    (-(logs.exp() * (worth - 0.3 * gap)).sum()).backward()
    true = policy.embedding.weight.grad.flatten()
    sampled = torch.stack(gradients)
    error = sampled.std(dim=0).norm() / 8**0.5
    assert float((sampled.mean(dim=0) - true).norm()) < 2 * float(error)
    assert float(true.norm()) > 4 * float(error)


def test_dpo_raises_the_margin_and_resumes_as_if_undisturbed() -> None:
    base, draw = peaked(GRU), torch.Generator().manual_seed(0)
    prompts = torch.randint(SEPARATOR, (64, 4), generator=draw)
    first, second = (
        responses_of(prompts, torch.randint(SEPARATOR, (64, 5), generator=draw), SEPARATOR)
        for _ in range(2)
    )
    pairs = LabelledPairs(first, second, torch.ones(64))
    setting = {"reference": base, "pairs": pairs, "beta": 0.5, "flip": 0.0, "seed": 3}
    straight = Trainer.of(base, 1e-3, 6)
    updates = list(prefer(straight, **setting))
    assert updates[-1].loss < updates[0].loss
    assert updates[-1].chosen > updates[-1].rejected
    stopped = Trainer.of(base, 1e-3, 6)
    halfway = prefer(stopped, **setting)
    for _ in range(3):
        next(halfway)
    resumed = Trainer.of(base, 1e-3, 6)
    resumed.restore(stopped.state())
    assert [update.loss for update in prefer(resumed, **setting)] == [u.loss for u in updates[3:]]


def test_a_perfect_judge_has_no_regret() -> None:
    p = np.array([0.9, 0.2, 0.6])
    best = judge(np.log(p / (1 - p)), p)
    assert best["reward_regret"] == pytest.approx(0, abs=1e-12)
    assert best["reward_accuracy"] == pytest.approx((0.9 + 0.8 + 0.6) / 3)
    assert best["best_reward_accuracy"] == best["reward_accuracy"]
    constant = judge(np.zeros(3), p)
    assert constant["reward_accuracy"] == 0.5
    assert constant["reward_nats"] == pytest.approx(np.log(2))


@pytest.mark.slow
def test_batched_responses_are_twenty_times_as_fast_as_single_ones() -> None:
    model = build_model(GRU | {"layers": 2}, 100, 64, 257, seed=1).eval()
    speeds = []
    for batch in (1, 256):
        prompts = torch.randint(256, (batch, 24))
        began = time.process_time()
        responses = write(model, prompts, 32, 256, torch.Generator().manual_seed(1))
        speeds.append(float(responses.lengths.sum()) / (time.process_time() - began))
    assert speeds[1] > 20 * speeds[0]
