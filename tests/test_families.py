"""Attention in windows, experts, convolutions, ModernBERT: against others' implementations, or the formula in float64."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.gcnn import GCNN
from architectures.hyena import Hyena
from architectures.interface import Backbone
from architectures.modern_bert import ModernBert
from architectures.moe import Experts, MoE
from architectures.tcn import TCN
from architectures.transformer import Transformer
from architectures.weight_norm import CausalConvolution
from bench.contract import CHECKS, Check, Subject, examine
from bench.model import build, count
from tests.test_architectures import CONTEXT, HEADS, LAYERS, WIDTH, close, copied, made, noise

# what the contract's usual 16 tokens do not show of a window of 32
AT_ANY_LENGTH = [check for check in CHECKS if check.name in ("rows", "causality", "padding", "flops")]

# --- attention in a window --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [5, 8, CONTEXT])
def test_sliding_window_parity_with_transformers(window: int) -> None:
    from transformers import MistralConfig, MistralModel

    ours = Transformer(WIDTH, CONTEXT, LAYERS, HEADS, normed=False, window=window).eval()
    config = MistralConfig(
        hidden_size=WIDTH, intermediate_size=ours.hidden, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=2,
        num_key_value_heads=HEADS, sliding_window=window,
    )  # fmt: skip
    theirs = MistralModel(config).eval()
    theirs.norm = nn.Identity()
    made(theirs)  # type: ignore[arg-type]
    names: dict[str, Any] = {
        "blocks.#.attention.into.weight": tuple(f"layers.#.self_attn.{part}_proj.weight" for part in "qkv"),
        "blocks.#.attention.out.weight": "layers.#.self_attn.o_proj.weight",
        "blocks.#.feed.into.weight": ("layers.#.mlp.gate_proj.weight", "layers.#.mlp.up_proj.weight"),
        "blocks.#.feed.out.weight": "layers.#.mlp.down_proj.weight",
        "blocks.#.attention_norm.weight": "layers.#.input_layernorm.weight",
        "blocks.#.feed_norm.weight": "layers.#.post_attention_layernorm.weight",
    }
    ours.load_state_dict(copied(theirs.state_dict(), names))
    close(ours(noise())[0], theirs(inputs_embeds=noise()).last_hidden_state)


@pytest.mark.parametrize("check", AT_ANY_LENGTH, ids=str)
def test_a_window_shorter_than_the_context_keeps_the_contract(check: Check) -> None:
    finding = examine(check, Subject({"_target_": "architectures.transformer.Transformer", "window": 5}))
    assert finding.status == "holds", finding.sentence()


@pytest.mark.parametrize("window", [1, 4, 7, 24])
def test_pieces_of_any_length_go_round_the_ring(window: int) -> None:
    backbone, x = made(Transformer(WIDTH, CONTEXT, LAYERS, HEADS, window=window)).double(), noise().double()
    with torch.no_grad():
        whole = backbone(x)[0]
        for pieces in ((5, 1, 1, 3, 2, 12), (CONTEXT,), (1,) * CONTEXT, (11, 13)):
            state, parts = backbone.init_state(3, CONTEXT, x), []
            for piece in x.split(pieces, dim=1):
                mixed, state = backbone(piece, state)
                parts.append(mixed)
            torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-12)


def test_a_window_sees_so_far_and_no_further() -> None:
    """Layers reach window - 1 tokens back each, and the state is of one size whatever the length."""
    backbone, x = made(Transformer(WIDTH, CONTEXT, LAYERS, HEADS, window=4)), noise()
    changed = x.clone()
    changed[:, 2] = noise()[:, 3]
    moved = (backbone(x)[0] - backbone(changed)[0]).abs().amax(dim=(0, 2)) > 0  # (T,)
    assert moved.nonzero().flatten().tolist() == list(range(2, 2 + LAYERS * 3 + 1))
    assert len({backbone.state_bytes(backbone.init_state(1, length, x)) for length in (8, 8192)}) == 1
    keys = [min(t, 4) for t in range(1, CONTEXT + 1)]
    projections = Transformer(WIDTH, CONTEXT, LAYERS, HEADS).flops(CONTEXT) - LAYERS * 2 * WIDTH * (CONTEXT + 1)
    assert backbone.flops(CONTEXT) == projections + LAYERS * 4 * WIDTH * sum(keys) / CONTEXT


# --- experts ----------------------------------------------------------------------------------------------------------


def test_moe_parity_with_every_expert_asked_about_every_token() -> None:
    """In float64: all experts run on all tokens, and what was not chosen counts nothing."""
    experts, x = made_experts(experts=5, chosen=2).double(), noise().double()
    expected = torch.zeros_like(x)
    for b in range(x.shape[0]):
        for t in range(CONTEXT):
            probabilities = (experts.router.weight @ x[b, t]).softmax(dim=0)
            best = sorted(range(5), key=lambda e: -probabilities[e].item())[:2]
            for e in best:
                expected[b, t] += probabilities[e] / sum(probabilities[i] for i in best) * experts.experts[e](x[b, t])
    torch.testing.assert_close(experts(x), expected, rtol=0, atol=1e-9)


def test_moe_parity_with_transformers() -> None:
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock, load_balancing_loss_func

    ours = made_experts(experts=5, chosen=2)
    config = MixtralConfig(hidden_size=WIDTH, intermediate_size=12, num_local_experts=5, num_experts_per_tok=2)
    theirs = MixtralSparseMoeBlock(config).eval()
    with torch.no_grad():
        theirs.gate.weight.copy_(ours.router.weight)
        theirs.experts.gate_up_proj.copy_(torch.stack([expert.into.weight for expert in ours.experts]))
        theirs.experts.down_proj.copy_(torch.stack([expert.out.weight for expert in ours.experts]))
        close(ours(noise()), theirs(noise()))
        logits = (ours.router(noise()).flatten(0, 1),)
    assert ours.balance is not None
    close(ours.balance, load_balancing_loss_func(logits, 5, 2) / 2)  # theirs counts each of the two choices for one


def made_experts(experts: int, chosen: int) -> Experts:
    return made(Experts(WIDTH, 12, experts, chosen))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("chosen", [1, 2])
def test_gradients_reach_the_router_and_all_experts_that_got_tokens(chosen: int) -> None:
    experts = made_experts(experts=30, chosen=chosen)
    experts(noise(8)).sum().backward()
    used = set((experts.router(noise(8))).topk(chosen).indices.flatten().tolist())
    assert 1 < len(used) < 30
    for number, expert in enumerate(experts.experts):
        assert all(p.grad is not None and bool(p.grad.any()) == (number in used) for p in expert.parameters())
    assert experts.router.weight.grad is not None
    assert experts.router.weight.grad.abs().max() > 1e-4


def test_balance_is_one_where_all_is_even_and_grows_with_what_is_not() -> None:
    backbone = MoE(WIDTH, CONTEXT, 1, HEADS, experts=4, chosen=1, balance=0.5)
    assert backbone.auxiliary() is None
    experts = backbone.blocks[0].feed
    with torch.no_grad():
        experts.router.weight.copy_(torch.eye(4, WIDTH))
        experts(100 * torch.eye(WIDTH)[None, :4])  # each of four tokens at an expert of its own
        assert backbone.auxiliary().item() == pytest.approx(0.5)
        experts(100 * torch.eye(WIDTH)[None, :1].expand(1, 4, WIDTH))  # all at one
        assert backbone.auxiliary().item() == pytest.approx(0.5 * 4)
    experts(noise())
    assert backbone.auxiliary().requires_grad
    assert copy.deepcopy(backbone).auxiliary() is None


def test_active_parameters_are_counted_apart() -> None:
    model = build({"_target_": "architectures.moe.MoE", "experts": 8, "chosen": 2}, WIDTH, CONTEXT, 7, 0)
    block = model.backbone.blocks[0].feed
    resting = LAYERS * 2 * 6 * sum(p.numel() for p in block.experts[0].parameters())
    counted = count(model)
    assert counted["parameters_active"] == counted["parameters"] - resting
    dense = count(build({"_target_": "architectures.transformer.Transformer"}, WIDTH, CONTEXT, 7, 0))
    assert dense["parameters_active"] == dense["parameters"]


@pytest.mark.parametrize("chosen", [0, 9])
def test_a_token_goes_to_one_expert_at_least_and_to_each_once(chosen: int) -> None:
    with pytest.raises(ValueError, match=f"chosen={chosen} must be between 1 and experts=8"):
        MoE(WIDTH, CONTEXT, chosen=chosen)


# --- convolutions -----------------------------------------------------------------------------------------------------


def convolved(layer: CausalConvolution, x: Tensor) -> Tensor:
    """A causal convolution (B, T, C) -> (B, T, C') written out: kernels of length `gain` along their direction."""
    direction, dilation = layer.convolution.weight, layer.convolution.dilation[0]
    kernels = layer.gain[:, None, None] * direction / direction.pow(2).sum((1, 2), keepdim=True).sqrt()
    out = layer.convolution.bias.repeat(*x.shape[:2], 1)
    for t in range(x.shape[1]):
        for tap in range(kernels.shape[2]):
            source = t - (kernels.shape[2] - 1 - tap) * dilation
            if source >= 0:
                out[:, t] += x[:, source] @ kernels[:, :, tap].T
    return out


def test_tcn_parity_with_the_paper_in_float64() -> None:
    ours, x = made(TCN(8, CONTEXT, layers=3, kernel=3)).double(), noise(width=8).double()
    expected = x
    for layer, block in enumerate(ours.blocks):
        assert block.first.convolution.dilation == block.second.convolution.dilation == (2**layer,)
        hidden = convolved(block.second, convolved(block.first, expected).clamp(min=0)).clamp(min=0)
        expected = (expected + hidden).clamp(min=0)
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-9)


