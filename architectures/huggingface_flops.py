"""Count forward FLOPs per token of a transformers model: maps by weights, mixing by formula."""

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D


def map_flops(model: Any, length: int) -> float:
    """Count 2 per weight of a map, and of a kernel over time, which also runs over its padding."""
    total = 0.0
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D):
            total += 2 * module.weight.numel()
        elif isinstance(module, nn.Conv1d):
            padded = length + module.kernel_size[0] - 1
            total += 2 * module.weight.numel() * padded / length
    return total


def attention_flops(config: Any, width: int, layers: int, length: int, square: bool) -> float:
    """Count 4·H·K for each key that a token is compared with: T, or the causal mean (T + 1)/2.

    A window is computed in full.
    """
    heads = getattr(config, "num_attention_heads", 0)
    inner = heads * (getattr(config, "head_dim", None) or width / max(1, heads))
    return layers * 4 * inner * (length if square else (length + 1) / 2)


def mamba2_flops(config: Any, length: int, square: bool) -> float:
    """Count per layer, with H heads of P, N states, and n chunks of C (the last one padded).

    2·H·(N + P)·C or its causal half within a chunk, 4·H·N·P for the states, and
    2·H·N·P·(n + 1)² per text from chunk to chunk.
    """
    heads, head, states = config.num_heads, config.head_dim, config.state_size
    size = config.chunk_size
    count = -(-length // size)
    compared = size if square else (size + 1) / 2
    within = 2 * heads * (states + head) * compared + 4 * heads * states * head
    between = 2 * heads * states * head * (count + 1) ** 2
    return config.num_hidden_layers * (within * count * size + between) / length


def xlstm_flops(config: Any, length: int, square: bool) -> float:
    """Count per layer, with keys of E and values of F in all, H heads: 4·E·F/H + 2·E per token.

    In full chunks of C another 2·(E + F)·C or its causal half; what is left over goes token by
    token.
    """
    keys = int(config.hidden_size * config.qk_dim_factor)
    values = int(config.hidden_size * config.v_dim_factor)
    size = config.chunk_size
    chunked = length // size * size / length
    pairs = 2 * (keys + values) * (size if square else (size + 1) / 2)
    states = 4 * keys * values / config.num_heads + 2 * keys
    return config.num_hidden_layers * (states + pairs * chunked)


RECURRENCES: dict[str, Callable[[Any, int, bool], float]] = {
    "mamba2": mamba2_flops,
    "xlstm": xlstm_flops,
}


def forward_flops(model: Any, length: int, layers: int, causal: bool, full_mask: bool) -> float:
    """Sum the FLOPs of a model's maps, its attention layers and its recurrence."""
    config = model.config
    mixing = RECURRENCES.get(config.model_type, lambda *_: 0.0)(config, length, full_mask)
    square = full_mask or not causal
    attention = attention_flops(config, config.hidden_size, layers, length, square)
    return map_flops(model, length) + attention + mixing
