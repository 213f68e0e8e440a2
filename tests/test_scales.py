"""What is weighed: figures by hand for a linear stack, states that are what they say, and the largest batch to the sequence."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from architectures.gpt import GPT
from architectures.interface import Backbone, State
from architectures.rnn import RNN
from bench.config.schema import MeasureConfig, Run, SizeConfig, TrainConfig
from bench.model import LanguageModel
from bench.performance import memory, memory_profile
from bench.performance.memory_profile import (
    TrainStep,
    find_largest_batch,
    measure_state_bytes,
    profile_memory,
    profile_workload,
    state_growth,
)
from bench.performance.workload import Workload
from tests.fake_architectures import GrowsItsState
from tests.measure_doubles import Encoder, Short, Sum

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other actively make a busy machine crawl."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for cycles takes a tenth of a second each time, and what is weighed here has none."""
    monkeypatch.setattr(memory.gc, "collect", lambda: 0)


# --- a training step --------------------------------------------------------------------------------------------------

WIDTH, LAYERS, ROWS = 8, 5, 400


def stack() -> tuple[TrainStep, nn.Module, torch.optim.Optimizer, list[Tensor]]:
    """Linear layers without biases on rows of random numbers, and fused AdamW."""
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)))
    adam, x = torch.optim.AdamW(model.parameters(), fused=True), torch.randn(ROWS, WIDTH)

    def step() -> None:
        model(x).sum().backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    return step, model, adam, [x]


def test_a_linear_stack_is_weighed_to_the_byte() -> None:
    matrix, row = 4 * WIDTH**2, 4 * ROWS * WIDTH
    found = profile_memory(*stack(), tokens=ROWS, device=CPU, before="no counters")
    # highest in the backward of the last layer but one: see the closed forms in test_memory.py
    kinds = {
        "parameters": LAYERS * matrix,
        "gradients": 2 * matrix,
        "optimizer": 2 * LAYERS * matrix + 4 * LAYERS,
    }
    kinds |= {"activations": (LAYERS - 1) * row + 8, "temporary": 2 * row}
    assert {kind: found.pop(f"memory_{kind}_bytes") for kind in kinds} == kinds
    assert found.pop("peak_train_memory_bytes") == sum(kinds.values())
    assert isinstance(seen := found.pop("memory_allocator_peak_bytes"), int)
    assert seen >= sum(
        kinds.values()
    )  # a product of so many rows packs them first, in a buffer of its own
    assert found.pop("memory_process_rise_bytes") == "no counters"
    assert found.pop("activation_bytes_per_token") == ((LAYERS - 1) * row + 8) / ROWS
    assert found.pop("operators_per_step") == 3 * LAYERS + 3
    assert set(found) == {"traffic_bytes_per_token"}


