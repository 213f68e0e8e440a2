"""What a record says was decided on the way."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from bench.config.schema import OptimizerConfig, Run, TrainConfig
from bench.execution.finalize import run_facts
from bench.execution.fit import optimizer_facts
from bench.model.contract import ModelUnderTest
from bench.training import build_optimizer, train_settings
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("name", "parts", "pieces"), [("moe", 2, 2), ("moe", 1, None), ("cnn", 2, None)]
)
def test_an_auxiliary_loss_in_parts_is_noted(name: str, parts: int, pieces: int | None) -> None:
    arch = yaml.safe_load(Path(ROOT / f"conf/arch/{name}.yaml").read_text(encoding="utf-8"))
    run = Run(arch=arch, train=TrainConfig(learning_rate=0.1, device="cpu"))
    model = ModelUnderTest(arch).build()
    with torch.no_grad():
        model(torch.zeros(2, 8, dtype=torch.long))
    setup = SimpleNamespace(model=model, settings=train_settings(run))
    run = replace(run, train=replace(run.train, accumulate=parts))
    assert run_facts(setup, run).get("auxiliary_pieces") == pieces


@pytest.mark.parametrize(("kind", "keys"), [("muon", {"muon_precision"}), ("adamw", set())])
def test_the_precision_of_muon_is_noted(kind: str, keys: set[str]) -> None:
    optimizer = build_optimizer(torch.nn.Linear(4, 4), OptimizerConfig(kind=kind), 1e-3)
    assert set(optimizer_facts(optimizer)) == keys
