"""The bytes that single operators move."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from bench.performance.tensor_tracker import TensorTracker

TABLE, ROW, CHOICE = torch.ones(1000, 8), torch.ones(8), torch.tensor([7, 2])
MOVES: dict[str, tuple[Callable[[], object], int]] = {
    "a view": (lambda: TABLE.t().reshape(8, 10, 100)[2:4], 0),
    "an empty tensor": (lambda: torch.empty(5), 0),
    "a number for Python": (lambda: ROW[0].item(), 0),
    "a new tensor": (lambda: torch.zeros(5), 20),
    "as another": (lambda: torch.ones_like(ROW), 32),
    "a sum of two": (lambda: ROW + TABLE, 32 + 2 * 32_000),
    "the same twice": (lambda: ROW * ROW, 32 + 32),
    "in place": (lambda: ROW.mul_(1.0), 32 + 32),
    "filled": (lambda: ROW.fill_(1.0), 32),
    "copied": (lambda: TABLE[3].copy_(ROW), 32 + 32),
    "given out to": (lambda: torch.neg(TABLE[:8, 0], out=ROW), 32 + 32),
    "repeated": (lambda: ROW.expand(1000, 8).clone(), 32 + 32_000),
    "repeated out of a table": (lambda: TABLE[3].expand(1000, 8).clone(), 32 + 32_000),
    "a product with no rows": (lambda: torch.empty(0, 8) @ TABLE[:8], 256),
    "looked up": (lambda: nn.functional.embedding(CHOICE, TABLE), 64 + 16 + 64),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_an_operator_moves(name: str) -> None:
    work, expected = MOVES[name]
    tracker = TensorTracker()
    with tracker:
        work()
    assert tracker.traffic_bytes == expected
    assert tracker.operators == (expected > 0)