def test_on_cuda_what_the_allocator_holds_beyond_the_tensors_is_temporary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The arithmetic of it, with a double of the device."""
    weigh_step, here = (
        memory.profile_step,
        profile_memory(*stack(), tokens=ROWS, device=CPU, before=0),
    )
    total = here["peak_train_memory_bytes"]
    assert isinstance(total, int)
    monkeypatch.setattr(
        memory, "profile_step", lambda *given: weigh_step(*given[:4], {"cuda": "cpu"}[given[4]])
    )
    monkeypatch.setattr(memory, "cuda_peak_bytes", lambda step: (total + 5_000, total + 90_000))
    there = profile_memory(*stack(), tokens=ROWS, device=torch.device("cuda"), before="no counters")
    assert (there["peak_train_memory_bytes"], there["memory_reserved_bytes"]) == (
        total + 5_000,
        total + 90_000,
    )
    names = [f"memory_{kind}_bytes" for kind in memory.MEMORY_KINDS]
    assert [there[name] for name in names[:4]] == [here[name] for name in names[:4]]
    assert sum(there[name] for name in names) == total + 5_000  # type: ignore[misc]
    assert "memory_allocator_peak_bytes" not in there


def test_tensors_of_another_device_are_not_counted() -> None:
    model = nn.Linear(4, 4, bias=False, device="meta")
    adam = torch.optim.AdamW(model.parameters())
    with (
        memory.track_existing(model, adam, [], "meta") as there,
        memory.track_existing(model, adam, []) as here,
    ):
        (model(torch.ones(2, 4, device="meta")) + 1).sum()
        torch.ones(7)
    assert there.peak_bytes == 4 * (
        16 + 8 + 8 + 8
    )  # the matrix, the ones, what it makes of them, one more
    assert here.peak_bytes == 28


# --- the state --------------------------------------------------------------------------------------------------------


def model_of(backbone: Backbone, vocabulary: int = 40) -> LanguageModel:
    return LanguageModel(backbone, vocabulary)


def test_gpt2_keeps_36_864_bytes_a_token() -> None:
    """GPT-2 124M in bfloat16: 12 layers, keys and values, 768 numbers of two bytes each."""
    with torch.device("meta"):
        model = model_of(GPT(768, 1024, layers=12, heads=12), 50_257).bfloat16()
    assert 124_000_000 < sum(p.numel() for p in model.parameters()) < 125_000_000
    assert state_growth(model, 1024) == {
        "state_bytes": 36_864 * 1024,
        "state_bytes_per_token": 36_864.0,
    }


def test_a_recurrent_state_does_not_grow() -> None:
    model = model_of(RNN(16, 24, cell="lstm", layers=2))
    hidden = state_growth(model, 24)
    assert hidden["state_bytes"] == 4 * 2 * 2 * model.backbone.get_submodule("cells").hidden_size  # type: ignore[operator]
    assert hidden["state_bytes_per_token"] == 0


class Keeps(Sum):
    """Keeps all that it has seen, and can not be made longer than its context."""

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        super().init_state(batch, length, like)
        return [torch.zeros(batch, length, self.width), 0]

    def forward(
        self, x: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        if state is not None:
            state[0][:, state[1] : state[1] + x.shape[1]] = x
        return super().forward(x)[0], None if state is None else [state[0], state[1] + x.shape[1]]


def test_where_no_longer_state_is_made_growth_is_from_half_the_context() -> None:
    assert state_growth(model_of(Keeps(4, 9)), 9) == {
        "state_bytes": 4 * 4 * 9,
        "state_bytes_per_token": 16.0,
    }


def test_a_state_that_is_not_what_it_says_is_refused() -> None:
    found = state_growth(model_of(GrowsItsState(4, 6)), 6)
    assert found == dict.fromkeys(found, "its state has 128 bytes and not the 32 that it says")


def test_the_reason_of_an_architecture_without_a_state_is_given() -> None:
    found = state_growth(model_of(Encoder(4, 6)), 6)
    assert found == dict.fromkeys(
        ("state_bytes", "state_bytes_per_token"), "an encoder keeps no state"
    )
    failed = measure_state_bytes(model_of(Short(4, 16)), 1)
    assert failed == "no state for 1 tokens: RuntimeError: no single tokens"


class Opaque(Keeps):
    """Its state is an object that pytree does not look into, as the caches of other packages are."""

    too_much = 0

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        state, self_made = super().init_state(batch, length, like), {"model": self}
        return SimpleNamespace(layers=[{"seen": state[0]}], again=state[0], owner=self_made)

    def state_bytes(self, state: State) -> int:
        return state.again.numel() * 4 + self.too_much

    def forward(
        self, x: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        return super().forward(x)[0], state


def test_the_live_bytes_of_an_opaque_cache_are_looked_for() -> None:
    model = model_of(Opaque(4, 6))
    assert measure_state_bytes(model.train(), 6) == 96
    assert model.training
    Opaque.too_much = 8
    assert measure_state_bytes(model, 6) == "its state has 96 bytes and not the 104 that it says"


# --- the largest batch ------------------------------------------------------------------------------------------------

ROW, BASE = 1000, 16  # bytes


class Known:
    """A training step that holds 16 bytes and a thousand for each sequence, and fails above so many sequences."""

    def __init__(
        self, fails_above: int = 10**9, error: Exception | None = None, floor: int = 0
    ) -> None:
        self.model = nn.Linear(2, 2, bias=False)
        self.adam = torch.optim.AdamW(self.model.parameters())
        self.fails_above, self.error, self.floor, self.tried = (
            fails_above,
            error,
            floor,
            list[int](),
        )

    def step_of(self, rows: int) -> tuple[TrainStep, list[Tensor]]:
        inputs = torch.zeros(rows, ROW // 8)

        def step() -> None:
            self.tried.append(rows)
            self.model.weight.grad = torch.ones(2, 2)
            if rows > self.fails_above and self.error is not None:
                raise self.error
            self.adam.zero_grad(set_to_none=True)
            torch.zeros(
                self.floor // 4
            )  # given back at once: another moment, as high for one sequence as for many
            inputs + 1

        return step, [inputs]

    def largest(self, limit: int, **options: Any) -> tuple[int, str]:
        return find_largest_batch(self.step_of, self.model, self.adam, limit, CPU, **options)


@pytest.mark.parametrize("rows", [1, 2, 3, 37, 64, 100])
def test_the_largest_batch_is_found_to_the_sequence(rows: int) -> None:
    for limit, expected in (
        (BASE + ROW * rows, rows),
        (BASE + ROW * rows + ROW - 1, rows),
        (BASE + ROW * rows - 1, rows - 1),
    ):
        known = Known()
        number, note = known.largest(limit)
        assert number == expected
        assert note == ("" if expected else "not even one sequence: it takes 1,016 bytes")
        assert expected + 1 in known.tried  # the next one was really tried
        assert max(known.tried) <= max(4, expected + 1)  # and none that was known to be far beyond
        assert len(known.tried) <= 11


@pytest.mark.parametrize("floor", [4_000, 20_000, 70_000])
def test_where_another_moment_is_the_highest_for_few_sequences(floor: int) -> None:
    # the floor stands beside the inputs, the half of what a sequence takes: a bend in bytes over sequences at floor / 500
    known = Known(floor=floor)
    number, note = known.largest(BASE + 100 * ROW)
    expected = min(100, (100 * ROW - floor) // (ROW // 2))
    assert (number, note) == (expected, "")
    assert max(known.tried) <= 2 * expected


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        MemoryError(),
    ],
)
def test_a_machine_without_room_ends_the_search(error: Exception) -> None:
    known = Known(fails_above=21, error=error)
    number, note = known.largest(BASE + 1000 * ROW)
    assert (number, note) == (
        21,
        "at least 21: 22 sequences are more than this machine has memory for",
    )
    assert known.model.weight.grad is None  # what the failed step left was given back


def test_another_error_is_no_answer() -> None:
    known = Known(fails_above=21, error=RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        known.largest(BASE + 1000 * ROW)


def test_the_search_keeps_to_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_profile, "total_memory_bytes", lambda: 40_000)
    known = Known()
    number, note = known.largest(BASE + 1000 * ROW)
    assert (number, note) == (
        29,
        "at least 29: 30 sequences are more than this machine has memory for",
    )
    assert max(known.tried) == 30


def test_the_search_keeps_to_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    known, clock = (
        Known(),
        SimpleNamespace(monotonic=lambda: float(sum(known.tried))),
    )  # a sequence takes a second
    monkeypatch.setattr(memory_profile, "time", clock)
    number, note = known.largest(BASE + 1000 * ROW, seconds=40)
    assert (number, note) == (16, "at least 16: the 40 seconds for the search were over")
    assert sum(known.tried[1:]) <= 40


def test_the_search_ends_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_profile, "MAX_BATCH", 50)
    assert Known().largest(BASE + 1000 * ROW) == (50, "at least 50: no larger batch was tried")


# --- all of it --------------------------------------------------------------------------------------------------------


def subject(limit: int = 0) -> Workload:
    arch = {"_target_": "tests.measure_doubles.Sum", "tune": {"learning_rate": 1e-3}}
    train, measure = TrainConfig(batch=6, device="cpu"), MeasureConfig(memory_limit=limit)
    return Workload(
        Run(arch=arch, size=SizeConfig(parameters=3_000, context=16), train=train, measure=measure),
        40,
    )


def test_a_subject_is_weighed_by_the_names_of_the_metrics() -> None:
    found = profile_workload(subject(), 0)
    assert "largest_batch" not in found
    assert found["state_bytes"] == 4 * subject().width
    assert found["state_bytes_per_token"] == 0
    peak = found["peak_train_memory_bytes"]
    assert peak == sum(found[f"memory_{kind}_bytes"] for kind in memory.MEMORY_KINDS)  # type: ignore[misc]
    assert isinstance(peak, int)
    # the memory that its own batch takes holds its own batch, and not a sequence more
    assert profile_workload(subject(peak), 0)["largest_batch"] == 6
    assert profile_workload(subject(peak - 1), 0)["largest_batch"] == 5
    none = profile_workload(subject(5), 0)["largest_batch"]
    assert isinstance(none, str)
    assert none.startswith("not even one sequence: it takes")
