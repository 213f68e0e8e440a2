"""Time training steps, prefill and decoding in short windows, by wall clock and processor time."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from architectures.interface import State
from bench.model import LanguageModel
from bench.model.decoding import CompiledStep, Step


@dataclass(frozen=True)
class TimedWindow:
    """Hold the amount processed in one window (tokens, mostly), its seconds, and its passes.

    wall: seconds by the wall clock · cpu: processor seconds of this process over all its threads (a
    neighbour that takes the core does not lengthen them; on CUDA, the time spent launching).
    """

    tokens: float
    wall: float
    cpu: float
    passes: int = 1


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_work(
    work: Callable[[], object], tokens: float, device: torch.device, passes: int = 1
) -> TimedWindow:
    """Time `passes` calls of `work`, of `tokens` each, from an idle device to an idle device."""
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(passes):
        work()
    synchronise(device)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return TimedWindow(tokens * passes, wall, cpu, passes)


def count_repeats(
    work: Callable[[], object], seconds: float, device: torch.device, warmup: int
) -> int:
    """Return how often `work` fits into `seconds`, at least once, by the fastest warm-up call.

    Work that takes far longer than a window is called only once: it is warm by then.
    """
    fastest = float("inf")
    for _ in range(warmup + 1):
        last = time_work(work, 0, device).wall
        fastest = min(fastest, last)
        if last > 5 * seconds:
            break
    return max(1, round(seconds / max(1e-9, fastest)))


class PhaseTimer:
    """Add up the seconds of consecutive phases, each from an idle device to an idle device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        synchronise(device)
        self.last = time.perf_counter()

    def __call__(self, phase: str) -> None:
        synchronise(self.device)
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.last
        self.last = now


# --- prefill and decoding -----------------------------------------------------------------------


@torch.no_grad()
def prefill(model: LanguageModel, prompt: Tensor, length: int) -> tuple[Tensor, State]:
    """Read a prompt (B, T) into a fresh state for `length` tokens.

    Return the most likely next token of each row (B, 1), and the state.
    """
    state = model.init_state(prompt.shape[0], length)
    logits, state = model.next_logits(prompt, state)
    return logits.argmax(-1, keepdim=True), state


@torch.inference_mode()
def decode(step: Step, token: Tensor, state: State, count: int) -> tuple[Tensor, State]:
    """Decode `count` tokens greedily from a state, one by one; return the last token and state."""
    for _ in range(count):
        logits, state = step(token, state)  # (B, 1, V)
        token = logits[:, -1].argmax(-1, keepdim=True)
    return token, state


def time_decode(
    model: LanguageModel,
    prompt: Tensor,
    warmup: int,
    count: int,
    compiled: CompiledStep | None = None,
) -> TimedWindow:
    """Time decoding `count` tokens after a prompt (B, T), through the model or its compiled step.

    Neither the prefill nor the first `warmup` tokens are timed.
    """
    room = compiled.room if compiled else prompt.shape[1] + warmup + count
    step: Step = compiled or model
    token, state = prefill(model, prompt, room)
    token, state = decode(step, token, state, warmup)
    tokens = prompt.shape[0] * count
    return time_work(lambda: decode(step, token, state, count), tokens, prompt.device)


def time_next_token(model: LanguageModel, token: Tensor, state: State, count: int) -> TimedWindow:
    """Time one token (B, 1) from a state: the median over the next `count` positions."""

    def step() -> None:
        nonlocal token, state
        token, state = decode(model, token, state, 1)

    windows = [time_work(step, token.shape[0], token.device) for _ in range(count)]
    wall = statistics.median(window.wall for window in windows)
    cpu = statistics.median(window.cpu for window in windows)
    return TimedWindow(1, wall, cpu)
