"""Regret is zero for the oracle, counts targets with a loss only, and reports leaks below zero."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import data, evaluation, generate
from bench.config.errors import UserError
from bench.config.identity import identity
from bench.config.schema import DataConfig, Run, SizeConfig, SyntheticConfig, TrainConfig
from bench.config.validation import validate_run
from bench.data import Corpus
from bench.evaluation import regret
from bench.evaluation.leak_check import LeakDetected
from bench.evaluation.scorer import Scorer
from bench.execution import worker
from bench.training import train_settings
from bench.training.objective import Causal, Masked
from tests.conftest import Command

ARCH = {"_target_": "tests.fake_architectures.Valid", "tune": {"learning_rate": 0.01}}
SMALL = "data.synthetic.tokens=20000 data.synthetic.held_out=4000".split()


class Says(nn.Module):
    """A model that answers with a table: logits by the last token alone, (V, V)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table, self.vocabulary, self.mask = (
            torch.cat([table, table[:1]]),
            len(table),
            len(table),
        )
        self.backbone = type(
            "Knows", (), {"causal": True, "auxiliary": staticmethod(lambda: None)}
        )()

    def hidden(self, tokens: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        return self.table[tokens], None

    def head(self, hidden: Tensor) -> Tensor:
        return hidden


def corpus(kind: str, **numbers: int) -> Corpus:
    synthetic = SyntheticConfig(
        **({"kind": kind, "length": 16, "tokens": 4000, "held_out": 3000} | numbers)
    )  # type: ignore[arg-type]
    return data.prepare(
        DataConfig(source="synthetic", tokenizer="symbols", synthetic=synthetic), kind
    )


def scored(made: Corpus, table: Tensor) -> dict[str, float]:
    objective = Causal(Says(table))  # type: ignore[arg-type]
    assert made.synthetic is not None
    score = regret.causal_regret(Scorer(objective, made, 16, train_settings(Run(arch=ARCH))))
    return {metric.name: metric.values[0] for metric in score.metrics}


def test_the_oracle_itself_has_no_regret() -> None:
    made = corpus("markov", order=1)
    table = torch.full((9, 9), -40.0)
    table[:8, :8] = torch.from_numpy(made.synthetic.transitions).log()  # type: ignore[union-attr]
    found = scored(made, table)
    assert found["regret"] == pytest.approx(0, abs=1e-6)
    assert found["nats_per_token"] == pytest.approx(found["oracle_nats_per_token"], abs=1e-6)
    assert found["accuracy"] == found["oracle_accuracy"] > 1 / 8
    assert found["scored_tokens"] == 2999


def test_a_uniform_model_loses_the_log_of_the_vocabulary() -> None:
    made = corpus("markov", order=1)
    found = scored(made, torch.zeros(9, 9))
    assert found["nats_per_token"] == pytest.approx(math.log(9), abs=1e-6)
    assert found["regret"] == pytest.approx(math.log(9) - found["oracle_nats_per_token"], abs=1e-6)
    assert 0 < found["regret_standard_error"] < 0.02


def test_only_targets_with_a_loss_are_scored_and_trained() -> None:
    made = corpus("recall", symbols=16, pairs=3)
    part = made.parts["test"]
    assert part.loss_mask is not None
    found = scored(made, torch.zeros(17, 17))
    assert found["scored_tokens"] == part.loss_mask.sum() == 4 * ((len(part.tokens) - 1) // 16)
    assert found["regret"] == pytest.approx(math.log(17), abs=1e-6)
    assert found["oracle_accuracy"] == 1
    block = data.Blocks(part.tokens, 16, 3, 0, part.loss_mask).at(0)
    objective = Causal(Says(torch.zeros(17, 17)))  # type: ignore[arg-type]
    batch = objective.batch_of(block, torch.Generator())
    assert batch.tokens.min() >= 0
    assert batch.weight.sum(dim=1).tolist() == [4, 4, 4]
    assert objective(batch).count == 12
    masked = Masked(Says(torch.zeros(17, 17))).batch_of(block, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert masked.weight[batch.weight == 0].sum() == 0
    assert masked.targets.equal(batch.targets)


def test_the_error_is_over_windows() -> None:
    random = np.random.default_rng(0)
    differences = random.normal(0.1, 0.3, 400)
    mean, error = regret.ratio_and_error(differences * 16, np.full(400, 16.0))
    assert mean == pytest.approx(differences.mean())
    assert error == pytest.approx(differences.std(ddof=1) / 20)


@pytest.mark.parametrize(("errors", "leaks"), [(3.9, False), (4.1, True)])
def test_a_leak_is_reported_beyond_four_standard_errors(errors: float, leaks: bool) -> None:
    noise = np.tile([-1.0, 1.0], 200)
    _, error = regret.ratio_and_error(noise, np.ones(400))
    sums = np.stack(
        [np.ones(400), noise - errors * error + 2, np.ones(400), np.full(400, 2.0), np.ones(400)],
        axis=1,
    )
    if leaks:
        with pytest.raises(
            LeakDetected,
            match=r"^leak: 0\.\d+ nats per token below the best that is possible \(4 standard",
        ):
            regret.regret_metrics(sums)
    else:
        assert regret.regret_metrics(sums)[0].values[0] < 0


@pytest.mark.parametrize("windows", [1, 2, 3, 5])
def test_a_perfect_model_on_few_windows_is_hardly_ever_reported_as_a_leak(windows: int) -> None:
    draw, caught = np.random.default_rng(windows), 0
    for _ in range(1000):
        best = draw.uniform(20, 30, windows)
        nats = best + draw.normal(
            0, 1, windows
        )  # as good as the oracle but for the luck of the tokens
        sums = np.stack(
            [np.full(windows, 10.0), nats, np.zeros(windows), best, np.zeros(windows)], axis=1
        )
        try:
            regret.regret_and_error(sums)
        except LeakDetected:
            caught += 1
    assert caught <= 2


def recorded(double: str, folder: Path) -> dict[str, Any]:
    """What stands in the record of a small run of a double."""
    law = SyntheticConfig(kind="markov", tokens=30_000, held_out=4000)
    run = Run(
        arch={"_target_": f"tests.fake_architectures.{double}", "tune": {"learning_rate": 0.01}},
        data=DataConfig(source="synthetic", tokenizer="symbols", synthetic=law),
        size=SizeConfig(parameters=10_000, context=16),
        train=TrainConfig(steps=120, batch=16, warmup=10, validations=1),
        names={"arch": "ahead", "data": "markov", "size": "tiny", "objective": "auto"},
    )  # fmt: skip
    (folder / "checkpoint").mkdir()
    assert worker.run_and_record(run, folder) == 4
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def test_a_model_that_looks_ahead_is_found_without_the_causality_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.training.run_setup.check_before_training", lambda model: None)
    result = recorded("LooksAhead", tmp_path)
    assert result["status"] == "failed"
    assert result["reason"].startswith("leak: ")


def test_a_model_that_does_not_compute_what_its_weights_say_is_not_scored(tmp_path: Path) -> None:
    result = recorded("KeepsItsWeights", tmp_path)
    assert result["status"] == "failed"
    assert "its weights" in result["reason"]
    assert not result["metrics"]


def test_the_source_is_part_of_the_identity_only_where_it_is_used() -> None:
    def named(**changes: object) -> str:
        return identity(Run(arch=ARCH, data=DataConfig(**changes)))  # type: ignore[arg-type]

    seeds = [SyntheticConfig(kind="markov", seed=seed) for seed in (0, 1)]
    assert named() == named(synthetic=SyntheticConfig(seed=1))
    assert len({named(source="synthetic", synthetic=one) for one in seeds}) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "synthetic"}, "data=markov"),
        ({"source": "text", "synthetic": SyntheticConfig(kind="markov")}, "data=markov"),
        ({"source": "text", "tokenizer": "symbols"}, "data.tokenizer=symbols"),
        (
            {"source": "synthetic", "synthetic": SyntheticConfig(kind="markov")},
            "data.tokenizer=bytes",
        ),
        (
            {
                "source": "synthetic",
                "tokenizer": "symbols",
                "synthetic": SyntheticConfig(kind="dyck", length=64),
            },
            "size.context=128",
        ),
        (
            {
                "source": "synthetic",
                "tokenizer": "symbols",
                "synthetic": SyntheticConfig(kind="markov", symbols=1),
            },
            "data.synthetic.symbols=1",
        ),
    ],
)
def test_conflicting_options_are_user_errors(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        validate_run(Run(arch=ARCH, data=DataConfig(**changes)))  # type: ignore[arg-type]


def test_an_encoder_is_scored_on_targets_with_a_loss_only() -> None:
    made = corpus("recall", symbols=16, pairs=3)
    objective = Masked(Says(torch.zeros(17, 17)))  # type: ignore[arg-type]
    objective.model.table[:, :8] = 5.0  # every answer is one of the last eight symbols
    score = evaluation.pseudo_likelihood(
        Scorer(objective, made, 16, train_settings(Run(arch=ARCH))), 300
    )
    wrong = math.log(8 * math.exp(5) + 8)  # the separator is known to be none
    assert {metric.name: metric.values[0] for metric in score.metrics}[
        "pseudo_nats_per_token"
    ] == pytest.approx(wrong)


@pytest.mark.slow
def test_the_command_on_a_synthetic_source(
    run_command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny = ["size=tiny", "size.context=24", "measure=off", "train.steps=6", "train.batch=4"]
    done = run_command("arch=bigram", "data=recall", *SMALL, *tiny)
    assert done.returncode == 0, done.stderr
    result = json.loads(next(tmp_path.glob("results/single/runs/*/result.json")).read_text())
    found = {metric["name"]: metric for metric in result["metrics"]}
    assert found["regret"]["values"] == found["nats_per_token"]["values"]
    assert found["accuracy"]["unit"] == "share"
    assert found["state_bytes"]["values"] == [0.0]
    assert not {"bits_per_byte", "scored_bytes", "validation_bytes_per_token"} & set(found)
    assert (tmp_path / "results/single/report/index.html").exists()
    run = str(next(tmp_path.glob("results/single/runs/bigram*")))
    monkeypatch.setattr(sys, "argv", ["generate", run, "--prompt", "a"])
    assert generate.main() == 2
    assert "synthetic" in capsys.readouterr().err
