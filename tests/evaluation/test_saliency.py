"""What predictions look at, against closed forms: linear models, receptive fields, attention."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from architectures.attention import merge_heads
from architectures.interface import Backbone
from bench.evaluation import saliency
from bench.model import LanguageModel, build_model
from tests.conftest import ROOT, each_architecture

T, V = 24, 40


class Averaging(Backbone):
    """A linear model: fixed weights over the context, by distance from the last token."""

    causal = True

    def __init__(self, width: int, context: int, decay: float = 0.8) -> None:
        super().__init__(width, context)
        self.decay = decay

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        distances = torch.arange(x.shape[1] - 1, -1, -1)
        mixed = (self.decay**distances)[None, :, None] * x
        return mixed.cumsum(1), None

    def flops(self, length: int, full_mask: bool = False) -> float:
        return 0.0


def linear_model() -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(Averaging(8, T), V)
    model.norm = nn.Identity()  # type: ignore[assignment]
    return model


def built(name: str, width: int = 32, **options: Any) -> LanguageModel:
    arch = yaml.safe_load((ROOT / "conf" / "arch" / f"{name}.yaml").read_text()) | options
    return build_model(arch, width, T, V, seed=0).eval()


def sample() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return (
        torch.randint(0, V, (3, T), generator=draw),
        torch.randint(0, V, (3,), generator=draw),
    )


def shares_of(model: LanguageModel) -> np.ndarray:
    return saliency.token_shares(saliency.gradient_times_input(model, *sample()))


def test_of_a_linear_model_the_products_sum_to_the_logit_difference() -> None:
    model, (tokens, targets) = linear_model(), sample()
    products = saliency.gradient_times_input(model, tokens, targets)
    logits = model(tokens)[0][:, -1].detach()
    others = logits.scatter(1, targets[:, None], -torch.inf).softmax(1)
    expected = logits.gather(1, targets[:, None])[:, 0] - (others * logits).sum(1)
    assert products.sum((1, 2)).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_of_a_linear_model_shares_fall_as_its_weights() -> None:
    model = linear_model()
    with torch.no_grad():
        model.embedding.weight.copy_(model.embedding.weight[:1].expand(V + 1, -1))  # all alike
        model.embedding.weight[1:] += 1e-3 * torch.randn(V, 8)
    shares = shares_of(model).mean(0)
    assert shares[1:] / shares[:-1] == pytest.approx(np.full(T - 1, 1 / 0.8), rel=0.05)


def test_the_gradient_is_that_of_the_log_probability_up_to_a_factor() -> None:
    model, (tokens, targets) = built("gru"), sample()
    x = torch.embedding(model.embedding.weight, tokens).detach().requires_grad_()
    logits = model.head(model.norm(model.backbone(x)[0][:, -1]))
    chosen = logits.log_softmax(1).gather(1, targets[:, None])
    (gradient,) = torch.autograd.grad(chosen.sum(), x)
    expected = saliency.token_shares(gradient * x.detach())
    assert shares_of(model) == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_a_bigram_looks_at_the_last_token_alone() -> None:
    shares = shares_of(built("bigram"))
    assert (shares[:, -1] == 1).all()
    assert (shares[:, :-1] == 0).all()


def test_a_window_looks_no_further_than_its_layers_reach() -> None:
    shares = shares_of(built("sliding_window", layers=2, window=4))
    reach = 2 * (4 - 1) + 1
    assert (shares[:, :-reach] == 0).all()
    assert (shares[:, -reach:] > 0).all()


@pytest.mark.parametrize("path", each_architecture())
def test_every_causal_architecture_is_explained(path: Path) -> None:
    arch = yaml.safe_load(path.read_text())
    model = build_model(
        arch | {"model_type": "gpt2"} if path.stem == "huggingface" else arch, 64, T, V, 0
    )
    if not model.backbone.causal:
        return
    model.eval()
    assert shares_of(model).sum(1) == pytest.approx(np.ones(3))
    with torch.no_grad():
        x = torch.embedding(model.embedding.weight, sample()[0])
        for weights in model.backbone.attention_weights(x):
            assert weights.shape[0] == 3
            assert weights.shape[2] == T
            assert weights.sum(2).flatten().tolist() == pytest.approx([1] * weights[..., 0].numel())


@pytest.mark.parametrize("options", [{}, {"window": 5}])
def test_attention_weights_give_back_the_output_of_attention(options: dict[str, int]) -> None:
    model = built("transformer", **options)
    attention = model.backbone.blocks[0].attention  # type: ignore[union-attr,index]
    x, rotation = torch.randn(2, T, 32), None
    with torch.no_grad():
        weights = attention.last_weights(x, None, 0, rotation)
        _, (_, values) = attention.project(x, rotation)
        mixed = merge_heads(weights[:, :, None] @ values)
        assert torch.allclose(attention.out(mixed), attention(x)[:, -1:], atol=1e-5)


def test_bins_of_distance_cover_every_token_once_two_per_octave() -> None:
    for length in (1, 2, 3, 5, 64, 100):
        bins = saliency.distance_bins(length)
        covered = [distance for first, last in bins for distance in range(first, last + 1)]
        assert covered == [*range(length)]
    assert saliency.distance_bins(16)[4:] == [(4, 5), (6, 7), (8, 11), (12, 15)]


def test_pieces_of_text_are_whole_characters() -> None:
    from bench.data.tokenizer import ByteVocabulary

    vocabulary = ByteVocabulary()
    pieces, starts = saliency.text_pieces(vocabulary, vocabulary.encode("aé€b"))
    assert (pieces, starts) == (["a", "é", "€", "b"], [0, 1, 3, 6])
