"""Forward FLOPs a token of a family of transformers: maps and kernels by their weights, attention and recurrences by formula."""

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D


def map_flops(model: Any, length: int) -> float:
    """2 for each weight of a map; for each of a kernel over time too, which runs on over what it was padded with."""
    total = 0.0
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D):
            total += 2 * module.weight.numel()
        elif isinstance(module, nn.Conv1d):
            padded = length + module.kernel_size[0] - 1
            total += 2 * module.weight.numel() * padded / length
    return total


def attention_flops(config: Any, width: int, layers: int, length: int, square: bool) -> float:
    """4·H·K for each key that a token is compared with: T of them, or the causal mean (T + 1)/2. A window is computed whole."""
    heads = getattr(config, "num_attention_heads", 0)
    inner = heads * (getattr(config, "head_dim", None) or width / max(1, heads))
    return layers * 4 * inner * (length if square else (length + 1) / 2)


def mamba2_flops(config: Any, length: int, square: bool) -> float:
    """Each layer, with H heads of P, N states, and n chunks of C (the last one filled up): 2·H·(N + P)·C or its causal half
    within a chunk, 4·H·N·P for the states, and 2·H·N·P·(n + 1)² a text from chunk to chunk."""
    heads, head, states, size = (
        config.num_heads,
        config.head_dim,
        config.state_size,
        config.chunk_size,
    )
    count = -(-length // size)
    within = (
        2 * heads * (states + head) * (size if square else (size + 1) / 2)
        + 4 * heads * states * head
    )
    return (
        config.num_hidden_layers
        * (within * count * size + 2 * heads * states * head * (count + 1) ** 2)
        / length
    )


def xlstm_flops(config: Any, length: int, square: bool) -> float:
    """Each layer, with keys of E and values of F together, H heads: 4·E·F/H + 2·E a token for the matrices and their sums, and
    in whole chunks of C 2·(E + F)·C or its causal half. What is left over goes token by token."""
    keys, values = (
        int(config.hidden_size * config.qk_dim_factor),
        int(config.hidden_size * config.v_dim_factor),
    )
    size = config.chunk_size
    chunked = length // size * size / length
    pairs = 2 * (keys + values) * (size if square else (size + 1) / 2)
    return config.num_hidden_layers * (
        4 * keys * values / config.num_heads + 2 * keys + pairs * chunked
    )


RECURRENCES: dict[str, Callable[[Any, int, bool], float]] = {
    "mamba2": mamba2_flops,
    "xlstm": xlstm_flops,
}


def forward_flops(model: Any, length: int, layers: int, causal: bool, full_mask: bool) -> float:
    """The sum of what a model's maps, its layers of attention and its recurrence cost."""
    config = model.config
    mixing = RECURRENCES.get(config.model_type, lambda *_: 0.0)(config, length, full_mask)
    square = full_mask or not causal
    return (
        map_flops(model, length)
        + attention_flops(config, config.hidden_size, layers, length, square)
        + mixing
    )
