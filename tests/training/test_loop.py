"""The loop: schedule, resuming, accumulation, divergence, and that nothing but the seed decides."""

import copy
import dataclasses
import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench import evaluation
from bench.config.errors import UserError
from bench.config.schema import OptimizerConfig
from bench.config.validation import CHOICES
from bench.data import TokenBlock
from bench.model import LanguageModel, compiler
from bench.training import (
    Diverged,
    TrainState,
    build_optimizer,
    checkpoint,
    compilation,
    torch_generator,
    train,
)
from bench.training.optimizer import CombinedOptimizer
from bench.training.parameter_kinds import parameter_kinds
from bench.training.settings import seed_devices
from tests.training.toy import ORIGIN, PatternBlocks, make, train_all


@pytest.mark.parametrize("kind", CHOICES["optimizer.kind"])
def test_the_same_seed_gives_the_same_losses_and_weights_by_bit(kind: str) -> None:
    (a, adam_a, plan), (b, adam_b, _) = make(kind=kind), make(kind=kind)
    assert train_all(a, adam_a, plan) == train_all(b, adam_b, plan)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_another_seed_gives_others() -> None:
    (a, adam_a, plan), (b, adam_b, other) = make(), make(seed=1)
    assert train_all(a, adam_a, plan)[-1].nats != train_all(b, adam_b, other)[-1].nats


@pytest.mark.parametrize("kind", CHOICES["optimizer.kind"])
def test_it_learns(kind: str) -> None:
    steps = train_all(*make(steps=60, kind=kind))
    assert steps[-1].nats < 0.5 * steps[0].nats


@pytest.mark.parametrize("kind", CHOICES["optimizer.kind"])
def test_going_on_from_a_checkpoint_equals_never_having_stopped(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    objective, adam, plan = make(kind=kind)
    whole = train_all(objective, adam, plan)
    stopped, half, _ = make(kind=kind)
    loop = train(stopped, half, PatternBlocks(), plan)
    for _ in range(3):
        step = next(loop).step
    checkpoint.save_train_state(tmp_path, TrainState(step), stopped, half, ORIGIN)
    fresh, other, _ = make(kind=kind)
    first = checkpoint.load_train_state(tmp_path, fresh, other, ORIGIN)
    assert (first, caplog.records) == (TrainState(6), [])
    assert train_all(fresh, other, plan, first) == whole[3:]
    assert all(
        torch.equal(x, y) for x, y in zip(objective.parameters(), fresh.parameters(), strict=True)
    )


@pytest.mark.parametrize("damage", ["cut", "noise", "another model", "another text"])
def test_a_checkpoint_that_can_not_be_used_is_set_aside(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    objective, adam, _ = make()
    checkpoint.save_train_state(tmp_path, TrainState(4), objective, adam, ORIGIN)
    path = tmp_path / "training.pt"
    if damage == "another text":
        path.unlink()
        checkpoint.save_train_state(
            tmp_path, TrainState(4), objective, adam, ORIGIN | {"data": "e"}
        )
    elif damage == "another model":
        wrong = {"module": nn.Linear(2, 2).state_dict(), "optimizer": adam.state_dict()}
        torch.save({"origin": ORIGIN, **TrainState(4)._asdict(), **wrong}, path)
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "cut" else b"x" * 1000)
    before = copy.deepcopy(objective.state_dict())
    assert checkpoint.load_train_state(tmp_path, objective, adam, ORIGIN) == TrainState()
    assert "training.pt.broken" in caplog.text
    assert not path.exists()
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())


def test_micro_batches_sum_to_the_same_step() -> None:
    (a, adam_a, plan), (b, adam_b, cut) = make(steps=4), make(steps=4, accumulate=3)
    for x, y in zip(train_all(a, adam_a, plan), train_all(b, adam_b, cut), strict=True):
        assert x.nats == pytest.approx(y.nats, abs=1e-5)


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_step() -> None:
    objective, adam, plan = make()

    class Breaks(PatternBlocks):
        def at(self, step: int) -> TokenBlock:
            if step == 4:
                with torch.no_grad():
                    next(objective.parameters()).fill_(torch.nan)
            return super().at(step)

    loop = train(objective, adam, Breaks(), plan)
    assert [next(loop).step, next(loop).step] == [2, 4]
    with pytest.raises(Diverged) as error:
        next(loop)
    assert error.value.step == 5


def test_steps_without_a_target_teach_nothing_and_have_no_loss() -> None:
    class SomeTargets(PatternBlocks):
        def at(self, step: int) -> TokenBlock:
            block = super().at(step)
            return block._replace(loss_mask=np.full(block.tokens.shape, step not in (0, 4, 5)))

    objective, adam, plan = make(log_every=1)
    before = copy.deepcopy(objective.state_dict())
    loop = train(objective, adam, SomeTargets(), dataclasses.replace(plan, warmup=0))
    first = next(loop).log
    assert first is not None
    assert (first.targets, math.isnan(first.nats)) == (0.0, True)
    kept = [name for name, value in objective.state_dict().items() if (value == before[name]).all()]
    assert any(value.ndim == 1 for value in before.values())  # without weight decay
    assert {name for name, value in before.items() if value.ndim == 1} <= set(kept)
    steps = [event.log for event in loop if event.log]
    assert [step.step for step in steps if math.isnan(step.nats)] == [5, 6]
    assert steps[-1].nats < steps[0].nats


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_rises_then_falls_to_its_final_share(schedule: str) -> None:
    *_, plan = make(steps=100, warmup=10, schedule=schedule, final_rate=0.1)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(plan.learning_rate / 10)
    assert max(rates) == rates[9] == pytest.approx(plan.learning_rate)
    assert rates[99] == pytest.approx(plan.learning_rate * 0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))


