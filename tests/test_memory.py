"""Memory: equal to closed forms, to torch's own tracker, and to itself, to the byte."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker

from bench.config.schema import Run, SizeConfig, TrainConfig
from bench.performance import memory, process_memory
from bench.performance.memory import (
    MemoryProfile,
    allocator_peak_bytes,
    cpu_peak_memory,
    profile_step,
)
from bench.performance.memory_profile import training_step
from bench.performance.tensor_tracker import TensorTracker
from bench.performance.workload import Workload
from bench.system.host import worker_environment
from tests.conftest import OWN

Setup = tuple[Callable[[], None], nn.Module, torch.optim.Optimizer, list[Tensor]]
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other actively make a busy machine crawl."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


def stack(width: int, layers: int, rows: int, fused: bool = True) -> Setup:
    """Linear layers without biases on `rows` rows of random numbers."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(layers)))
    return setup(model, torch.randn(rows, width), fused)


def setup(model: nn.Module, tokens: Tensor, fused: bool = True, half: bool = False) -> Setup:
    """A model, its optimizer, and one plain training step."""
    adam = torch.optim.AdamW(model.parameters(), fused=fused, foreach=not fused)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = model(tokens).sum()
        out.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    return step, model, adam, [tokens]


@pytest.mark.parametrize(("width", "layers", "rows"), [(32, 3, 2), (64, 4, 3), (48, 1, 5)])
def test_a_linear_stack_is_its_closed_form(width: int, layers: int, rows: int) -> None:
    numbers, row, scalar = 4 * layers * width**2, 4 * rows * width, 4
    found = cpu_peak_memory(*stack(width, layers, rows))
    assert (found.parameters, found.gradients) == (numbers, numbers)
    assert (
        found.optimizer == 2 * numbers + scalar * layers
    )  # two moments, and a count of steps for each matrix
    # highest when the last gradient is there, and with it the input, the gradient of the first layer's output, the loss
    # and its gradient; in a stack of one layer those last two gradients are one number that stands for all
    assert found.activations + found.temporary == (
        row + 2 * scalar if layers == 1 else 2 * row + 2 * scalar
    )
    assert found.total == sum(astuple(found)[1:])


def test_with_many_rows_the_activations_have_their_closed_form() -> None:
    width, layers, rows = 8, 5, 400
    row, matrix = 4 * width * rows, 4 * width**2
    found = cpu_peak_memory(*stack(width, layers, rows))
    # highest within the last but one layer: its input and those before it, two gradients of outputs, the loss and its gradient
    assert found.activations == (layers - 1) * row + 8
    assert found.temporary == 2 * row
    assert found.gradients == 2 * matrix


def test_the_allocator_agrees_where_operators_hold_nothing_of_their_own() -> None:
    step, model, adam, inputs = stack(64, 4, 3)
    found = cpu_peak_memory(step, model, adam, inputs)
    assert (
        allocator_peak_bytes(step, model, adam, inputs)
        == allocator_peak_bytes(step, model, adam, inputs)
        == found.total
    )


def test_the_foreach_optimizer_takes_more() -> None:
    fused, foreach = (
        cpu_peak_memory(*stack(64, 3, 2)),
        cpu_peak_memory(*stack(64, 3, 2, fused=False)),
    )
    assert foreach.temporary >= 4 * 3 * 64**2  # as large as the parameters
    assert foreach.total > fused.total


MODELS: dict[str, Callable[[], Setup]] = {
    "linear": lambda: stack(16, 3, 300),
    "recurrent": lambda: setup(Recurrent(), torch.randint(50, (4, 12))),
    "attention": lambda: setup(Attention(), torch.randint(50, (4, 12))),
    "bfloat16": lambda: setup(
        nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16)),
        torch.randn(40, 16),
        half=True,
    ),
    "convolution": lambda: setup(
        nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 3)), torch.randn(5, 4, 30)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_itself_and_to_torchs_tracker(name: str) -> None:
    step, model, adam, inputs = MODELS[name]()
    found = cpu_peak_memory(step, model, adam, inputs)
    assert found == cpu_peak_memory(step, model, adam, inputs)
    assert found.total == sum(astuple(found)[1:]) == tracked(step, model, adam, inputs)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_every_architecture_is_equal_to_itself_and_to_torchs_tracker(path: Path) -> None:
    arch, train = (
        yaml.safe_load(path.read_text(encoding="utf-8")),
        TrainConfig(batch=4, device="cpu"),
    )
    subject = Workload(
        Run(arch=arch, size=SizeConfig(parameters=40_000, context=24), train=train), 40
    )
    objective, adam = subject.objective, subject.optimizer
    step, inputs = training_step(subject, subject.batches[0])
    step()
    once, twice = (profile_step(step, objective, adam, inputs) for _ in range(2))
    assert once == twice
    assert once.peak.total == sum(astuple(once.peak)[1:]) == tracked(step, objective, adam, inputs)
    assert once.peak.parameters == 4 * sum(p.numel() for p in objective.parameters()) + sum(
        kept.numel() * kept.element_size() for kept in objective.buffers()
    )
    assert once.kept > 0
    assert (
        allocator_peak_bytes(step, objective, adam, inputs) >= once.peak.total
    )  # it sees buffers inside operators as well


