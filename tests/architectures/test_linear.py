"""Linear attention and state space models: each against its paper's recurrence or others' code, whatever the chunk length."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from architectures.delta_rule import generalised_delta_rule
from architectures.gated_deltanet import GatedDeltaNet, gated_delta_rule
from architectures.gla import GLA
from architectures.interface import Backbone
from architectures.linear import linear_attention
from architectures.mamba2 import Mamba2
from architectures.retnet import RetNet
from architectures.rwkv7 import RWKV7
from architectures.s4d import S4D
from architectures.short_convolution import ShiftedSum, ShortConvolution
from bench.model import build_model
from bench.model.contract import CHECKS, ModelUnderTest, run_check
from tests.architectures.test_parity import CONTEXT, LAYERS, WIDTH, close, copied, made, noise
from tests.conftest import OWN

FILES = [
    path for path in OWN if yaml.safe_load(path.read_text(encoding="utf-8"))["family"] == "linear"
]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- the short convolution ------------------------------------------------------------------------


def test_short_convolution_parity_with_torch() -> None:
    ours, theirs = ShortConvolution(6, 4).double(), nn.Conv1d(6, 6, 4, groups=6).double()
    theirs.load_state_dict({"weight": ours.weight[:, None], "bias": ours.bias + 0.3})
    ours.bias.data.add_(0.3)
    x = random(2, 9, 6)
    expected = theirs(functional.pad(x.mT, (3, 0))).mT
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-12)
    past, parts = ours.init_state(2, x), []
    for piece in x.split((2, 1, 1, 5), dim=1):
        mixed, past = ours(piece, past)
        parts.append(mixed)
        assert past.shape == (2, 3, 6)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=1e-12)


def test_short_convolution_has_the_gradient_of_its_sums() -> None:
    for bias in (
        random(3, seed=2),
        random(1, seed=2)[0],
    ):  # a vector, and the zero that stands for none
        arguments = [
            each.detach().requires_grad_() for each in (random(2, 7, 3), random(4, 3, seed=1), bias)
        ]
        assert torch.autograd.gradcheck(ShiftedSum.apply, arguments)


def test_short_convolution_is_traced() -> None:
    convolution, x = ShortConvolution(3, 4, bias=False).double(), random(2, 9, 3)
    traced = torch.compile(convolution, backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(x)[0], convolution(x)[0], rtol=0, atol=0)
    traced(x)[0].sum().backward()
    assert convolution.weight.grad is not None


# --- parity ---------------------------------------------------------------------------------------


def test_mamba2_parity_with_transformers() -> None:
    from transformers import Mamba2Config, Mamba2Model

    ours = Mamba2(WIDTH, CONTEXT, LAYERS, head_width=16, state_width=8, chunk=8)
    config = Mamba2Config(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_heads=4, head_dim=16, state_size=8, n_groups=1, conv_kernel=4,
        chunk_size=8, vocab_size=2, layer_norm_epsilon=1e-6, use_bias=False,
    )  # fmt: skip
    theirs = Mamba2Model(config).eval()
    theirs.norm_f = nn.Identity()
    theirs.embeddings = nn.Embedding(1, 1)
    names = {
        "norm.weight": "norm.weight",
        "into.weight": "in_proj.weight",
        "convolution.weight": "conv1d.weight",
        "convolution.bias": "conv1d.bias",
        "step_bias": "dt_bias",
        "log_rate": "A_log",
        "skip": "D",
        "inner_norm.weight": "norm.weight",
        "out.weight": "out_proj.weight",
    }
    weights = copied(
        made(theirs).state_dict(),  # type: ignore[arg-type]
        {
            f"blocks.#.{a}": f"layers.#.{'' if a == 'norm.weight' else 'mixer.'}{b}"
            for a, b in names.items()
        },
    )
    ours.load_state_dict(
        {
            key: weight.squeeze(1) if "convolution.weight" in key else weight
            for key, weight in weights.items()
        }
    )
    close(ours.eval()(noise())[0], theirs(inputs_embeds=noise()).last_hidden_state)


def test_gated_deltanet_parity_with_transformers() -> None:
    from transformers import Qwen3NextConfig, Qwen3NextModel

    ours = GatedDeltaNet(WIDTH, CONTEXT, LAYERS, heads=2, chunk=8)
    keys, values = ours.key_width, ours.value_width
    config = Qwen3NextConfig(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, layer_types=["linear_attention"] * LAYERS, intermediate_size=ours.hidden,
        mlp_only_layers=list(range(LAYERS)), linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=keys,
        linear_value_head_dim=values, vocab_size=2, pad_token_id=0,
    )  # fmt: skip
    theirs = Qwen3NextModel(config).eval()
    theirs.norm = nn.Identity()
    weights = dict(made(theirs).state_dict())  # type: ignore[arg-type]
    for layer in range(LAYERS):
        place = f"layers.{layer}.linear_attn."
        by_head = weights[place + "in_proj_qkvz.weight"].unflatten(
            0, (2, -1)
        )  # theirs keeps the parts of a head together
        parts = [part.flatten(0, 1) for part in by_head.split([keys, keys, values, values], dim=1)]
        small = (
            weights[place + "in_proj_ba.weight"].unflatten(0, (2, 2)).transpose(0, 1).flatten(0, 1)
        )
        weights[place + "into.weight"] = torch.cat([*parts, small])
        weights[place + "conv1d.weight"] = weights[place + "conv1d.weight"].squeeze(1)
        for norm in ("input", "post_attention"):
            key = f"layers.{layer}.{norm}_layernorm.weight"
            weights[key] = weights[key] + 1  # theirs is counted from 1
    names: dict[str, str | tuple[str, ...]] = {
        "mixer_norm.weight": "input_layernorm.weight",
        "feed_norm.weight": "post_attention_layernorm.weight",
        "feed.into.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
        "feed.out.weight": "mlp.down_proj.weight",
        "mixer.into.weight": "linear_attn.into.weight",
        "mixer.convolution.weight": "linear_attn.conv1d.weight",
        "mixer.step_bias": "linear_attn.dt_bias",
        "mixer.log_rate": "linear_attn.A_log",
        "mixer.norm.weight": "linear_attn.norm.weight",
        "mixer.out.weight": "linear_attn.out_proj.weight",
    }
    places = {
        f"blocks.#.{ours}": f"layers.#.{names}"
        if isinstance(names, str)
        else tuple(f"layers.#.{name}" for name in names)
        for ours, names in names.items()
    }
    ours.load_state_dict(copied(weights, places))
    close(ours.eval()(noise())[0], theirs(inputs_embeds=noise(), use_cache=False).last_hidden_state)


def swiglu(x: Tensor, feed: Any) -> Tensor:
    gate, value = (x @ feed.into.weight.T).chunk(2, dim=-1)
    return (gate * gate.sigmoid() * value) @ feed.out.weight.T


def test_retnet_parity_with_its_paper() -> None:
    """Equations 5 to 8 and 3.1 of arXiv:2307.08621, one token after another, its rotations in complex numbers."""
    ours, x = made(RetNet(8, CONTEXT, LAYERS, heads=2, chunk=5)).double(), random(3, 11, 8)
    expected, angles = (
        x,
        10_000.0 ** -torch.arange(0, 1, 0.5, dtype=torch.float64),
    )  # heads of 4: two turns each
    for block in ours.blocks:
        retention, normed = block.retention, block.retention_norm(expected)
        queries, keys, values, gates = (normed @ retention.into.weight.T).split(
            [8, 8, 16, 16], dim=-1
        )
        state, mixed = torch.zeros(3, 2, 2, 8, dtype=torch.complex128), []
        fading = 1 - 2.0 ** -(5 + torch.arange(2, dtype=torch.float64))[:, None, None]
        for t in range(11):
            turn = torch.polar(torch.ones_like(angles), angles * t)
            query, key = (
                torch.complex(*part[:, t].view(3, 2, 2, 2).unbind(2)) * turn
                for part in (queries, keys)
            )  # (3, H, K/2)
            state = (
                fading * state + key.conj().unsqueeze(-1) * values[:, t].view(3, 2, 1, 8) / 2
            )  # over √K
            read = (query.unsqueeze(-1) * state).sum(-2).real  # (3, H, V)
            read = (
                functional.layer_norm(read, (8,)).flatten(1) * retention.norm.weight
                + retention.norm.bias
            )
            mixed.append((read * functional.silu(gates[:, t])) @ retention.out.weight.T)
        expected = expected + torch.stack(mixed, dim=1)
        expected = (
            expected
            + functional.gelu(block.feed_norm(expected) @ block.feed_in.weight.T)
            @ block.feed_out.weight.T
        )
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-5)  # its angles are float32's


def test_gla_parity_with_its_paper() -> None:
    """Section 4.2 and 4.4 of arXiv:2312.06635: S_t = (α_tᵀ·1) ∘ S_{t-1} + k_tᵀ·v_t, one token after another."""
    ours, x = made(GLA(16, CONTEXT, LAYERS, heads=2, chunk=5)).double(), random(3, 11, 16)
    expected = x
    for block in ours.blocks:
        attention = block.attention
        parts = (block.attention_norm(expected) @ attention.into.weight.T).split(
            [8, 8, 16, 16, 16], dim=-1
        )
        queries, keys, values, gates, low = parts
        alpha = (low @ attention.forget.weight.T + attention.forget.bias).sigmoid() ** (1 / 16)
        state, mixed = torch.zeros(3, 2, 4, 8, dtype=torch.float64), []
        for t in range(11):
            state = alpha[:, t].view(3, 2, 4, 1) * state + keys[:, t].view(3, 2, 4, 1) * values[
                :, t
            ].view(3, 2, 1, 8)
            read = attention.norm((queries[:, t].view(3, 2, 4, 1) * state).sum(-2) / 2).flatten(
                1
            )  # over √K
            mixed.append(
                (read * functional.silu(gates[:, t] + attention.gate_bias)) @ attention.out.weight.T
            )
        expected = expected + torch.stack(mixed, dim=1)
        expected = expected + swiglu(block.feed_norm(expected), block.feed)
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-9)


def test_rwkv7_parity_with_its_paper() -> None:
    """Section 4 of arXiv:2503.14456, one token after another, its states turned as they are written there: (V, K)."""
    ours, x = (
        made(RWKV7(8, CONTEXT, LAYERS, head_width=4, rank=3, chunk=5)).double(),
        random(3, 11, 8),
    )
    expected, first = ours.input_norm(x), None

    def low(part: Any, y: Tensor, bend: Any = lambda hidden: hidden) -> Tensor:
        return bend(y @ part.down.weight.T) @ part.up.weight.T + (
            0 if part.up.bias is None else part.up.bias
        )

    for block in ours.blocks:
        time, normed = block.time, block.time_norm(expected)
        last, state, mixed, values = (
            torch.zeros(3, 8, dtype=torch.float64),
            torch.zeros(3, 2, 4, 4, dtype=torch.float64),
            [],
            [],
        )
        for t in range(11):
            x_r, x_w, x_k, x_v, x_a, x_g = (
                normed[:, t] + (last - normed[:, t]) * shift.flatten() for shift in time.shifts
            )
            last = normed[:, t]
            r, k, v = (
                x_r @ time.reads.weight.T,
                x_k @ time.keys.weight.T,
                x_v @ time.values.weight.T,
            )
            if first is not None:
                v = v + (first[:, t] - v) * low(time.older, x_v).sigmoid()
            values.append(v)
            w, a = (
                torch.exp(-math.exp(-0.5) * low(time.decay, x_w, torch.tanh).sigmoid()),
                low(time.rate, x_a).sigmoid(),
            )
            kappa = functional.normalize((k * time.erased_scale).view(3, 2, 4), dim=-1)
            k = k * (1 + (a - 1) * time.rate_scale)
            r, k, v, w, a = (each.view(3, 2, 4) for each in (r, k, v, w, a))
            transition = torch.diag_embed(w) - kappa.unsqueeze(-1) @ (a * kappa).unsqueeze(-2)
            state = state @ transition + v.unsqueeze(-1) @ k.unsqueeze(-2)
            read = functional.group_norm(
                (state @ r.unsqueeze(-1)).reshape(3, 8),
                2,
                time.norm.weight,
                time.norm.bias,
                eps=4e-5,
            )
            read = read + ((r * time.bonus.view(2, 4) * k).sum(-1, keepdim=True) * v).flatten(1)
            mixed.append((read * low(time.gate, x_g, torch.sigmoid)) @ time.out.weight.T)
        first = torch.stack(values, dim=1) if first is None else first
        expected = expected + torch.stack(mixed, dim=1)
        fed = block.channel_norm(expected)
        before = functional.pad(fed, (0, 0, 1, 0))[:, :-1]
        hidden = (fed + (before - fed) * block.channel.shift) @ block.channel.into.weight.T
        expected = expected + functional.relu(hidden) ** 2 @ block.channel.out.weight.T
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-9)


def test_s4d_parity_with_its_paper() -> None:
    """Equations 1 to 3 of arXiv:2206.11893: a diagonal system, held for Δ at a time, one token after another."""
    ours, x = made(S4D(6, CONTEXT, LAYERS, state_width=8, chunk=5)).double(), random(3, 11, 6)
    expected = x
    for block in ours.blocks:
        mixer, normed = block.mixer, block.mixer_norm(expected)
        rate = torch.complex(-mixer.log_rate.exp(), mixer.frequency).view(6, 4)
        step, read = mixer.log_step.exp()[:, None], torch.view_as_complex(mixer.read.view(6, 4, 2))
        turn, state, mixed = (step * rate).exp(), torch.zeros(3, 6, 4, dtype=torch.complex128), []
        for t in range(11):
            state = turn * state + (turn - 1) / rate * normed[:, t].unsqueeze(-1)
            mixed.append(2 * (read * state).sum(-1).real + mixer.skip * normed[:, t])
        expected = expected + functional.glu(
            block.out(functional.gelu(torch.stack(mixed, dim=1))), dim=-1
        )
        expected = expected + block.feed_out(
            functional.gelu(block.feed_in(block.feed_norm(expected)))
        )
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-9)


# --- chunks against steps -------------------------------------------------------------------------


def attention_by_steps(
    queries: Tensor, keys: Tensor, values: Tensor, decays: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence as it is written, one token after another."""
    decays = decays if decays.dim() == 4 else decays.unsqueeze(-1)
    read = []
    for t in range(queries.shape[1]):
        state = decays[:, t].exp().unsqueeze(-1) * state + keys[:, t].unsqueeze(-1) * values[
            :, t
        ].unsqueeze(-2)
        read.append((queries[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(read, dim=1), state


def delta_rule_by_steps(
    queries: Tensor, keys: Tensor, values: Tensor, decays: Tensor, strengths: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Equation 10 of arXiv:2412.06464, turned: S_t = α_t·(1 - β_t·k_t·k_tᵀ)·S_{t-1} + β_t·k_t·v_tᵀ."""
    read, one = [], torch.eye(keys.shape[-1], dtype=keys.dtype)
    for t in range(queries.shape[1]):
        key, strength = keys[:, t].unsqueeze(-1), strengths[:, t, :, None, None]
        state = decays[:, t, :, None, None].exp() * (one - strength * key @ key.mT) @ state
        state = state + strength * key @ values[:, t].unsqueeze(-2)
        read.append((queries[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(read, dim=1), state


def same(ours: Any, steps: Any, arguments: list[Tensor], atol: float = 1e-9) -> None:
    """Both outputs, and the gradients of all that went in."""
    given = [each.detach().clone().requires_grad_() for each in arguments]
    results = []
    for function in (ours, steps):
        read, state = function(*given)
        weighed = sum(
            (each * random(*each.shape, seed=8)).sum() for each in (read, state) if each is not None
        )
        results.append([read, state, *torch.autograd.grad(weighed, given, allow_unused=True)])
    for mine, theirs in zip(*results, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("chunk", [1, 3, 8, 64])
@pytest.mark.parametrize("decay_width", [None, 4], ids=["a head", "a row"])
@pytest.mark.parametrize("key_heads", [1, 3])
def test_chunked_attention_is_its_recurrence(
    chunk: int, decay_width: int | None, key_heads: int
) -> None:
    decays = -random(2, 21, 3, *([decay_width] if decay_width else []), seed=3).exp()
    queries, keys = random(2, 21, key_heads, 4), random(2, 21, key_heads, 4, seed=1)
    arguments, state = (
        [queries, keys, random(2, 21, 3, 5, seed=2), decays],
        random(2, 3, 4, 5, seed=4),
    )
    same(lambda *each: linear_attention(*each, chunk), attention_by_steps, [*arguments, state])
    same(
        lambda *each: linear_attention(*each, None, chunk),
        lambda *each: (attention_by_steps(*each, torch.zeros_like(state))[0], None),
        arguments,
    )


@pytest.mark.parametrize("chunk", [1, 3, 8, 64])
def test_chunked_delta_rule_is_its_recurrence(chunk: int) -> None:
    keys = functional.normalize(random(2, 21, 3, 4, seed=1), dim=-1)
    arguments = [
        random(2, 21, 3, 4),
        keys,
        random(2, 21, 3, 5, seed=2),
        -random(2, 21, 3, seed=3).exp(),
    ]
    arguments, state = [*arguments, random(2, 21, 3, seed=5).sigmoid()], random(2, 3, 4, 5, seed=4)
    same(lambda *each: gated_delta_rule(*each, chunk), delta_rule_by_steps, [*arguments, state])
    same(
        lambda *each: gated_delta_rule(*each, None, chunk),
        lambda *each: (delta_rule_by_steps(*each, torch.zeros_like(state))[0], None),
        arguments,
    )


def generalised_by_steps(
    reads: Tensor,
    keys: Tensor,
    values: Tensor,
    decays: Tensor,
    erased: Tensor,
    rates: Tensor,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """Equation 17 of arXiv:2503.14456, turned."""
    read = []
    for t in range(reads.shape[1]):
        transition = torch.diag_embed(decays[:, t].exp()) - (rates * erased)[:, t].unsqueeze(
            -1
        ) @ erased[:, t].unsqueeze(-2)
        state = transition @ state + keys[:, t].unsqueeze(-1) @ values[:, t].unsqueeze(-2)
        read.append((reads[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(read, dim=1), state


@pytest.mark.parametrize("chunk", [1, 3, 8, 64])
def test_chunked_generalised_delta_rule_is_its_recurrence(chunk: int) -> None:
    reads, keys, values, raw, erased, rates = (random(2, 21, 3, 4, seed=seed) for seed in range(6))
    arguments = [
        reads,
        keys,
        values,
        -0.6 * raw.sigmoid(),
        functional.normalize(erased, dim=-1),
        rates.sigmoid(),
    ]
    state = random(2, 3, 4, 4, seed=7)
    same(
        lambda *each: generalised_delta_rule(*each, chunk),
        generalised_by_steps,
        [*arguments, state],
    )
    same(
        lambda *each: generalised_delta_rule(*each, None, chunk),
        lambda *each: (generalised_by_steps(*each, torch.zeros_like(state))[0], None),
        arguments,
    )


@pytest.mark.parametrize("decay_width", [None, 4], ids=["a head", "a row"])
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 2e-3)], ids=["float64", "float32"]
)
def test_strong_decay_over_a_long_text_stays_exact(
    decay_width: int | None, dtype: torch.dtype, atol: float
) -> None:
    """From exp(-90) to exp(-0.001) a token: the products over a chunk vanish even from float64, and nothing else does.

    In float32 the logarithms of a chunk, a few thousand in sum, are rounded at their fourth place.
    """
    length = 512
    decays = -(
        4.5 * random(1, length, 3, *([decay_width] if decay_width else []), seed=3).clamp(-1.5, 1)
    ).exp()
    arguments = [*(random(1, length, 3, 4, seed=seed) for seed in range(3)), decays]
    expected, after = attention_by_steps(*arguments, torch.zeros(1, 3, 4, 4, dtype=torch.float64))
    given = [each.to(dtype).requires_grad_() for each in arguments]
    read, state = linear_attention(*given, torch.zeros(1, 3, 4, 4, dtype=dtype), 64)
    torch.testing.assert_close(read.double(), expected, rtol=0, atol=atol)
    torch.testing.assert_close(state.double(), after, rtol=0, atol=atol)
    for gradient in torch.autograd.grad(read.square().sum(), given):
        assert gradient.isfinite().all()


# --- each architecture of the family --------------------------------------------------------------


def arch(path: Path, **options: int) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content | options


def backbone_of(path: Path, dtype: torch.dtype, **options: int) -> Backbone:
    return build_model(arch(path, **options), 20, CONTEXT, 5, seed=0).backbone.to(dtype).eval()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
def test_training_form_equals_steps_through_the_state(
    path: Path, dtype: torch.dtype, atol: float
) -> None:
    x, backbone = random(2, CONTEXT, 20, dtype=dtype), backbone_of(path, dtype, layers=2, chunk=5)
    with torch.no_grad():
        whole, _ = backbone(x)
        state, parts = backbone.init_state(2, CONTEXT, x), []
        for piece in x.split(1, dim=1):
            mixed, state = backbone(piece, state)
            parts.append(mixed)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["causality", "pieces", "flops", "gradients"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_promise_holds_over_the_borders_of_chunks(path: Path, name: str) -> None:
    check = next(check for check in CHECKS if check.name == name)
    finding = run_check(check, ModelUnderTest(arch(path, chunk=4, layers=2)))
    assert finding.status == "passed", finding.sentence()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_state_is_constant_in_length_and_any_width_is_accepted(path: Path) -> None:
    for width in (1, 7, 30):
        backbone = build_model(arch(path, layers=1), width, CONTEXT, 5, seed=0).backbone
        assert backbone(noise(width=width))[0].shape == (3, CONTEXT, width)
        assert (
            len(
                {
                    backbone.state_bytes(backbone.init_state(1, length, noise()))
                    for length in (8, 8192)
                }
            )
            == 1
        )
