"""The bytes of decoding states, as declared and as their tensors have."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from architectures.gpt import GPT
from architectures.interface import Backbone, State
from architectures.rnn import RNN
from bench.model.language_model import LanguageModel
from bench.performance.state_memory import measure_state_bytes, state_growth
from tests.fake_architectures import GrowsItsState
from tests.performance.fake_backbones import Encoder, Short, Sum


def model_of(backbone: Backbone, vocabulary: int = 40) -> LanguageModel:
    return LanguageModel(backbone, vocabulary)


def test_gpt2_keeps_36_864_bytes_per_token() -> None:
    """Check GPT-2 124M in bfloat16: 12 layers, keys and values, 768 numbers of two bytes."""
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
    """Keep all inputs in a state of at most the context."""

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        super().init_state(batch, length, like)
        return [torch.zeros(batch, length, self.width), 0]

    def forward(
        self, x: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        if state is not None:
            state[0][:, state[1] : state[1] + x.shape[1]] = x
        return super().forward(x)[0], None if state is None else [state[0], state[1] + x.shape[1]]


def test_growth_is_from_half_the_context_where_no_longer_state_is_made() -> None:
    assert state_growth(model_of(Keeps(4, 9)), 9) == {
        "state_bytes": 4 * 4 * 9,
        "state_bytes_per_token": 16.0,
    }


def test_a_state_that_differs_from_its_declared_bytes_has_a_reason() -> None:
    growth = state_growth(model_of(GrowsItsState(4, 6)), 6)
    assert set(growth.values()) == {"its state has 128 bytes but declares 32"}


def test_an_architecture_without_a_state_has_a_reason() -> None:
    growth = state_growth(model_of(Encoder(4, 6)), 6)
    assert growth == dict.fromkeys(
        ("state_bytes", "state_bytes_per_token"), "an encoder keeps no state"
    )
    failed = measure_state_bytes(model_of(Short(4, 16)), 1)
    assert failed == "no state for 1 tokens: RuntimeError: no single tokens"


class Opaque(Keeps):
    """Keep the state in an object that pytree does not open, as caches of other packages are."""

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


def test_the_tensors_of_an_opaque_cache_are_found() -> None:
    model = model_of(Opaque(4, 6))
    assert measure_state_bytes(model.train(), 6) == 96
    assert model.training
    Opaque.too_much = 8
    assert measure_state_bytes(model, 6) == "its state has 96 bytes but declares 104"