def tracked(
    step: Callable[[], object], model: nn.Module, adam: memory.OptimizerLike, inputs: list[Tensor]
) -> int:
    """The total peak that torch's own tracker sees. What it says of the kinds is not comparable: it has other ones."""
    tracker = MemTracker()
    tracker.track_external(model, adam, *inputs)
    with tracker:
        step()
    return int(tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"])


# --- what operators move ----------------------------------------------------------------------------------------------


def weighed(setting: Setup) -> MemoryProfile:
    setting[0]()
    return profile_step(*setting)


@pytest.mark.parametrize(("width", "layers", "rows"), [(32, 3, 2), (64, 4, 3), (16, 2, 500)])
def test_what_a_linear_stack_moves_and_keeps_is_counted_by_hand(
    width: int, layers: int, rows: int
) -> None:
    found, row, matrix, scalar = (
        weighed(stack(width, layers, rows)),
        4 * rows * width,
        4 * width**2,
        4,
    )
    forward = layers * (row + matrix + row) + (
        row + scalar
    )  # each product reads an input and a matrix; then the sum
    # the gradient of the sum is one number, and stands for the gradients of all outputs; one product for the gradient of each
    # matrix, and one for that of each input but the first
    backward = (
        scalar
        + layers * (row + matrix)
        + (layers - 1) * (matrix + row)
        + 2 * (scalar + (layers - 2) * row)
        + row
    )
    # the counts of steps; then fused AdamW reads parameters, gradients, two moments and the counts, and writes all but
    # the gradients and the counts
    adam = 2 * scalar * layers + 7 * layers * matrix + scalar * layers
    assert found.traffic == forward + backward + adam
    assert found.operators == (layers + 1) + (1 + 2 * layers - 1) + 2
    assert (
        found.kept == (layers - 1) * row + 2 * scalar
    )  # what goes into each layer but the first; the loss and its gradient


TABLE, ROW, CHOICE = torch.ones(1000, 8), torch.ones(8), torch.tensor([7, 2])
MOVES: dict[str, tuple[Callable[[], object], int]] = {
    "a view": (lambda: TABLE.t().reshape(8, 10, 100)[2:4], 0),
    "an empty tensor": (lambda: torch.empty(5), 0),
    "a number for Python": (lambda: ROW[0].item(), 0),
    "a new tensor": (lambda: torch.zeros(5), 20),
    "as another": (lambda: torch.ones_like(ROW), 32),
    "a sum of two": (lambda: ROW + TABLE, 32 + 2 * 32_000),
    "the same twice": (lambda: ROW * ROW, 32 + 32),
    "in place": (lambda: ROW.mul_(1.0), 32 + 32),
    "filled": (lambda: ROW.fill_(1.0), 32),
    "copied": (lambda: TABLE[3].copy_(ROW), 32 + 32),
    "given out to": (lambda: torch.neg(TABLE[:8, 0], out=ROW), 32 + 32),
    "repeated": (lambda: ROW.expand(1000, 8).clone(), 32 + 32_000),
    "repeated out of a table": (lambda: TABLE[3].expand(1000, 8).clone(), 32 + 32_000),
    "looked up": (lambda: nn.functional.embedding(CHOICE, TABLE), 64 + 16 + 64),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_an_operator_moves(name: str) -> None:
    work, expected = MOVES[name]
    storages = TensorTracker()
    with storages:
        work()
    assert storages.traffic == expected
    assert storages.operators == (expected > 0)


# --- the process ------------------------------------------------------------------------------------------------------

RISE = """
import torch
from bench.performance.process_memory import process_before, process_rise
kept = [torch.ones(1 << 22) for _ in range(8)]  # 128 MiB that the process keeps when they are given back
del kept
before = process_before()
numbers = torch.nn.Parameter(torch.zeros(2, 2))
adam = torch.optim.AdamW([numbers], fused=True)
def step(size):
    held = torch.ones(size)
    numbers.sum().backward()
    adam.step()
step(1)
print(process_rise(before))
step(1 << 24)
print(process_rise(before))
"""


@pytest.mark.skipif(not process_memory.RESET_FILE.exists(), reason="this system has no /proc")
def test_the_rise_sees_a_tensor_that_lives_only_within_the_step() -> None:
    words = [sys.executable, "-c", RISE]
    done = subprocess.run(
        words,
        env=worker_environment(1),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    without, with_tensor = (int(line) for line in done.stdout.split())
    assert (
        0 <= without < 8 << 20
    )  # what torch loads at its first step (75 MB and more) is no part of it
    assert 64 << 20 <= with_tensor < (64 + 16) << 20


def test_without_counters_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process_memory, "RESET_FILE", tmp_path / "clear_refs")
    before = process_memory.reset_peak_bytes()
    assert before == f"not available: {tmp_path}/clear_refs: No such file or directory"
    assert process_memory.peak_growth_bytes(before) == before
    assert not (tmp_path / "clear_refs").exists()

    monkeypatch.setattr(process_memory, "STATUS_FILE", tmp_path / "status")
    assert (
        process_memory.peak_growth_bytes(5)
        == f"not available: {tmp_path}/status: No such file or directory"
    )
    process_memory.STATUS_FILE.write_text("VmRSS:\t  314000 kB\n", encoding="utf-8")
    assert process_memory.peak_growth_bytes(5) == f"not available: {tmp_path}/status has no VmHWM"
    process_memory.STATUS_FILE.write_text("VmHWM:\t  314000 kB\n", encoding="utf-8")
    assert process_memory.peak_growth_bytes(5) == 314_000 * 1024 - 5
    assert process_memory.peak_growth_bytes(314_000 * 1024) == 0


def test_setting_out_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    process_memory.reset_peak_bytes()
    assert torch.equal(before, torch.get_rng_state())
