"""Memory metrics: of a training step, and of a whole workload."""

import pytest

from bench.config.schema import MeasureConfig, Run, SizeConfig, TrainConfig
from bench.performance import memory
from bench.performance.memory_profile import profile_memory, profile_workload
from bench.performance.workload import Workload
from tests.performance.test_memory import linear_stack

WIDTH, LAYERS, ROWS = 8, 5, 400


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip collecting, which takes a tenth of a second each time and finds nothing here."""
    monkeypatch.setattr(memory.gc, "collect", lambda: 0)


def test_a_linear_stack_is_profiled_to_the_byte() -> None:
    matrix, row = 4 * WIDTH**2, 4 * ROWS * WIDTH
    metrics = profile_memory(linear_stack(WIDTH, LAYERS, ROWS), ROWS, "no counters")
    kinds = {  # see the closed forms in test_memory.py
        "parameters": LAYERS * matrix,
        "gradients": 2 * matrix,
        "optimizer": 2 * LAYERS * matrix + 4 * LAYERS,
        "activations": (LAYERS - 1) * row + 8,
        "temporary": 2 * row,
    }
    assert {kind: metrics.pop(f"memory_{kind}_bytes") for kind in kinds} == kinds
    assert metrics.pop("peak_train_memory_bytes") == sum(kinds.values())
    # a product of so many rows packs them into a buffer
    assert metrics.pop("memory_allocator_peak_bytes") >= sum(kinds.values())  # type: ignore[operator]
    assert metrics.pop("memory_process_rise_bytes") == "no counters"
    assert metrics.pop("activation_bytes_per_token") == ((LAYERS - 1) * row + 8) / ROWS
    assert metrics.pop("operators_per_step") == 3 * LAYERS + 3
    assert set(metrics) == {"traffic_bytes_per_token"}


def test_on_cuda_what_the_allocator_adds_to_the_tensors_is_temporary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Check the arithmetic with a stand-in for the device."""
    step = linear_stack(WIDTH, LAYERS, ROWS)
    on_cpu, profile = profile_memory(step, ROWS, 0), memory.profile_step(step)
    cuda_step = memory.TrainingStep(step.run, step.model, step.optimizer, step.inputs, "cuda")
    monkeypatch.setattr(memory, "profile_step", lambda step: profile)
    peaks = profile.peak + 5_000, profile.peak + 90_000
    monkeypatch.setattr(memory, "cuda_peak_bytes", lambda step: peaks)
    on_cuda = profile_memory(cuda_step, ROWS, "no counters")
    assert (on_cuda["peak_train_memory_bytes"], on_cuda["memory_reserved_bytes"]) == peaks
    names = [f"memory_{kind}_bytes" for kind in memory.MEMORY_KINDS]
    assert [on_cuda[name] for name in names[:4]] == [on_cpu[name] for name in names[:4]]
    assert sum(on_cuda[name] for name in names) == peaks[0]  # type: ignore[misc]
    assert "memory_allocator_peak_bytes" not in on_cuda


def make_workload(limit: int = 0) -> Workload:
    target = "tests.performance.fake_backbones.Sum"
    arch = {"_target_": target, "tune": {"learning_rate": 1e-3}}
    train, measure = TrainConfig(batch=6, device="cpu"), MeasureConfig(memory_limit=limit)
    size = SizeConfig(parameters=3_000, context=16)
    return Workload(Run(arch=arch, size=size, train=train, measure=measure), 40)


def test_a_workload_is_profiled_by_metric() -> None:
    metrics = profile_workload(make_workload(), 0)
    assert "largest_batch" not in metrics
    assert metrics["state_bytes"] == 4 * make_workload().model.backbone.width
    assert metrics["state_bytes_per_token"] == 0
    peak = metrics["peak_train_memory_bytes"]
    assert isinstance(peak, int)
    kinds = (metrics[f"memory_{kind}_bytes"] for kind in memory.MEMORY_KINDS)
    assert peak == sum(kinds)  # type: ignore[misc]
    # the memory of its own batch holds that batch and not a sequence more
    assert profile_workload(make_workload(peak), 0)["largest_batch"] == 6
    assert profile_workload(make_workload(peak - 1), 0)["largest_batch"] == 5
    assert isinstance(profile_workload(make_workload(5), 0)["largest_batch"], str)
