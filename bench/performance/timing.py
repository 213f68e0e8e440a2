"""How fast a model trains, reads a prompt and writes: one short window at a time, on two clocks."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from architectures.interface import State
from bench.model import LanguageModel


@dataclass(frozen=True)
class TimedWindow:
    """What one window of timing saw: an amount (of tokens, mostly), the seconds it took, and how often the work was done.

    wall: by the clock on the wall · cpu: processor time of this process, all threads together (a neighbour that takes the
    core does not lengthen it; on CUDA it is the time spent launching).
    """

    tokens: float
    wall: float
    cpu: float
    passes: int = 1


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_work(
    work: Callable[[], object], tokens: float, device: torch.device, passes: int = 1
) -> TimedWindow:
    """Time work on both clocks, from an idle device to an idle device: `passes` times over, of `tokens` each."""
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(passes):
        work()
    synchronise(device)
    return TimedWindow(
        tokens * passes, time.perf_counter() - wall, time.process_time() - cpu, passes
    )


def count_repeats(
    work: Callable[[], object], seconds: float, device: torch.device, warm: int
) -> int:
    """How often the work fits into a window of so many seconds (at least once): by the fastest of some calls that warm it up.

    Work that takes far longer than a window is called once only: it has warmed up by then.
    """
    fastest = float("inf")
    for _ in range(warm + 1):
        last = time_work(work, 0, device).wall
        fastest = min(fastest, last)
        if last > 5 * seconds:
            break
    return max(1, round(seconds / max(1e-9, fastest)))


class PhaseTimer:
    """Seconds of the parts of something, one after another, from an idle device to an idle device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        synchronise(device)
        self.last = time.perf_counter()

    def __call__(self, part: str) -> None:
        synchronise(self.device)
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self.last
        self.last = now


# --- writing and reading with a model ---------------------------------------------------------------------------------


@torch.no_grad()
def prefill(model: LanguageModel, prompt: Tensor, room: int) -> tuple[Tensor, State]:
    """Read a prompt (B, T) into a fresh state with room for so many tokens; the next token of each row, (B, 1), and the state."""
    state = model.init_state(prompt.shape[0], room)
    hidden, state = model.hidden(prompt, state)  # (B, T, D)
    return model.head(hidden[:, -1]).argmax(-1, keepdim=True), state


@torch.inference_mode()
def decode(model: LanguageModel, token: Tensor, state: State, count: int) -> tuple[Tensor, State]:
    """Go on from a state by `count` tokens, the likeliest each time, one by one."""
    for _ in range(count):
        logits, state = model(token, state)  # (B, 1, V)
        token = logits[:, -1].argmax(-1, keepdim=True)
    return token, state


def time_decode(model: LanguageModel, prompt: Tensor, lead: int, count: int) -> TimedWindow:
    """Write `count` tokens after each row of a prompt (B, T). Reading it, and writing `lead` tokens first, is not timed."""
    token, state = prefill(model, prompt, prompt.shape[1] + lead + count)
    token, state = decode(model, token, state, lead)
    return time_work(
        lambda: decode(model, token, state, count), prompt.shape[0] * count, prompt.device
    )


def time_next_token(model: LanguageModel, token: Tensor, state: State, count: int) -> TimedWindow:
    """The time of one further token (B, 1) from a state: the median over the next `count` positions, each timed alone."""
    windows = []

    def one() -> None:
        nonlocal token, state
        token, state = decode(model, token, state, 1)

    for _ in range(count):
        windows.append(time_work(one, token.shape[0], token.device))
    wall, cpu = (
        statistics.median(getattr(window, clock) for window in windows) for clock in ("wall", "cpu")
    )
    return TimedWindow(1, wall, cpu)
