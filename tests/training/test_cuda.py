"""On a CUDA device: training as on a CPU, precision of architectures, allocated memory, clocks."""

from pathlib import Path

import pytest
import torch
import yaml

from architectures.rnn import RNN
from bench.config.schema import ObjectiveConfig, Run, SizeConfig, TrainConfig
from bench.data import Blocks
from bench.model import build_model
from bench.performance.memory_profile import profile_workload
from bench.performance.workload import Workload
from bench.training import (
    build_objective,
    build_optimizer,
    set_matmul_precision,
    train,
    train_settings,
)
from tests.conftest import OWN

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CONTEXT, BATCH, STEPS = 64, 8, 60


def asked(path: Path, device: str, precision: str) -> Run:
    recipe = TrainConfig(
        steps=STEPS,
        batch=BATCH,
        warmup=10,
        learning_rate=3e-3,
        device=device,
        precision=precision,
        log_every=STEPS,
    )
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    kept = {
        name: "reference" for name in options if name == "kernels"
    }  # theirs choose for minutes: tests/test_kernels.py
    return Run(arch=options | kept, size=SizeConfig(60_000, CONTEXT), train=recipe)


def loss(run: Run) -> float:
    """Mean nats over a training on a text of a few words that come again."""
    plan = train_settings(run)
    set_matmul_precision(plan)
    model = build_model(run.arch, 32, CONTEXT, 128, seed=0, device=plan.device)
    module = build_objective(ObjectiveConfig(), model)
    words = torch.randint(128, (7, 5), generator=torch.Generator().manual_seed(0))
    text = (
        words[torch.randint(7, (40_000,), generator=torch.Generator().manual_seed(1))]
        .flatten()
        .numpy()
    )
    blocks = Blocks(text, CONTEXT, BATCH, 0)
    steps = list(train(module, build_optimizer(module, run.optimizer, 3e-3), blocks, plan))
    return steps[-1].log.nats


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_training_goes_as_on_a_processor(path: Path) -> None:
    there = loss(asked(path, "cpu", "float32"))
    assert loss(asked(path, "cuda", "float32")) == pytest.approx(there, rel=0.02)
    assert loss(asked(path, "cuda", "bfloat16")) == pytest.approx(there, rel=0.05)


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_cells_under_autocast_are_bfloat16_by_cudnn(cell: str) -> None:
    network, x = RNN(64, CONTEXT, cell=cell).cuda(), torch.randn(4, CONTEXT, 64, device="cuda")  # type: ignore[arg-type]
    expected = network(x)[0]
    with torch.autocast("cuda", dtype=torch.bfloat16):
        mixed, _ = network(x)
        _, after = network(x, network.init_state(4, CONTEXT, x))
    assert mixed.dtype == (
        torch.bfloat16 if (torch.backends.cudnn.version() or 0) >= 91300 else torch.float32
    )
    assert mixed.grad_fn is not None
    assert "Cudnn" in mixed.grad_fn.name()  # and not token by token
    assert (mixed.float() - expected).abs().max() <= 0.05 * expected.abs().max()
    assert network.parts(after)[0].dtype == torch.float32


def test_memory_is_what_the_allocator_counts() -> None:
    path = next(path for path in OWN if path.stem == "transformer")
    subject = Workload(asked(path, "cuda", "auto"), 128)
    found = profile_workload(subject, "not measured")
    for _ in range(2):
        subject.step()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    subject.step()
    torch.cuda.synchronize()
    assert found["peak_train_memory_bytes"] == pytest.approx(
        torch.cuda.max_memory_allocated(), rel=0.02
    )
    kinds = ("parameters", "gradients", "optimizer", "activations", "temporary")
    assert (
        sum(float(found[f"memory_{kind}_bytes"]) for kind in kinds)
        == found["peak_train_memory_bytes"]
    )


def test_windows_of_every_kind_are_timed() -> None:
    path = next(path for path in OWN if path.stem == "rnn")
    subject = Workload(asked(path, "cuda", "auto"), 128)
    for window in (subject.train(), subject.prefill(), subject.decode(), subject.next_token()):
        assert window.tokens / window.wall > 0
    assert 0 < subject.busy_share() <= 1.05