def test_gcnn_parity_with_the_paper_in_float64() -> None:
    ours, x = made(GCNN(8, CONTEXT, layers=3, kernel=4)).double(), noise(width=8).double()

    def gated(layer: CausalConvolution, x: Tensor) -> Tensor:
        both = convolved(layer, x)
        half = both.shape[-1] // 2
        return both[..., :half] / (1 + (-both[..., half:]).exp())

    expected = x
    for block in ours.blocks:
        expected = expected + gated(block.out, gated(block.across, gated(block.into, expected)))
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-9)


def test_hyena_parity_with_direct_sums_in_float64() -> None:
    """Equations 4 to 7 of the paper: projections, short filters, filters from positions, and O(T²) convolutions."""
    ours, x = made(Hyena(8, CONTEXT, layers=2, waves=3, hidden=5)).double(), noise(width=8).double()
    times = torch.arange(CONTEXT, dtype=torch.float64) / CONTEXT
    expected = x
    for block in ours.blocks:
        mix, filtering = block.mix, block.mix.filter
        projected = mix.into(block.mix_norm(expected))
        parts = torch.zeros_like(projected)
        long = torch.zeros(CONTEXT, 8, dtype=torch.float64)
        for t in range(CONTEXT):
            parts[:, t] = mix.short.bias + sum(
                projected[:, t - back] * mix.short.weight[:, 2 - back] for back in range(3) if t >= back
            )
            angles = 2 * math.pi * times[t] * torch.linspace(1e-4, 2, 3).double()
            hidden = filtering.into(torch.cat([times[t : t + 1], angles.cos(), -angles.sin()]))
            for layer in (*filtering.between, filtering.out):
                hidden = layer(torch.sin(filtering.frequency * hidden))
            long[t] = hidden * (torch.exp(-times[t] * filtering.decay) + 0.05)
        first, second, value = parts.split(8, dim=-1)
        inputs, mixed = second * value, torch.zeros_like(value)
        for t in range(CONTEXT):
            mixed[:, t] = sum(long[s] * inputs[:, t - s] for s in range(t + 1)) + mix.skip * inputs[:, t]
        expected = expected + mix.out(first * mixed)
        expected = expected + block.feed_out(functional.gelu(block.feed_in(block.feed_norm(expected)), approximate="tanh"))
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("backbone", "reach"),
    [(TCN(WIDTH, CONTEXT, layers=2, kernel=3), 1 + 2 * 2 * 3), (GCNN(WIDTH, CONTEXT, layers=3, kernel=4), 1 + 3 * 3)],
    ids=["tcn", "gcnn"],
)
def test_a_convolution_sees_as_far_as_its_formula_says_and_keeps_no_more(backbone: Backbone, reach: int) -> None:
    made(backbone)
    x = noise()
    changed = x.clone()
    changed[:, 3] = noise()[:, 4]
    moved = (backbone(x)[0] - backbone(changed)[0]).abs().amax(dim=(0, 2)) > 0  # (T,)
    assert moved.nonzero().flatten().tolist() == list(range(3, 3 + reach))
    assert len({backbone.state_bytes(backbone.init_state(1, length, x)) for length in (8, 8192)}) == 1


