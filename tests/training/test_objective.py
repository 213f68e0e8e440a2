"""Objectives against enumeration and closed forms."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from architectures.interface import Unsupported
from bench.config.schema import ObjectiveConfig
from bench.model import build_model
from bench.performance.memory import TrainingStep, profile_step
from bench.training import cross_entropy
from bench.training.objective import Batch, Causal, Masked, build_objective


class World(nn.Module):
    """A model of a small world that returns the exact conditional of every position."""

    def __init__(self, joint: Tensor, causal: bool) -> None:
        super().__init__()
        self.joint, self.vocabulary, self.mask = (
            joint,
            joint.shape[0],
            joint.shape[0],
        )  # joint: V in each of L dimensions
        self.backbone = type(
            "Knows", (), {"causal": causal, "auxiliary": staticmethod(lambda: None)}
        )()

    def head(self, hidden: Tensor) -> Tensor:
        return hidden

    def hidden(self, tokens: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        rows = []
        for row in tokens.tolist():
            seen = self.joint
            for axis, token in enumerate(row):
                if token != self.mask:
                    index = torch.zeros(seen.shape[axis], dtype=torch.bool)
                    index[token] = True
                    seen = seen * index.view([-1 if a == axis else 1 for a in range(seen.dim())])
            total = seen.sum()
            axes = range(seen.dim())
            rows.append(
                torch.stack(
                    [seen.sum([a for a in axes if a != axis]) / total for axis in axes]
                ).log()
            )
        return torch.stack(rows), None


@pytest.fixture
def joint() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    world = torch.rand(3, 3, 3, 3, generator=generator, dtype=torch.float64) ** 3
    return world / world.sum()


def test_the_masked_score_is_the_exact_likelihood_for_exact_conditionals(joint: Tensor) -> None:
    """Any-order identity: over counts and masks, a perfect model scores -log p(x) on average."""
    objective = Masked(World(joint, causal=False))  # type: ignore[arg-type]
    entropy = -(joint * joint.log()).sum()
    found = torch.zeros((), dtype=torch.float64)
    for x in itertools.product(range(3), repeat=4):
        for k in range(1, 5):
            masks = list(itertools.combinations(range(4), k))
            for hidden in masks:
                weight = torch.zeros(1, 4)
                weight[0, list(hidden)] = 1
                targets = torch.tensor([x])
                batch = Batch(targets.masked_fill(weight.bool(), 3), targets, weight)
                found += joint[x] * objective.score(batch).nats / (4 * len(masks))
    assert float(found) == pytest.approx(float(entropy), abs=1e-6)


def test_masks_are_uniform_in_number_and_place() -> None:
    objective = Masked(World(torch.ones(2, 2), causal=False))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    block = torch.zeros(4000, 9, dtype=torch.long)
    batch = objective.batch(block, generator)
    counts = batch.weight.sum(dim=1)
    assert torch.equal(batch.tokens == objective.model.mask, batch.weight.bool())
    assert (
        torch.bincount(counts.long(), minlength=9)[1:].float().div(4000).sub(1 / 8).abs().max()
        < 0.01
    )  # stratified
    assert batch.weight.mean(dim=0).sub(counts.mean() / 8).abs().max() < 0.03


def test_a_fixed_rate_hides_that_share() -> None:
    objective = Masked(World(torch.ones(2, 2), causal=False), "fixed", 0.15)  # type: ignore[arg-type]
    batch = objective.batch(torch.zeros(5, 101, dtype=torch.long), torch.Generator().manual_seed(0))
    assert batch.weight.sum(dim=1).tolist() == [15.0] * 5


def test_causal_targets_are_the_next_tokens() -> None:
    objective = Causal(World(torch.ones(2, 2), causal=True))  # type: ignore[arg-type]
    batch = objective.batch(torch.arange(10).view(2, 5), torch.Generator())
    assert batch.tokens.tolist() == [[0, 1, 2, 3], [5, 6, 7, 8]]
    assert batch.targets.tolist() == [[1, 2, 3, 4], [6, 7, 8, 9]]


def test_causal_and_masked_predict_the_same_tokens() -> None:
    block = torch.arange(10).view(2, 5)
    world = World(torch.ones(2, 2), causal=False)
    causal, masked = Causal(world), Masked(world)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(
        causal.batch(block, generator).targets, masked.batch(block, generator).targets
    )


def test_sums_and_counts_add_over_micro_batches(joint: Tensor) -> None:
    objective = Masked(World(joint, causal=False))  # type: ignore[arg-type]
    block = torch.randint(0, 3, (6, 5), generator=torch.Generator().manual_seed(1))
    batch = objective.batch(block, torch.Generator().manual_seed(2))
    whole = objective(batch)
    pieces = [objective(piece) for piece in batch.split(3)]
    assert float(sum(piece.nats for piece in pieces)) == pytest.approx(float(whole.nats), abs=1e-5)
    assert sum(float(piece.count) for piece in pieces) == float(whole.count)


@pytest.mark.parametrize(
    ("causal", "asked", "given"),
    [(True, "auto", "causal"), (False, "auto", "masked"), (True, "causal", "causal")],
)
def test_auto_takes_what_the_architecture_can(causal: bool, asked: str, given: str) -> None:
    assert (
        build_objective(ObjectiveConfig(kind=asked), World(torch.ones(2, 2), causal)).kind == given
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(("causal", "asked"), [(False, "causal"), (True, "masked")])
def test_what_does_not_suit_is_unsupported_with_its_reason(causal: bool, asked: str) -> None:
    with pytest.raises(Unsupported, match="objective"):
        build_objective(ObjectiveConfig(kind=asked), World(torch.ones(2, 2), causal))  # type: ignore[arg-type]


def test_nats_of_a_uniform_answer() -> None:
    objective = Masked(World(torch.full((5, 5), 1 / 25), causal=False), "fixed", 0.99)  # type: ignore[arg-type]
    total = objective(objective.batch(torch.zeros(3, 3, dtype=torch.long), torch.Generator()))
    assert float(total.nats / total.count) == pytest.approx(math.log(5), abs=1e-6)


# --- a large vocabulary ---------------------------------------------------------------------------


def trained(vocabulary: int, rows: int = 3, length: int = 7) -> tuple[Causal, Batch]:
    objective = Causal(
        build_model({"_target_": "tests.fake_architectures.Valid"}, 8, 16, vocabulary, seed=0)
    )
    block = torch.randint(
        0, vocabulary, (rows, length + 1), generator=torch.Generator().manual_seed(0)
    )
    batch = objective.batch(block, torch.Generator())
    return objective, batch._replace(
        weight=torch.rand(batch.weight.shape, generator=torch.Generator().manual_seed(1))
    )


def gradients(objective: Causal, batch: Batch) -> list[Tensor]:
    objective.zero_grad()
    (objective(batch).nats * 0.3).backward()
    return [
        parameter.grad.clone() for parameter in objective.parameters() if parameter.grad is not None
    ]


@pytest.mark.parametrize(
    "rows", [1, 4, 20]
)  # of 21 targets: the last piece is a smaller one, or not
@pytest.mark.parametrize("half", [False, True])
def test_pieces_give_the_loss_and_the_gradients_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, rows: int, half: bool
) -> None:
    objective, batch = trained(50)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        nats, each, expected = (
            objective(batch).nats,
            objective.token_nats(batch),
            gradients(objective, batch),
        )
        monkeypatch.setattr(cross_entropy, "MAX_LOGITS", rows * 50)
        found, in_pieces, gradient = (
            objective(batch).nats,
            objective.token_nats(batch),
            gradients(objective, batch),
        )
    torch.testing.assert_close(in_pieces, each, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, nats, rtol=1e-6, atol=0)
    for ours, theirs in zip(gradient, expected, strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=0.05 if half else 1e-4, atol=0.02 if half else 1e-6
        )


def test_pieces_hold_less(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, batch = trained(2000, rows=4, length=16)
    adam = torch.optim.AdamW(objective.parameters(), fused=True)

    def step() -> None:
        objective(batch).nats.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    training_step = TrainingStep(step, objective, adam, batch[:3])
    step()
    at_once = profile_step(training_step)
    monkeypatch.setattr(cross_entropy, "MAX_LOGITS", 8 * 2000)
    pieces = profile_step(training_step)
    logits = 4 * 64 * 2000
    assert at_once.peak - pieces.peak > 0.8 * logits
    assert pieces.by_kind["activations"] < 0.3 * logits


def test_pieces_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "MAX_LOGITS", 4 * 50)
    objective, batch = trained(50)
    expected = gradients(objective, batch)
    objective.compile(backend="aot_eager", fullgraph=True)
    for ours, theirs in zip(gradients(objective, batch), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
