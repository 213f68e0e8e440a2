"""Each architecture against an implementation that others wrote, with its weights copied; and what each says of itself."""

import shutil
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.attention import Attention, sinusoids
from architectures.bert import Bert
from architectures.bigram import Bigram
from architectures.cnn import CNN
from architectures.gelu import gelu
from architectures.gpt import GPT
from architectures.interface import Backbone, Unsupported
from architectures.layers import LayerNorm, Linear, RMSNorm
from architectures.rnn import RNN
from architectures.transformer import Transformer
from architectures.transformer_2017 import Transformer2017

WIDTH, CONTEXT, LAYERS, HEADS = 32, 24, 2, 4
DECODERS: list[Callable[[], Backbone]] = [
    lambda: Transformer(WIDTH, CONTEXT, LAYERS, HEADS),
    lambda: GPT(WIDTH, CONTEXT, LAYERS, HEADS),
    lambda: Transformer2017(WIDTH, CONTEXT, LAYERS, HEADS),
]


def made(backbone: Backbone, seed: int = 0) -> Backbone:
    """All parameters random, norms and biases too, so that none can be mixed up unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(
                0.2 * torch.randn(parameter.shape, generator=generator)
                + (parameter.dim() == 1) * 0.5
            )
    return backbone.eval()


def noise(length: int = CONTEXT, width: int = WIDTH) -> Tensor:
    return torch.randn(3, length, width, generator=torch.Generator().manual_seed(1))


def copied(
    weights: Mapping[str, Tensor], names: Mapping[str, str | tuple[str, ...]], layers: int = LAYERS
) -> dict[str, Tensor]:
    """Weights under other names: `#` stands for the layer, and a tuple of names joins what is split over there."""
    filled = {}
    for ours, theirs in names.items():
        for layer in range(layers if "#" in ours else 1):
            parts = (theirs,) if isinstance(theirs, str) else theirs
            joined = torch.cat([weights[part.replace("#", str(layer))] for part in parts])
            filled[ours.replace("#", str(layer))] = joined
    return filled


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


# --- parity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "peer"), [("lstm", nn.LSTM), ("gru", nn.GRU), ("elman", nn.RNN)])
def test_rnn_parity_with_torch(cell: Any, peer: type[nn.RNNBase]) -> None:
    ours = made(RNN(WIDTH, CONTEXT, LAYERS, cell))
    theirs = peer(WIDTH, WIDTH, LAYERS)
    theirs.load_state_dict(ours.cells.state_dict())
    close(ours(noise())[0], theirs(noise().transpose(0, 1))[0].transpose(0, 1))


def test_cnn_parity_with_sums_written_out() -> None:
    ours, x = made(CNN(8, CONTEXT, layers=2, kernel=3)), noise(width=8)
    expected = x
    for layer, block in enumerate(ours.blocks):
        inputs, both = block.norm(expected), torch.zeros(3, CONTEXT, 16)
        for t in range(CONTEXT):
            for back in range(3):
                if t - back * 2**layer >= 0:
                    both[:, t] += (
                        inputs[:, t - back * 2**layer] @ block.convolution.weight[:, :, 2 - back].T
                    )
        value, gate = (both + block.convolution.bias).chunk(2, dim=-1)
        expected = expected + value * gate.sigmoid()
    close(ours(x)[0], expected)


def test_transformer_2017_parity_with_torch() -> None:
    ours = made(Transformer2017(WIDTH, CONTEXT, LAYERS, HEADS))
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="relu", batch_first=True
    )
    theirs = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
    names = {
        "self_attn.in_proj_": "attention.into.",
        "self_attn.out_proj.": "attention.out.",
        "linear1.": "feed_in.",
        "linear2.": "feed_out.",
        "norm1.": "attention_norm.",
        "norm2.": "feed_norm.",
    }
    both = {
        f"layers.#.{a}{end}": f"blocks.#.{b}{end}"
        for a, b in names.items()
        for end in ("weight", "bias")
    }
    theirs.load_state_dict(copied(ours.state_dict(), both))
    x = noise()
    mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
    close(ours(x)[0], theirs(x * WIDTH**0.5 + sinusoids(0, CONTEXT, x), mask=mask, is_causal=True))


def test_gpt_parity_with_transformers() -> None:
    from transformers import GPT2Config, GPT2Model

    theirs = GPT2Model(
        GPT2Config(n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=CONTEXT, vocab_size=2)
    ).eval()
    theirs.ln_f = nn.Identity()
    ours = made(GPT(WIDTH, CONTEXT, LAYERS, HEADS))
    theirs.load_state_dict(made(theirs).state_dict())  # type: ignore[arg-type]
    names = {
        "attention.into.": "attn.c_attn.",
        "attention.out.": "attn.c_proj.",
        "feed_in.": "mlp.c_fc.",
        "feed_out.": "mlp.c_proj.",
        "attention_norm.": "ln_1.",
        "feed_norm.": "ln_2.",
    }
    both: dict[str, Any] = {
        f"blocks.#.{a}{end}": f"h.#.{b}{end}"
        for a, b in names.items()
        for end in ("weight", "bias")
    }
    weights = copied(theirs.state_dict(), both | {"positions.weight": "wpe.weight"})
    turned = {
        key: value.T if value.dim() == 2 and "positions" not in key else value
        for key, value in weights.items()
    }
    ours.load_state_dict(turned)  # theirs keeps its matrices the other way round
    close(ours(noise())[0], theirs(inputs_embeds=noise()).last_hidden_state)


def test_transformer_parity_with_transformers() -> None:
    from transformers import LlamaConfig, LlamaModel

    ours = Transformer(WIDTH, CONTEXT, LAYERS, HEADS, normed=False)
    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=ours.hidden,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        vocab_size=2,
    )
    theirs = LlamaModel(config).eval()
    theirs.norm = nn.Identity()
    made(theirs)  # type: ignore[arg-type]
    weights = copied(
        theirs.state_dict(),
        {
            "blocks.#.attention.into.weight": tuple(
                f"layers.#.self_attn.{part}_proj.weight" for part in "qkv"
            ),
            "blocks.#.attention.out.weight": "layers.#.self_attn.o_proj.weight",
            "blocks.#.feed.into.weight": (
                "layers.#.mlp.gate_proj.weight",
                "layers.#.mlp.up_proj.weight",
            ),
            "blocks.#.feed.out.weight": "layers.#.mlp.down_proj.weight",
            "blocks.#.attention_norm.weight": "layers.#.input_layernorm.weight",
            "blocks.#.feed_norm.weight": "layers.#.post_attention_layernorm.weight",
        },
    )
    ours.load_state_dict(weights)
    close(ours.eval()(noise())[0], theirs(inputs_embeds=noise()).last_hidden_state)


def test_bert_parity_with_transformers() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=2,
        max_position_embeddings=CONTEXT, layer_norm_eps=1e-5,
    )  # fmt: skip
    theirs = BertModel(config, add_pooling_layer=False).eval()
    made(theirs)  # type: ignore[arg-type]
    nn.init.zeros_(theirs.embeddings.token_type_embeddings.weight)
    names = {
        "attention.out.": "attention.output.dense.",
        "attention_norm.": "attention.output.LayerNorm.",
        "feed_in.": "intermediate.dense.",
        "feed_out.": "output.dense.",
        "feed_norm.": "output.LayerNorm.",
    }
    both: dict[str, Any] = {}
    for end in ("weight", "bias"):
        both |= {f"blocks.#.{a}{end}": f"encoder.layer.#.{b}{end}" for a, b in names.items()}
        parts = tuple(
            f"encoder.layer.#.attention.self.{part}.{end}" for part in ("query", "key", "value")
        )
        both |= {
            f"blocks.#.attention.into.{end}": parts,
            f"input_norm.{end}": f"embeddings.LayerNorm.{end}",
        }
    ours = Bert(WIDTH, CONTEXT, LAYERS, HEADS).eval()
    both["positions.weight"] = "embeddings.position_embeddings.weight"
    ours.load_state_dict(copied(theirs.state_dict(), both))
    lengths = torch.tensor([CONTEXT, 9, 1])
    seen = torch.arange(CONTEXT) < lengths[:, None]  # (B, T)
    close(ours(noise())[0], theirs(inputs_embeds=noise()).last_hidden_state)
    close(
        ours(noise(), None, lengths)[0][seen],
        theirs(inputs_embeds=noise(), attention_mask=seen).last_hidden_state[seen],
    )


def test_gelu_is_torchs_with_its_slope() -> None:
    x = torch.linspace(-9, 9, 2001, requires_grad=True)
    slopes = []
    for kind in (gelu, lambda x: functional.gelu(x, approximate="tanh")):
        slopes += torch.autograd.grad(kind(x).sum(), x)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=5e-6)
    torch.testing.assert_close(gelu(x), functional.gelu(x, approximate="tanh"), rtol=0, atol=2e-6)


def test_gelu_compiled_is_torchs_with_its_slope() -> None:
    traced: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        traced.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    x = torch.linspace(-9, 9, 2001, requires_grad=True)
    ours, theirs = torch.compile(gelu, backend=backend)(x), functional.gelu(x, approximate="tanh")
    assert any("sigmoid" in name for name in traced)
    assert not any("gelu" in name for name in traced)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    slopes = [torch.autograd.grad(y.sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=0, atol=5e-6)


def test_one_token_has_the_heads_that_it_has_among_several() -> None:
    attention = Attention(WIDTH, 2, causal=True).eval()
    mixed = torch.randn(3, 5, 3 * WIDTH)
    for t in range(5):
        alone = attention.split_heads(mixed[:, t : t + 1].contiguous(), 3, 1)
        for one, several in zip(alone, attention.split_heads(mixed, 3, 5), strict=True):
            assert torch.equal(one, several[:, :, t : t + 1])


@pytest.mark.parametrize("kind", [Linear, LayerNorm, RMSNorm])
def test_a_leaf_is_torchs_and_hears_its_hooks(kind: type[nn.Module]) -> None:
    ours = kind(WIDTH, WIDTH) if kind is Linear else kind(WIDTH)
    theirs = {Linear: lambda: nn.Linear(WIDTH, WIDTH), LayerNorm: lambda: nn.LayerNorm(WIDTH)}.get(
        kind, lambda: nn.RMSNorm(WIDTH, eps=1e-6)
    )()
    theirs.load_state_dict(ours.state_dict())
    x = noise()
    assert torch.equal(ours(x), theirs(x))
    for register in (
        ours.register_forward_hook,
        ours.register_full_backward_hook,
        ours.register_forward_pre_hook,
    ):
        heard: list[int] = []
        handle = register(lambda *_, heard=heard: heard.append(1))  # type: ignore[arg-type, misc]
        ours(x.requires_grad_()).sum().backward()
        handle.remove()
        assert heard == [1]
    compiled: list[int] = []
    ours.compile(backend=lambda graph, _: compiled.append(1) or graph.forward)
    ours(x)
    assert compiled


# --- what each says of itself ---------------------------------------------------------------------


@pytest.mark.parametrize("make", DECODERS)
def test_one_more_token_does_not_copy_the_cache(make: Callable[[], Backbone]) -> None:
    backbone = make().eval()
    state = backbone.init_state(3, CONTEXT, noise())
    places = [tensor.data_ptr() for cache in state.caches for tensor in cache]
    with torch.no_grad():
        for piece in noise().split((7, 1, 1, 15), dim=1):
            _, state = backbone(piece, state)
    assert [tensor.data_ptr() for cache in state.caches for tensor in cache] == places
    assert state.position == CONTEXT
    assert (
        backbone.state_bytes(state) == LAYERS * 2 * 3 * CONTEXT * WIDTH * 4
    )  # keys and values, B, T, D, four bytes


@pytest.mark.parametrize("make", DECODERS)
def test_a_full_cache_says_so(make: Callable[[], Backbone]) -> None:
    backbone = make()
    with pytest.raises(ValueError, match="5 tokens, and token 6"):
        backbone(noise(6), backbone.init_state(3, 5, noise()))


@pytest.mark.parametrize(
    "backbone", [GPT(WIDTH, CONTEXT), Bert(WIDTH, CONTEXT)], ids=["gpt", "bert"]
)
def test_learned_positions_end_with_the_context(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="context of 24 tokens, and cannot read token 25"):
        backbone(noise(CONTEXT + 1))


@pytest.mark.parametrize(
    "backbone",
    [kind(WIDTH, CONTEXT) for kind in (RNN, CNN, Bigram, Transformer, Transformer2017)],
    ids=lambda backbone: type(backbone).__name__,
)
def test_others_read_further_than_their_context(backbone: Backbone) -> None:
    assert backbone(noise(2 * CONTEXT))[0].isfinite().all()


@pytest.mark.parametrize("backbone", [RNN(WIDTH, CONTEXT), CNN(WIDTH, CONTEXT)], ids=["rnn", "cnn"])
def test_state_is_constant_in_length(backbone: Backbone) -> None:
    sizes = {backbone.state_bytes(backbone.init_state(1, length, noise())) for length in (8, 8192)}
    assert len(sizes) == 1


def test_encoder_refuses_a_state_with_its_reason() -> None:
    with pytest.raises(Unsupported, match="an encoder"):
        Bert(WIDTH, CONTEXT).init_state(1, 8, noise())


def test_causal_flops_are_the_mean_over_the_text() -> None:
    """Half the square and half its diagonal: the mean of 1 … T keys a token."""
    backbone = Transformer(WIDTH, CONTEXT, LAYERS, HEADS)
    keys = sum(range(1, CONTEXT + 1)) / CONTEXT
    assert backbone.flops(CONTEXT) == backbone.flops(
        CONTEXT, full_mask=True
    ) - LAYERS * 4 * WIDTH * (CONTEXT - keys)


def test_heads_fit_any_width() -> None:
    backbone = Transformer(30, CONTEXT, LAYERS, HEADS)  # 30 / 4 is no whole number: heads of 8
    assert backbone(noise(width=30))[0].shape == (3, CONTEXT, 30)


@pytest.mark.parametrize("options", [{"layers": 0}, {"heads": 0}], ids=str)
@pytest.mark.parametrize("kind", [Transformer, GPT, Transformer2017, Bert])
def test_counts_must_be_at_least_one(kind: type[Backbone], options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        kind(WIDTH, CONTEXT, **options)


@pytest.mark.parametrize("kind", [Transformer, GPT, Transformer2017, Bert, RNN, CNN])
def test_dropout_acts_in_training_alone(kind: type[Backbone]) -> None:
    plain, dropping, x = kind(WIDTH, CONTEXT), kind(WIDTH, CONTEXT, dropout=0.5), noise()
    assert not torch.equal(dropping(x)[0], dropping(x)[0])
    assert torch.equal(dropping.eval()(x)[0], dropping(x)[0])
    assert torch.equal(plain(x)[0], plain(x)[0])


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU"
)
@pytest.mark.parametrize("kind", [Transformer, GPT, Transformer2017, Bert, CNN, Bigram])
def test_compiled_equals_eager(kind: type[Backbone]) -> None:
    backbone = made(kind(WIDTH, CONTEXT))
    close(torch.compile(backbone)(noise())[0], backbone(noise())[0])