def test_a_signal_keeps_its_size_through_the_first_values_of_a_convolution() -> None:
    for name in ("tcn.TCN", "gcnn.GCNN"):
        model = build({"_target_": f"architectures.{name}"}, 64, CONTEXT, 7, 0)
        x = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(0))
        assert 0.5 < model.backbone(x)[0].std().item() < 2


def test_a_full_hyena_state_says_so() -> None:
    backbone = Hyena(WIDTH, CONTEXT)
    with pytest.raises(ValueError, match="room for 5 tokens, and token 6"):
        backbone(noise(6), backbone.init_state(3, 5, noise()))


# --- the encoder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", [8, 2 * CONTEXT])
def test_modern_bert_parity_with_transformers(local: int) -> None:
    from transformers import ModernBertConfig, ModernBertModel

    config = ModernBertConfig(
        hidden_size=WIDTH, intermediate_size=3 * WIDTH // 2, num_hidden_layers=4, num_attention_heads=HEADS, vocab_size=2,
        local_attention=local, pad_token_id=0, eos_token_id=0, bos_token_id=0, cls_token_id=0, sep_token_id=0,
    )  # fmt: skip
    theirs = ModernBertModel(config).eval()
    theirs.final_norm = nn.Identity()
    made(theirs)  # type: ignore[arg-type]
    names: dict[str, Any] = {
        "attention.into.weight": "attn.Wqkv.weight",
        "attention.out.weight": "attn.Wo.weight",
        "feed_norm.weight": "mlp_norm.weight",
        "feed_in.weight": "mlp.Wi.weight",
        "feed_out.weight": "mlp.Wo.weight",
    }
    both = {f"blocks.#.{a}": f"layers.#.{b}" for a, b in names.items()} | {"input_norm.weight": "embeddings.norm.weight"}
    both |= {f"blocks.{layer}.attention_norm.weight": f"layers.{layer}.attn_norm.weight" for layer in (1, 2, 3)}
    ours = ModernBert(WIDTH, CONTEXT, 4, HEADS, local=local).eval()
    ours.load_state_dict(copied(theirs.state_dict(), both, layers=4))
    lengths = torch.tensor([CONTEXT, 9, 1])
    seen = torch.arange(CONTEXT) < lengths[:, None]  # (B, T)
    close(ours(noise())[0], theirs(inputs_embeds=noise()).last_hidden_state)
    close(ours(noise(), None, lengths)[0][seen], theirs(inputs_embeds=noise(), attention_mask=seen).last_hidden_state[seen])


@pytest.mark.parametrize("check", AT_ANY_LENGTH, ids=str)
def test_local_layers_keep_the_contract(check: Check) -> None:
    finding = examine(check, Subject({"_target_": "architectures.modern_bert.ModernBert", "local": 6}))
    assert finding.status == "holds", finding.sentence()


def test_local_layers_count_the_keys_that_they_may_see() -> None:
    backbone = ModernBert(WIDTH, CONTEXT, 3, HEADS, local=10)
    seen = sum(abs(i - j) <= 5 for i in range(CONTEXT) for j in range(CONTEXT)) / CONTEXT
    assert backbone.flops(CONTEXT) == pytest.approx(backbone.flops(CONTEXT, full_mask=True) - 2 * 4 * WIDTH * (CONTEXT - seen))
