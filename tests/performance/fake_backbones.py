"""Backbones for the tests of measuring: one that works, and others that each fail in one way."""

import os
import signal
import sys
import time

import torch
from torch import Tensor, nn

from architectures.interface import Backbone, State, Unsupported


class Sum(Backbone):
    """Mix the running sum of the inputs through one matrix; the state is one vector."""

    causal = True

    def __init__(self, width: int, context: int) -> None:
        super().__init__(width, context)
        print("words on standard output")  # must not disturb the answers of the worker
        self.mix = nn.Linear(width, width)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        before = torch.zeros_like(x[:, :1]) if state is None else state[:, None]  # (B, 1, D)
        sums = before + x.cumsum(1)  # (B, T, D)
        return torch.tanh(self.mix(sums)), None if state is None else sums[:, -1]

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        if length > self.context:
            raise Unsupported(f"holds no more than {self.context} tokens")
        return torch.zeros(batch, self.width, dtype=like.dtype, device=like.device)

    def flops(self, length: int, full_mask: bool = False) -> float:
        return 2.0 * self.width**2


class Short(Sum):
    """Fail to build for a context beyond 16, and on single tokens."""

    def __init__(self, width: int, context: int) -> None:
        if context > 16:
            raise ValueError("no further than 16 tokens")
        super().__init__(width, context)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        if x.shape[1] == 1:
            raise RuntimeError("no single\ntokens")
        return super().forward(x, state, lengths)


class Encoder(Sum):
    """See all positions, and so keep no state."""

    causal = False

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        return torch.tanh(self.mix(x.sum(1, keepdim=True) + x)), None

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        raise Unsupported("an encoder keeps no state")


class Greedy(Sum):
    """Kill the process, as the system does without memory, in training on more than 16 tokens."""

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        if self.training and torch.is_grad_enabled() and self.context > 16:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x, state, lengths)


class Trouble(Sum):
    """Work for one training step of two micro-batches; fail from the second on."""

    steps = 0

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        if self.training and torch.is_grad_enabled():
            self.steps += 1
            if self.steps > 2:
                self.trouble()
        return super().forward(x, state, lengths)

    def trouble(self) -> None:
        """Fail."""


class Hangs(Trouble):
    """Hang."""

    def trouble(self) -> None:
        time.sleep(600)


class Dies(Trouble):
    """End the process."""

    def trouble(self) -> None:
        print("the last words", file=sys.stderr, flush=True)
        os._exit(7)


class Branches(Sum):
    """Take a branch by a value of the state, which no export can follow."""

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        if state is not None and state.sum() > 1e9:
            state = torch.zeros_like(state)
        return super().forward(x, state, lengths)
