"""Memory: equal to closed forms, to torch's own tracker, and to itself, to the byte."""

from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker

from bench.config import Run, Size, Train
from bench.measure.memory import KINDS, allocator_peak, cpu_peak
from bench.measure.subject import Subject
from bench.train import update

Setup = tuple[Callable[[], None], nn.Module, torch.optim.Optimizer, list[Tensor]]
YAMLS = sorted((Path(__file__).parents[1] / "conf" / "arch").glob("*.yaml"))


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
        self.table, self.layer = nn.Embedding(50, 16), nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
        self.register_buffer("mask", torch.ones(12, 12, dtype=torch.bool).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(self.table(tokens), self.mask)


def stack(width: int, layers: int, rows: int, fused: bool = True) -> Setup:
    """Linear layers without biases on `rows` rows of random numbers."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(layers)))
    return setup(model, torch.randn(rows, width), fused)


def setup(model: nn.Module, tokens: Tensor, fused: bool = True) -> Setup:
    """A model, its optimizer, and one plain training step."""
    adam = torch.optim.AdamW(model.parameters(), fused=fused, foreach=not fused)

    def step() -> None:
        model(tokens).sum().backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    return step, model, adam, [tokens]


@pytest.mark.parametrize(("width", "layers", "rows"), [(32, 3, 2), (64, 4, 3), (48, 1, 5)])
def test_a_linear_stack_is_its_closed_form(width: int, layers: int, rows: int) -> None:
    numbers, row, scalar = 4 * layers * width**2, 4 * rows * width, 4
    found = cpu_peak(*stack(width, layers, rows))
    assert (found.parameters, found.gradients) == (numbers, numbers)
    assert found.optimizer == 2 * numbers + scalar * layers  # two moments, and a count of steps for each matrix
    # highest when the last gradient is there, and with it the input, the gradient of the first layer's output, the loss
    # and its gradient; in a stack of one layer those last two gradients are one number that stands for all
    assert found.activations + found.temporary == (row + 2 * scalar if layers == 1 else 2 * row + 2 * scalar)
    assert found.total == sum(astuple(found)[1:])


def test_with_many_rows_the_activations_have_their_closed_form() -> None:
    width, layers, rows = 8, 5, 400
    row, matrix = 4 * width * rows, 4 * width**2
    found = cpu_peak(*stack(width, layers, rows))
    # highest within the last but one layer: its input and those before it, two gradients of outputs, the loss and its gradient
    assert found.activations == (layers - 1) * row + 8
    assert found.temporary == 2 * row
    assert found.gradients == 2 * matrix


def test_the_allocator_agrees_where_operators_hold_nothing_of_their_own() -> None:
    step, model, adam, inputs = stack(64, 4, 3)
    found = cpu_peak(step, model, adam, inputs)
    assert allocator_peak(step, model, adam, inputs) == allocator_peak(step, model, adam, inputs) == found.total


def test_the_foreach_optimizer_takes_more() -> None:
    fused, foreach = cpu_peak(*stack(64, 3, 2)), cpu_peak(*stack(64, 3, 2, fused=False))
    assert foreach.temporary >= 4 * 3 * 64**2  # as large as the parameters
    assert foreach.total > fused.total


MODELS: dict[str, Callable[[], Setup]] = {
    "linear": lambda: stack(16, 3, 300),
    "recurrent": lambda: setup(Recurrent(), torch.randint(50, (4, 12))),
    "attention": lambda: setup(Attention(), torch.randint(50, (4, 12))),
    "convolution": lambda: setup(nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 3)), torch.randn(5, 4, 30)),
}


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_itself_and_to_torchs_tracker(name: str) -> None:
    step, model, adam, inputs = MODELS[name]()
    found = cpu_peak(step, model, adam, inputs)
    assert found == cpu_peak(step, model, adam, inputs)
    assert found.total == sum(astuple(found)[1:]) == tracked(step, model, adam, inputs)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_architecture_is_equal_to_itself_and_to_torchs_tracker(path: Path) -> None:
    train = Train(batch=4, learning_rate=1e-3)
    run = Run(arch=yaml.safe_load(path.read_text(encoding="utf-8")), size=Size(parameters=40_000, context=24), train=train)
    subject = Subject(run, 40)
    once, twice = subject.weigh(), subject.weigh()
    assert once == twice
    assert once["total"] == sum(once[kind] for kind in KINDS)
    assert once["allocator_peak"] >= once["total"]  # it sees buffers inside operators as well
    batch = subject.batches[0]
    inputs = [field for piece in batch for field in piece if field is not None]

    def step() -> None:
        update(subject.objective, batch, subject.adam, subject.plan)

    assert once["total"] == tracked(step, subject.objective, subject.adam, inputs)


def tracked(step: Callable[[], None], model: nn.Module, adam: torch.optim.Optimizer, inputs: list[Tensor]) -> int:
    """The peak that torch's own tracker sees."""
    tracker = MemTracker()
    tracker.track_external(model, adam, *inputs)
    with tracker:
        step()
    return int(tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"])
