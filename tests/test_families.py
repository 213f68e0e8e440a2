"""Attention in windows, experts, convolutions, ModernBERT: against others' implementations, or the formula in float64."""

from typing import Any

import pytest
import torch
from torch import nn

from architectures.transformer import Transformer
from bench.contract import CHECKS, Check, Subject, examine
from tests.test_architectures import CONTEXT, HEADS, LAYERS, WIDTH, close, copied, made, noise

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


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
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
