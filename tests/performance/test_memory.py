"""Memory of a step: equal to closed forms, to torch's own tracker, and to itself, to the byte."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker

from bench.config.schema import Run, SizeConfig, TrainConfig
from bench.performance.memory import (
    MemoryProfile,
    TrainingStep,
    allocator_peak_bytes,
    profile_step,
    track_existing,
)
from bench.performance.memory_profile import training_step
from bench.performance.workload import Workload
from tests.conftest import OWN, REPRESENTATIVES, each_architecture


class Recurrent(nn.Module):
    """A fused recurrent layer between an embedding and its transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(50, 16), nn.LSTM(16, 16, 2, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(self.table(tokens))[0] @ self.table.weight.T


class Attention(nn.Module):
    """Attention over the sequence, with a mask that the module holds."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = (
            nn.Embedding(50, 16),
            nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True),
        )
        self.register_buffer("mask", torch.ones(12, 12, dtype=torch.bool).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(self.table(tokens), self.mask)


def linear_stack(width: int, layers: int, rows: int, fused: bool = True) -> TrainingStep:
    """Return a step of linear layers without biases on `rows` rows of random numbers."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(layers)))
    return make_step(model, torch.randn(rows, width), fused)


def make_step(
    model: nn.Module, tokens: Tensor, fused: bool = True, bfloat16: bool = False
) -> TrainingStep:
    """Return a plain training step whose optimizer state exists."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=fused, foreach=not fused)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = model(tokens).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    run()
    return TrainingStep(run, model, optimizer, [tokens])


@pytest.mark.parametrize(("width", "layers", "rows"), [(32, 3, 2), (64, 4, 3), (48, 1, 5)])
def test_a_linear_stack_has_its_closed_form(width: int, layers: int, rows: int) -> None:
    weights, row, scalar = 4 * layers * width**2, 4 * rows * width, 4
    profile = profile_step(linear_stack(width, layers, rows))
    kinds = profile.by_kind
    assert (kinds["parameters"], kinds["gradients"]) == (weights, weights)
    # two moments, and a step count per matrix
    assert kinds["optimizer"] == 2 * weights + scalar * layers
    # at the peak the last gradient exists, with the input, the gradient of the first layer's
    # output, the loss and its gradient; with one layer the last two gradients are one number
    expected = row + 2 * scalar if layers == 1 else 2 * row + 2 * scalar
    assert kinds["activations"] + kinds["temporary"] == expected
    assert profile.peak == sum(kinds.values())


def test_with_many_rows_the_activations_have_their_closed_form() -> None:
    width, layers, rows = 8, 5, 400
    row, matrix = 4 * width * rows, 4 * width**2
    kinds = profile_step(linear_stack(width, layers, rows)).by_kind
    # the peak lies within the last but one layer: its input and those before it, two gradients of
    # outputs, the loss and its gradient
    assert kinds["activations"] == (layers - 1) * row + 8
    assert kinds["temporary"] == 2 * row
    assert kinds["gradients"] == 2 * matrix


def test_the_allocator_agrees_where_operators_hold_no_buffers() -> None:
    step = linear_stack(64, 4, 3)
    peak = profile_step(step).peak
    assert allocator_peak_bytes(step) == allocator_peak_bytes(step) == peak


def test_the_foreach_optimizer_takes_more() -> None:
    fused, foreach = (profile_step(linear_stack(64, 3, 2, fused=f)) for f in (True, False))
    assert foreach.by_kind["temporary"] >= 4 * 3 * 64**2  # as large as the parameters
    assert foreach.peak > fused.peak


MODELS: dict[str, Callable[[], TrainingStep]] = {
    "linear": lambda: linear_stack(16, 3, 300),
    "recurrent": lambda: make_step(Recurrent(), torch.randint(50, (4, 12))),
    "attention": lambda: make_step(Attention(), torch.randint(50, (4, 12))),
    "bfloat16": lambda: make_step(
        nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16)),
        torch.randn(40, 16),
        bfloat16=True,
    ),
    "convolution": lambda: make_step(
        nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 3)), torch.randn(5, 4, 30)
    ),
}


def torch_tracker_peak(step: TrainingStep) -> int:
    """Return the peak of torch's own tracker, whose kinds are other ones."""
    tracker = MemTracker()
    tracker.track_external(step.model, step.optimizer, *step.inputs)
    with tracker:
        step.run()
    return int(tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"])


def assert_consistent(step: TrainingStep) -> MemoryProfile:
    profile = profile_step(step)
    assert profile == profile_step(step)
    assert profile.peak == sum(profile.by_kind.values()) == torch_tracker_peak(step)
    return profile


@pytest.mark.parametrize("name", MODELS)
def test_profiles_repeat_and_agree_with_torchs_tracker(name: str) -> None:
    assert_consistent(MODELS[name]())


@pytest.mark.parametrize(
    "path", [each for each in each_architecture(REPRESENTATIVES) if each.values[0] in OWN]
)
def test_profiles_of_every_architecture_repeat_and_agree(path: Path) -> None:
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    train = TrainConfig(batch=4, device="cpu")
    size = SizeConfig(parameters=40_000, context=24)
    workload = Workload(Run(arch=arch, size=size, train=train), 40)
    step = training_step(workload, workload.batches[0])
    step.run()
    profile = assert_consistent(step)
    tensors = [*step.model.parameters(), *step.model.buffers()]
    assert profile.by_kind["parameters"] == sum(t.numel() * t.element_size() for t in tensors)
    assert profile.kept > 0
    assert allocator_peak_bytes(step) >= profile.peak  # it sees buffers inside operators


@pytest.mark.parametrize(("width", "layers", "rows"), [(32, 3, 2), (64, 4, 3), (16, 2, 500)])
def test_traffic_and_kept_bytes_of_a_linear_stack_have_their_closed_form(
    width: int, layers: int, rows: int
) -> None:
    profile = profile_step(linear_stack(width, layers, rows))
    row, matrix, scalar = 4 * rows * width, 4 * width**2, 4
    # each product reads an input and a matrix; then the sum
    forward = layers * (row + matrix + row) + (row + scalar)
    # the gradient of the sum is one number that stands for the gradients of all outputs; one
    # product per matrix's gradient, and one per input's but the first
    backward = (
        scalar
        + layers * (row + matrix)
        + (layers - 1) * (matrix + row)
        + 2 * (scalar + (layers - 2) * row)
        + row
    )
    # the step counts; then fused AdamW reads parameters, gradients, two moments and the counts, and
    # writes all but the gradients and the counts
    optimizer = 2 * scalar * layers + 7 * layers * matrix + scalar * layers
    assert profile.traffic == forward + backward + optimizer
    assert profile.operators == (layers + 1) + (1 + 2 * layers - 1) + 2
    # the input of each layer but the first; the loss and its gradient
    assert profile.kept == (layers - 1) * row + 2 * scalar


def test_tensors_of_another_device_are_not_counted() -> None:
    model = nn.Linear(4, 4, bias=False, device="meta")
    optimizer = torch.optim.AdamW(model.parameters())
    steps = (TrainingStep(print, model, optimizer, [], device) for device in ("meta", "cpu"))
    on_meta, on_cpu = map(track_existing, steps)
    with on_meta, on_cpu:
        (model(torch.ones(2, 4, device="meta")) + 1).sum()
        torch.ones(7)
    assert on_meta.peak_bytes == 4 * (16 + 8 + 8 + 8)  # the matrix, the ones, two results
    assert on_cpu.peak_bytes == 28
