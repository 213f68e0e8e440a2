"""Recurrent networks and hybrids: each against its paper's recurrence or others' code, whatever the form that computes it."""

from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from architectures import rnn
from architectures.convolution import convolve
from architectures.hybrid import FeedForward, Hybrid
from architectures.minimal_rnn import MinimalRNN
from architectures.rglru import RGLRU, GatedRecurrence
from architectures.rnn import RNN
from architectures.scan import init_memory as init_vector
from architectures.scan import linear_scan, scan_by_doubling
from architectures.short_convolution import ShortConvolution
from architectures.transformer import Transformer
from bench.model import ModelBuildError
from bench.model.contract import CHECKS, ModelUnderTest, run_check
from tests.conftest import ROOT

ARCH = ROOT / "conf" / "arch"
WIDTH, CONTEXT, HEADS = 32, 24, 4


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def made(module: nn.Module) -> Any:
    """All parameters random, norms and biases too, so that none can be mixed up unseen."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(0.2 * random(*parameter.shape, seed=i) + (parameter.dim() == 1) * 0.5)
    return module.eval()


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_cells_by_autocast_are_the_cells_in_that_precision(
    cell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    torch.manual_seed(0)
    network, x = RNN(WIDTH, CONTEXT, cell=cell), random(2, CONTEXT, WIDTH, dtype=torch.float32)
    state = network.init_state(2, CONTEXT, x)
    plain, after = network(x, state)
    for dtype, far in ((torch.float32, 0.0), (torch.bfloat16, 0.02)):
        mixed, onward = network.on_cuda(x, state, dtype)
        assert mixed.dtype == dtype
        close(mixed.float(), plain, far)
        close(network.parts(onward)[0].float(), network.parts(after)[0], far)
        assert len(torch.autograd.grad(mixed.float().sum(), list(network.parameters()))) == len(
            list(network.parameters())
        )
        with torch.no_grad():
            close(network.on_cuda(x, None, dtype)[0], mixed, 1e-2 if far else 1e-6)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90100)
    assert network.on_cuda(x, None, torch.bfloat16)[0].dtype == torch.float32
    assert not [name for name in network.state_dict() if "kept" in name]


def test_cells_by_autocast_follow_weights_that_a_fused_optimizer_changed_and_are_made_once_a_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    monkeypatch.setattr(rnn, "cuda_autocast_dtype", lambda x: torch.bfloat16)
    network, x = RNN(WIDTH, CONTEXT), random(2, CONTEXT, WIDTH, dtype=torch.float32)
    empty = network.init_state(2, CONTEXT, x)
    fused = torch.optim.AdamW(network.parameters(), lr=0.5, fused=True)
    with torch.no_grad():
        before, state = network(x), network(x, empty)[1]
    network(x)[0].sum().backward()
    assert network.kept is None  # training holds no second copy
    fused.step()
    with torch.no_grad():
        assert not torch.equal(network(x)[0], before[0])
        assert not torch.equal(network(x, empty)[0], before[0])
        cells, state = network.kept[0], network(x, empty)[1]
        assert network.kept[0] is not cells
        cells = network.kept[0]
        for _ in range(3):
            _, state = network(x[:, :1], state)
            assert network.kept[0] is cells


def test_a_state_keeps_its_precision_under_autocast() -> None:
    network, x = RNN(WIDTH, CONTEXT), random(1, CONTEXT, WIDTH, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, after = network(x, network.init_state(1, CONTEXT, x))
    assert [part.dtype for part in after] == [torch.float32, torch.float32]


def close(ours: Tensor, theirs: Tensor, far: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=far)


def finding(check: str, **arch: Any) -> str:
    """Whether a check of the contract passes, and its sentence."""
    checks = {one.name: one for one in CHECKS}
    result = run_check(checks[check], ModelUnderTest(arch))
    return f"{result.status}: {result.sentence()}"


@pytest.mark.parametrize("layers", [1, 3])
def test_one_token_of_an_lstm_is_what_the_fused_cells_make_of_it(layers: int) -> None:
    model = RNN(width=WIDTH, context=CONTEXT, layers=layers).double().eval()
    state = model(random(2, 5, WIDTH), model.init_state(2, 0, random(1)))[1]
    x = random(2, 1, WIDTH, seed=1)
    (mixed, after), (expected, expected_after) = model(x, state), model.cells(x, state)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(after, expected_after)


@pytest.mark.parametrize("bias", [None, random(5)])
@pytest.mark.parametrize("dilation", [1, 4])
def test_one_token_of_a_convolution_is_that_of_conv1d(dilation: int, bias: Any) -> None:
    inputs, weight = random(2, 3, 1 + 2 * dilation), random(5, 3, 3, seed=1)
    expected = functional.conv1d(inputs, weight, bias, dilation=dilation)
    torch.testing.assert_close(convolve(inputs, weight, bias, dilation), expected)


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ARCH / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


# --- the scan -------------------------------------------------------------------------------------


def test_scan_parity_with_its_recurrence() -> None:
    decay, drive, start = random(2, 19, 3).sigmoid(), random(2, 19, 3, seed=1), random(2, 3, seed=2)
    memory, expected = start, []
    for t in range(19):
        memory = decay[:, t] * memory + drive[:, t]
        expected.append(memory)
    close(linear_scan(decay, drive, start), torch.stack(expected, dim=1), 1e-12)
    first = drive[:, :1] + decay[:, :1] * start[:, None]
    close(
        scan_by_doubling(decay, torch.cat([first, drive[:, 1:]], dim=1)),
        torch.stack(expected, dim=1),
        1e-12,
    )


@pytest.mark.parametrize("length", [1, 2, 7])
def test_scan_has_the_gradient_of_its_recurrence(length: int) -> None:
    arguments = [random(2, length, 3).sigmoid(), random(2, length, 3, seed=1), random(2, 3, seed=2)]
    assert torch.autograd.gradcheck(linear_scan, [each.requires_grad_() for each in arguments])


def test_scan_is_one_operation_to_a_compiler() -> None:
    arguments = [
        each.requires_grad_()
        for each in (random(2, 7, 3).sigmoid(), random(2, 7, 3, seed=1), random(2, 3, seed=2))
    ]
    compiled = torch.compile(linear_scan, backend="aot_eager", fullgraph=True)
    (plain,), (traced,) = (
        torch.autograd.grad(scan(*arguments).square().sum(), arguments[:1])
        for scan in (linear_scan, compiled)
    )
    close(traced, plain, 1e-12)


def test_scan_sums_in_float32_what_comes_in_bfloat16() -> None:
    slow = torch.full(
        (1, 300, 1), 0.996, dtype=torch.bfloat16
    )  # 0.996 itself is representable; sums of 1/16 soon are not
    memory = linear_scan(slow, torch.full_like(slow, 1 / 16), init_vector(1, 1, slow))
    assert memory.dtype == torch.float32
    kept = slow[0, 0, 0].item()
    assert memory[0, -1, 0].item() == pytest.approx((1 - kept**300) / (1 - kept) / 16, rel=1e-4)


# --- minGRU and minLSTM ---------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
def test_minimal_parity_with_the_papers_recurrence(cell: Any) -> None:
    ours = made(MinimalRNN(8, CONTEXT, layers=1, cell=cell, expansion=2, kernel=3).double())
    x, block, inner = random(2, CONTEXT, 8), ours.blocks[0], 16
    inputs, h, mixed = block.cell_norm(x), torch.zeros(2, inner, dtype=torch.float64), []
    maps = list(
        zip(block.cell.into.weight.split(inner), block.cell.into.bias.split(inner), strict=True)
    )
    for t in range(CONTEXT):
        seen = [
            inputs[:, t - 2 + i] * block.convolution.weight[:, i]
            for i in range(3)
            if t - 2 + i >= 0
        ]
        candidate, *gates = (sum(seen) + block.convolution.bias) @ torch.stack(
            [w.T for w, _ in maps]
        )
        candidate, gates = (
            candidate + maps[0][1],
            [torch.sigmoid(g + b) for g, (_, b) in zip(gates, maps[1:], strict=True)],
        )
        if cell == "mingru":  # h = (1 - z) · h + z · candidate
            h = (1 - gates[0]) * h + gates[0] * candidate
        else:  # h = f / (f + i) · h + i / (f + i) · candidate
            h = gates[0] / (gates[0] + gates[1]) * h + gates[1] / (gates[0] + gates[1]) * candidate
        mixed.append(h)
    between = x + block.out(torch.stack(mixed, dim=1))
    expected = between + block.feed_out(
        nn.functional.gelu(block.feed_in(block.feed_norm(between)), approximate="tanh")
    )
    close(ours(x)[0], expected, 1e-9)


def test_minlstm_gates_far_from_zero_still_share_out() -> None:
    ours = MinimalRNN(8, CONTEXT, layers=1, cell="minlstm")
    with torch.no_grad():
        ours.blocks[0].cell.into.bias[
            8:
        ] = -200.0  # both gates round to nothing, and 0 / 0 would be no number
    assert ours(random(1, CONTEXT, 8).float())[0].isfinite().all()


def test_a_convolution_that_looks_ahead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a popular minGRU's once did: padded on both sides."""

    def both_sides(
        self: ShortConvolution, x: Tensor, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        around = nn.functional.pad(x.mT, (self.weight.shape[1] - 2, 1))
        return nn.functional.conv1d(
            around, self.weight[:, None], self.bias, groups=x.shape[2]
        ).mT, past

    assert finding("causality", **read("mingru")).startswith("passed")
    monkeypatch.setattr(ShortConvolution, "forward", both_sides)
    assert finding("causality", **read("mingru")).startswith("failed")


# --- RG-LRU, Griffin and hybrids ------------------------------------------------------------------


def recurrent_gemma(**options: Any) -> Any:
    """Others' Griffin with random weights. Biases that its feed-forward and attention have and ours have not are zero."""
    from transformers import RecurrentGemmaConfig, RecurrentGemmaModel

    config = RecurrentGemmaConfig(
        hidden_size=WIDTH,
        intermediate_size=6 * WIDTH,
        num_attention_heads=HEADS,
        vocab_size=2,
        partial_rotary_factor=1.0,
        **options,
    )
    theirs = made(RecurrentGemmaModel(config))
    for name, parameter in theirs.named_parameters():
        if ("mlp_block" in name and name.endswith("bias")) or name.endswith("o_proj.bias"):
            nn.init.zeros_(parameter)
    theirs.final_norm = nn.Identity()
    theirs.normalizer.fill_(1.0)  # they scale the embedding by √D; we have none in a backbone
    return theirs


def joined(weights: dict[str, Tensor], *names: str) -> Tensor:
    return torch.cat([weights[name] for name in names])


def feed_forward(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of one layer of theirs; the weight of their norms is the distance from 1."""
    return {
        "feed_norm.weight": 1 + weights["channel_pre_norm.weight"],
        "feed.into.weight": joined(
            weights, "mlp_block.gate_proj.weight", "mlp_block.up_proj.weight"
        ),
        "feed.out.weight": weights["mlp_block.down_proj.weight"],
    }


def recurrent(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {"recurrence_norm.weight": 1 + weights["temporal_pre_norm.weight"]}
    for end in ("weight", "bias"):
        ours[f"into.{end}"] = joined(
            weights, f"temporal_block.linear_y.{end}", f"temporal_block.linear_x.{end}"
        )
        ours[f"out.{end}"] = weights[f"temporal_block.linear_out.{end}"]
        ours[f"convolution.{end}"] = weights[f"temporal_block.conv_1d.{end}"].squeeze()
    gates = {part: weights[f"temporal_block.rg_lru.{part}"] for part in (
        "recurrent_gate_weight", "input_gate_weight", "recurrent_gate_bias", "input_gate_bias")}  # fmt: skip
    ours["recurrence.gates"] = torch.cat(
        [gates["recurrent_gate_weight"], gates["input_gate_weight"]], dim=2
    )
    ours["recurrence.gate_bias"] = torch.cat(
        [gates["recurrent_gate_bias"].flatten(), gates["input_gate_bias"].flatten()]
    )
    ours["recurrence.decay"] = weights["temporal_block.rg_lru.recurrent_param"]
    return ours | feed_forward(weights)


def local(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {"attention_norm.weight": 1 + weights["temporal_pre_norm.weight"]}
    ours["attention.into.weight"] = joined(
        weights, *(f"temporal_block.{part}_proj.weight" for part in "qkv")
    )
    ours["attention.out.weight"] = weights["temporal_block.o_proj.weight"]
    return ours | feed_forward(weights)


def test_rglru_parity_with_transformers() -> None:
    theirs, ours = (
        recurrent_gemma(num_hidden_layers=2, block_types=["recurrent"]),
        RGLRU(WIDTH, CONTEXT, 2, HEADS).eval(),
    )
    for block, layer in zip(ours.blocks, theirs.layers, strict=True):
        block.load_state_dict(recurrent(layer.state_dict()))
    x = random(2, CONTEXT, WIDTH).float()
    close(ours(x)[0], theirs(inputs_embeds=x, use_cache=False).last_hidden_state)


def test_griffin_parity_with_transformers() -> None:
    """The whole pattern, at a window shorter than the text."""
    arch = read("griffin")
    arch["parts"]["local"]["window"] = 7
    theirs = recurrent_gemma(num_hidden_layers=4, attention_window_size=7)
    ours = Hybrid(WIDTH, CONTEXT, arch["pattern"], arch["parts"], layers=4).eval()
    for part, layer in zip(ours.layers, theirs.layers, strict=True):
        part.blocks[0].load_state_dict(
            (local if isinstance(part, Transformer) else recurrent)(layer.state_dict())
        )
    assert [type(part) for part in ours.layers] == [RGLRU, RGLRU, Transformer, RGLRU]
    x = random(2, CONTEXT, WIDTH).float()
    close(ours(x)[0], theirs(inputs_embeds=x, use_cache=False).last_hidden_state)


def test_rglru_parity_with_its_recurrence() -> None:
    """Token by token in float64, over more than one text: only the first token of all enters whole."""
    unit = made(GatedRecurrence(8, 2).double())
    x, start, expected = random(2, CONTEXT, 8), random(2, 8, seed=1), []
    for fresh, memory in ((True, torch.zeros_like(start)), (False, start)):
        expected, before = [], memory
        for t in range(CONTEXT):
            halves = torch.stack(
                [x[:, t, :4] @ unit.gates[0], x[:, t, 4:] @ unit.gates[1]]
            )  # (2, B, 2·K)
            r = torch.sigmoid(
                torch.cat([halves[0, :, :4], halves[1, :, :4]], dim=1) + unit.gate_bias[:8]
            )
            i = torch.sigmoid(
                torch.cat([halves[0, :, 4:], halves[1, :, 4:]], dim=1) + unit.gate_bias[8:]
            )
            a = torch.sigmoid(-unit.decay) ** (8 * r)
            memory = a * memory + (1.0 if fresh and t == 0 else (1 - a**2).sqrt()) * (i * x[:, t])
            expected.append(memory)
        close(unit(x, before, fresh), torch.stack(expected, dim=1), 1e-9)


def test_rglru_starts_slow() -> None:
    """Open gates keep from 0.9 to 0.999 of each channel, as the paper sets them."""
    kept = torch.exp(-8 * nn.functional.softplus(GatedRecurrence(4000, 4).decay))
    assert 0.9 <= kept.min() < 0.901
    assert 0.998 < kept.max() <= 0.9991
    assert kept.mean().item() == pytest.approx(0.9495, abs=0.002)


def test_a_hybrid_is_the_sum_of_its_parts() -> None:
    parts = {
        "recurrent": {"_target_": "architectures.rglru.RGLRU", "layers": 1},
        "feed": {"_target_": "architectures.hybrid.FeedForward"},
        "attention": {
            "_target_": "architectures.transformer.Transformer",
            "layers": 1,
            "window": 4,
        },
    }
    hybrid, x = (
        Hybrid(8, CONTEXT, ["recurrent", "feed", "attention"], parts, layers=5),
        random(2, CONTEXT, 8).float(),
    )
    assert [type(layer) for layer in hybrid.layers] == [
        RGLRU,
        FeedForward,
        Transformer,
        RGLRU,
        FeedForward,
    ]
    expected = x
    for layer in hybrid.layers:
        expected = layer(expected)[0]
    assert torch.equal(hybrid(x)[0], expected)
    assert hybrid.flops(64) == sum(layer.flops(64) for layer in hybrid.layers)
    assert hybrid.unchecked_flops(64) == 2 * hybrid.layers[0].unchecked_flops(64) > 0
    sizes = {hybrid.state_bytes(hybrid.init_state(1, length, x)) for length in (8, 8192)}
    assert sizes == {
        4 * (2 * (8 + 3 * 8) + 2 * 4 * 8)
    }  # two memories and their convolutions, and a ring of keys and values
    assert finding(
        "pieces", _target_="architectures.hybrid.Hybrid", pattern=list(parts), parts=parts
    ).startswith("passed: pieces: ")


def test_a_hybrid_is_causal_where_all_of_its_parts_are() -> None:
    parts = {
        "one": {"_target_": "architectures.rglru.RGLRU"},
        "both": {"_target_": "architectures.bert.Bert", "layers": 1},
    }
    assert Hybrid(8, CONTEXT, ["one"], parts).causal
    assert not Hybrid(8, CONTEXT, ["one", "both"], parts).causal


@pytest.mark.parametrize(
    ("pattern", "parts", "words"),
    [
        (
            ["far"],
            {"near": {"_target_": "architectures.rglru.RGLRU"}},
            r"pattern=\['far'\] must name layers out of parts: near",
        ),
        (
            [],
            {"near": {"_target_": "architectures.rglru.RGLRU"}},
            "must name layers out of parts: near",
        ),
        (["near"], {"near": {"layers": 1}}, "each part needs a _target_"),
        (["near"], {"near": {"_target_": "torch.nn.Linear"}}, "torch.nn.Linear is not a Backbone"),
    ],
)
def test_a_hybrid_that_can_not_be_made_says_why(
    pattern: list[str], parts: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelBuildError, match=words):
        ModelUnderTest(
            {"_target_": "architectures.hybrid.Hybrid", "pattern": pattern, "parts": parts}
        )
