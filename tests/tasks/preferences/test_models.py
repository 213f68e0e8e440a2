"""The exact world through real models: the project's own rollouts, rewards and policies."""

import pytest
import torch
from torch import Tensor

from bench.config.preference_schema import PolicyConfig, RewardConfig
from bench.model import LanguageModel, build_model
from bench.tasks.preferences.direct import prefer, updates_per_epoch
from bench.tasks.preferences.policies import Trainer
from bench.tasks.preferences.reinforcement import Reinforcement, reinforce
from bench.tasks.preferences.reward_model import LabelledPairs, margins, train_reward
from bench.tasks.preferences.rollouts import Responses, log_probabilities
from tests.tasks.preferences.world import BETA, RESPONSES, STEPS, World, divergence

LSTM = {"_target_": "architectures.rnn.RNN", "cell": "lstm", "layers": 2, "dropout": 0.0}
SEPARATOR = 3  # starts every response, and never follows: its prediction is trained away
PROMPT = torch.full((len(RESPONSES), 1), SEPARATOR)
MASK = torch.cat([torch.zeros_like(PROMPT), torch.ones_like(RESPONSES)], dim=1).float()
EVERY = Responses(torch.cat([PROMPT, RESPONSES], dim=1), MASK)


def fitted(law: Tensor) -> LanguageModel:
    """A model of the world's reference law."""
    model = build_model(LSTM, 32, 8, 4, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(500):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 500)
        optimizer.zero_grad()
        (-(law.exp() * log_probabilities(model, EVERY).sum(1))).sum().backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def world() -> World:
    made = World()
    made.reward = made.reward / 1.5  # mild: a response that is never drawn cannot be learned
    made.reference = made.reference / 2
    from tests.tasks.preferences.world import sequence_log_probabilities

    made.log_reference = sequence_log_probabilities(made.reference)
    return made


@pytest.fixture(scope="module")
def base(world: World) -> LanguageModel:
    model = fitted(world.log_reference.float())
    reached = law_of(model)
    assert divergence(world.log_reference, reached) < 1e-3
    return model


@torch.no_grad()
def law_of(model: LanguageModel) -> Tensor:
    return log_probabilities(model, EVERY).sum(1).double().log_softmax(0)


def optimum(world: World, base: LanguageModel) -> Tensor:
    return (law_of(base) + world.reward / BETA).log_softmax(0)


@pytest.mark.slow
def test_dpo_with_exact_labels_reaches_the_optimum_through_a_model(
    world: World, base: LanguageModel
) -> None:
    first, second = torch.triu_indices(81, 81, 1)
    label = torch.sigmoid(world.reward[first] - world.reward[second]).float()
    pairs = LabelledPairs(EVERY.rows(first), EVERY.rows(second), label)
    epochs = 6
    trainer = Trainer.of(base, 5e-3, epochs * updates_per_epoch(len(pairs)))
    for _ in prefer(trainer, base, pairs, BETA, 0.0, seed=0):
        pass
    assert divergence(law_of(trainer.policy), optimum(world, base)) < 1e-2


@pytest.mark.slow
def test_rloo_comes_near_the_optimum_through_a_model(world: World, base: LanguageModel) -> None:
    reward = world.reward.float()

    def score(responses: Responses) -> Tensor:
        digits = responses.tokens[:, 1:]
        valid = (digits < 3).all(dim=1)
        number = (digits * torch.tensor([27, 9, 3, 1])).sum(dim=1).clamp(max=80)
        return torch.where(valid, reward[number], -5.0)

    setting = Reinforcement(
        reference=base, reward=score, prompts=lambda update: torch.full((16, 1), SEPARATOR),
        room=STEPS, separator=SEPARATOR, beta=BETA, seed=0,
    )  # fmt: skip
    trainer = Trainer.of(base, 3e-3, 400)
    start = divergence(law_of(base), optimum(world, base))
    for _ in reinforce(trainer, setting, PolicyConfig(updates=400, each=4)):
        pass
    assert divergence(law_of(trainer.policy), optimum(world, base)) < min(0.12, start / 4)


@pytest.mark.slow
def test_a_reward_model_with_exact_labels_finds_the_rewards(
    world: World, base: LanguageModel
) -> None:
    first, second = torch.triu_indices(81, 81, 1)
    truth = world.reward[first] - world.reward[second]
    pairs = LabelledPairs(EVERY.rows(first), EVERY.rows(second), torch.sigmoid(truth).float())
    reward = train_reward(base, pairs, RewardConfig(epochs=12), 3e-3, seed=0)
    found_margins = torch.from_numpy(margins(reward, pairs)).double()
    slope = float((found_margins * truth).sum() / truth.square().sum())
    assert slope == pytest.approx(1, abs=0.1)
    assert float((found_margins - truth).square().mean().sqrt()) < 0.15
