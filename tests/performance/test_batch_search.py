"""The search for the largest batch finds it to the sequence, and ends."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bench.performance import batch_search, memory
from bench.performance.batch_search import find_largest_batch
from bench.performance.memory import TrainingStep

ROW, BASE = 1000, 16  # bytes


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip collecting, which takes a tenth of a second each time and finds nothing here."""
    monkeypatch.setattr(memory.gc, "collect", lambda: 0)


class KnownStep:
    """A training step of BASE bytes and ROW per sequence that fails above a number of sequences.

    `floor`: bytes that another moment of the step takes, for any number of sequences.
    """

    def __init__(
        self, fails_above: int = 10**9, error: Exception | None = None, floor: int = 0
    ) -> None:
        self.model = nn.Linear(2, 2, bias=False)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.fails_above, self.error, self.floor = fails_above, error, floor
        self.tried: list[int] = []

    def step_of(self, rows: int) -> TrainingStep:
        inputs = torch.zeros(rows, ROW // 8)

        def run() -> None:
            self.tried.append(rows)
            self.model.weight.grad = torch.ones(2, 2)
            if rows > self.fails_above and self.error is not None:
                raise self.error
            self.optimizer.zero_grad(set_to_none=True)
            torch.zeros(self.floor // 4)  # freed at once
            inputs + 1

        return TrainingStep(run, self.model, self.optimizer, [inputs])

    def largest(self, limit: int, **options: Any) -> tuple[int, str]:
        return find_largest_batch(self.step_of, limit, **options)


@pytest.mark.parametrize("rows", [1, 2, 3, 37, 64, 100])
def test_the_largest_batch_is_found_to_the_sequence(rows: int) -> None:
    for limit, expected in (
        (BASE + ROW * rows, rows),
        (BASE + ROW * rows + ROW - 1, rows),
        (BASE + ROW * rows - 1, rows - 1),
    ):
        known = KnownStep()
        number, note = known.largest(limit)
        assert number == expected
        assert note == ("" if expected else "not even one sequence: it takes 1,016 bytes")
        assert expected + 1 in known.tried
        assert max(known.tried) <= max(4, expected + 1)  # no step takes much more than the limit
        assert len(known.tried) <= 11


@pytest.mark.parametrize("floor", [4_000, 20_000, 70_000])
def test_another_moment_may_be_the_peak_for_few_sequences(floor: int) -> None:
    # bytes over sequences bend at floor / 500: the floor adds to the inputs, half of a sequence
    known = KnownStep(floor=floor)
    number, note = known.largest(BASE + 100 * ROW)
    expected = min(100, (100 * ROW - floor) // (ROW // 2))
    assert (number, note) == (expected, "")
    assert max(known.tried) <= 2 * expected


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        MemoryError(),
    ],
)
def test_the_search_ends_where_memory_runs_out(error: Exception) -> None:
    known = KnownStep(fails_above=21, error=error)
    number, note = known.largest(BASE + 1000 * ROW)
    assert number == 21
    assert note.startswith("at least 21: 22 sequences")
    assert known.model.weight.grad is None  # the failed step's gradients are freed


def test_another_error_is_raised() -> None:
    known = KnownStep(fails_above=21, error=RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        known.largest(BASE + 1000 * ROW)


def test_the_search_stays_within_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_search, "total_memory_bytes", lambda: 40_000)
    known = KnownStep()
    number, note = known.largest(BASE + 1000 * ROW)
    assert number == 29
    assert note.startswith("at least 29: 30 sequences")
    assert max(known.tried) == 30


def test_the_search_stays_within_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownStep()
    clock = SimpleNamespace(monotonic=lambda: float(sum(known.tried)))  # a second per sequence
    monkeypatch.setattr(batch_search, "time", clock)
    number, note = known.largest(BASE + 1000 * ROW, seconds=40)
    assert number == 16
    assert note.startswith("at least 16: the 40 seconds")
    assert sum(known.tried[1:]) <= 40


def test_the_search_ends_at_the_largest_batch_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_search, "MAX_BATCH", 50)
    number, note = KnownStep().largest(BASE + 1000 * ROW)
    assert number == 50
    assert note.startswith("at least 50:")