def test_the_constant_schedule_and_a_warm_up_longer_than_the_run() -> None:
    *_, plan = make(steps=10, warmup=1000, schedule="constant")
    assert [plan.rate(step) for step in (4, 9)] == [plan.learning_rate] * 2


@pytest.mark.parametrize("validations", [1, 3, 10])
def test_looks_at_the_validation_part_are_spread_evenly_and_the_last_is_at_the_end(
    validations: int,
) -> None:
    *_, plan = make(steps=100, log_every=1, validations=validations)
    looks = [step for step in range(1, 101) if plan.validation_due(step)]
    assert len(looks) == validations
    assert looks[-1] == 100


def test_muon_and_adamw_share_the_parameters() -> None:
    objective, both, _ = make(kind="muon")
    assert isinstance(both, CombinedOptimizer)
    muon, adamw = (
        {id(p) for group in part.param_groups for p in group["params"]} for part in both.parts
    )
    kinds, named = parameter_kinds(objective), dict(objective.named_parameters())
    assert muon == {id(p) for name, p in named.items() if kinds[name] == "matrix"}
    assert muon | adamw == {id(p) for p in named.values()}
    assert not muon & adamw


def test_a_step_of_muon_is_orthogonal_in_the_scale_of_adamw() -> None:
    layer = nn.Linear(8, 24, bias=False)
    before = layer.weight.detach().clone()
    optimizer = build_optimizer(layer, OptimizerConfig(kind="muon", weight_decay=0.0), 0.01)
    layer(torch.randn(64, 8, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    optimizer.step()
    singular = torch.linalg.svdvals(before - layer.weight.detach()) / (0.01 * 0.2 * 24**0.5)
    assert (
        (singular > 0.5) & (singular < 1.5)
    ).all()  # five iterations bring them near 1, no further


def test_a_generator_is_a_function_of_its_key() -> None:
    draws = {
        key: float(torch.rand((), generator=torch_generator(*key)))
        for key in [(0, 1), (1, 0), (0, 2)]
    }
    assert len(set(draws.values())) == 3
    assert float(torch.rand((), generator=torch_generator(0, 1))) == draws[(0, 1)]


def test_the_model_is_the_one_that_the_objective_holds() -> None:
    assert isinstance(make()[0].model, LanguageModel)


def test_dropout_acts_in_every_step_whatever_was_done_to_the_model_between_them() -> None:
    objective, adam, plan = make(log_every=4)
    objective.model.eval()
    seen: list[bool] = []
    objective.model.backbone.register_forward_pre_hook(
        lambda module, _: seen.append(module.training)
    )
    for _ in train(objective, adam, PatternBlocks(), plan):
        objective.eval()
    assert seen == [True] * 12


def test_reseeding_is_torchs_own() -> None:
    seed_devices(torch.device("cpu"), 5)
    ours = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(ours, torch.rand(3))


# --- compiling ------------------------------------------------------------------------------------


def test_a_missing_compiler_is_reported_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError) as error:
        compilation.check_compile(make(compile="default")[2])
    assert error.value.code == "no-compiler"
    assert "no-such-compiler" in str(error.value)
    compilation.check_compile(make()[2])


def test_cuda_graphs_and_micro_batches_exclude_each_other() -> None:
    with pytest.raises(UserError) as error:
        compilation.check_compile(make(compile="reduce-overhead", accumulate=2)[2])
    assert error.value.code == "conflicting-values"
    assert "train.accumulate=1" in str(error.value)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU"
)
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute"
)  # of torch itself while it traces; outside of pytest it is not seen
def test_compiled_training_is_eager_training_but_for_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "USER_CACHE", None)
    monkeypatch.setenv(compiler.CACHE_VARIABLE, "")  # given back at the end
    (eager, adam, plan), (compiled, other, same) = make(), make(compile="default", accumulate=2)
    compilation.compile_objective(compiled, same, str(tmp_path))
    before = copy.deepcopy(compiled.state_dict())
    assert compilation.warm_up(compiled, same, PatternBlocks()) > 0
    assert all(torch.equal(value, before[name]) for name, value in compiled.state_dict().items())
    assert all(parameter.grad is None for parameter in compiled.parameters())
    with torch.compiler.set_stance("fail_on_recompile"):
        steps = train_all(compiled, other, same)
        look = evaluation.validation_nats(compiled, PatternBlocks().at(3).rows(slice(2)), same)
    for ours, theirs in zip(steps, train_all(eager, adam, plan), strict=True):
        assert ours.nats == pytest.approx(theirs.nats, abs=1e-4)
    assert look == pytest.approx(
        evaluation.validation_nats(eager, PatternBlocks().at(3).rows(slice(2)), plan), abs=1e-4
    )
    assert list((tmp_path / "compiled").iterdir())
