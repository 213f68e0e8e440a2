"""Build an architecture with fixed inputs, ready to be timed."""

import copy
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from architectures.interface import State, Unsupported
from bench.config import Run
from bench.model import count_parameters
from bench.model.contract import check_decode, check_prefill
from bench.model.decoding import CompiledStep, check_machine, compiled_step
from bench.performance import timing
from bench.performance.timing import PhaseTimer, TimedWindow
from bench.training import (
    Batch,
    Objective,
    OptimizerLike,
    autocast,
    build_optimizer,
    compile_objective,
    precision_name,
    setup_on_random_tokens,
    torch_generator,
    train_step,
)

BATCH_COUNT = 4  # different batches that training cycles through
DECODE_TOKENS = 32  # tokens that a window of decoding times
DECODE_WARMUP_TOKENS = 4  # decoded before them, untimed: the first tokens find cold caches
NEXT_TOKEN_POSITIONS = 16  # whose median is the time of the next token
NEGLIGIBLE_LEARNING_RATE = 1e-6  # weights hardly move: every round times the same work


class Workload:
    """Measure one architecture at one context and training batch.

    The width is the one that the run's budget gives at the run's own context. A window raises
    Unsupported, with the reason, where the architecture does not support it.
    """

    def __init__(self, run: Run, vocabulary: int, context: int = 0, batch: int = 0) -> None:
        self.run, self.vocabulary = run, vocabulary
        self.context, self.batch_size = context or run.size.context, batch or run.train.batch
        self.setup = setup_on_random_tokens(run, vocabulary, self.context, self.batch_size)
        self.model, self.settings = self.setup.model, self.setup.settings
        self.device, self.seconds = self.settings.device, run.measure.window_seconds
        self.repeats: dict[str, int] = {}
        self.decode_checked: set[int] = set()  # batch sizes
        self.steps = 0

    # --- training -------------------------------------------------------------------------------

    @cached_property
    def objective(self) -> Objective:
        compile_objective(self.setup.objective, self.settings, self.run.data.cache)
        return self.setup.objective

    @cached_property
    def optimizer(self) -> OptimizerLike:
        return build_optimizer(self.objective, self.run.optimizer, NEGLIGIBLE_LEARNING_RATE)

    @cached_property
    def batches(self) -> list[list[Batch]]:
        accumulate = self.run.train.accumulate
        pieces = accumulate if self.batch_size % accumulate == 0 else 1
        return [self.batch(self.batch_size, seed).split(pieces) for seed in range(BATCH_COUNT)]

    @property
    def step_tokens(self) -> int:
        """Return the tokens of a training step."""
        return self.batch_size * self.context

    def batch(self, rows: int, seed: int) -> Batch:
        """Return a training batch of random tokens on the device."""
        shape = (rows, self.context + 1)
        block = torch.randint(self.vocabulary, shape, generator=torch_generator(seed))
        return self.objective.batch(block, torch_generator(seed, 1)).to(self.device)

    def step(self, on_phase: Callable[[str], None] = lambda phase: None) -> None:
        """Take a whole training step: forward, backward, clipping, optimizer."""
        batch = self.batches[self.steps % BATCH_COUNT]
        train_step(self.objective, batch, self.optimizer, self.settings, on_phase)
        self.steps += 1

    def first_step(self) -> TimedWindow:
        """Time the first training step of a process, with all that it compiles and allocates."""
        self.objective.train()
        untimed = [self.batches, self.optimizer]  # built at first use
        assert all(untimed)
        return timing.time_work(self.step, self.step_tokens, self.device)

    def train(self) -> TimedWindow:
        """Time training steps for about a window's seconds."""
        self.objective.train()
        steps = self.count_repeats("train", self.step, self.seconds)
        self.step()  # untimed: caches are cold after another process's turn, 3 to 5 % in one step
        return timing.time_work(self.step, self.step_tokens, self.device, steps)

    def phases(self) -> dict[str, float]:
        """Return the seconds of one training step's phases: forward, backward, optimizer."""
        self.objective.train()
        self.step()
        timer = PhaseTimer(self.device)
        self.step(timer)
        return timer.seconds

    def busy_share(self) -> float:
        """Return the share of a training step in which the GPU computes."""
        if self.device.type != "cuda":
            raise Unsupported("measured on CUDA devices only")
        from torch.profiler import ProfilerActivity, profile

        self.objective.train()
        self.step()
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            window = timing.time_work(self.step, self.step_tokens, self.device)
        microseconds = sum(
            event.self_device_time_total
            for event in profiler.key_averages()
            if event.device_type.name == "CUDA" and not event.is_user_annotation
        )
        return microseconds / 1e6 / window.wall

    # --- prefill and decoding -------------------------------------------------------------------

    def prompt(self, length: int, rows: int = 1) -> Tensor:
        """Return random tokens (B, T)."""
        generator = torch_generator(length)
        return torch.randint(self.vocabulary, (rows, length), generator=generator).to(self.device)

    def prefill(self, rows: int = 1) -> TimedWindow:
        """Time prompts of the context's length, each into a fresh state, to the first token."""
        self.model.eval()
        prompt = self.prompt(self.context, rows)
        with autocast(self.settings):
            if f"prefill {rows}" not in self.repeats:
                check_prefill(self.model, prompt, self.context)
            work = partial(timing.prefill, self.model, prompt, self.context)
            passes = self.count_repeats(f"prefill {rows}", work, self.seconds / 3)
            work()
            return timing.time_work(work, rows * self.context, self.device, passes)

    def decode(self, rows: int = 1) -> TimedWindow:
        """Time a fixed number of tokens around the middle of the context.

        Where time grows linearly with length, their rate is the mean rate over the whole context.
        """
        prompt, warmup, tokens = self.decode_window(rows)
        with autocast(self.settings):
            if rows not in self.decode_checked:
                check_decode(self.model.eval(), prompt, self.context)
                self.decode_checked.add(rows)
            return timing.time_decode(self.model.eval(), prompt, warmup, tokens)

    def decode_compiled(self) -> TimedWindow:
        """Time the same tokens at batch 1 through the compiled step."""
        step = self.compiled_step
        return timing.time_decode(self.model.eval(), *self.decode_window(1), step)

    @cached_property
    def compiled_step(self) -> CompiledStep:
        """Return the compiled step. Raise Unsupported, with the reason, where there is none."""
        check_machine(self.device, self.settings.precision)
        return compiled_step(self.model, self.run.arch, root=self.run.data.cache)

    def decode_window(self, rows: int) -> tuple[Tensor, int, int]:
        """Return a prompt (B, T), and how many tokens are decoded after it untimed, then timed."""
        tokens = min(DECODE_TOKENS, self.context // 2)
        before = max(1, (self.context - tokens) // 2)
        warmup = min(DECODE_WARMUP_TOKENS, before - 1)
        return self.prompt(before - warmup, rows), warmup, tokens

    @property
    def next_token_positions(self) -> int:
        return min(NEXT_TOKEN_POSITIONS, self.context // 2)

    @cached_property
    def filled_state(self) -> tuple[Tensor, State]:
        """Return a token and the state after all but the last `next_token_positions` tokens."""
        prompt = self.prompt(self.context - self.next_token_positions)
        token, state = timing.prefill(self.model, prompt, self.context)
        self._time_next_token(token, state, self.next_token_positions)  # warms up
        return token, state

    def next_token(self) -> TimedWindow:
        """Time one more token at batch 1 after about a context of tokens, from a saved state."""
        self.model.eval()
        with autocast(self.settings):
            token, state = self.filled_state
            self._time_next_token(token, state, 1)  # untimed, as in every window
            return self._time_next_token(token, state, self.next_token_positions)

    def _time_next_token(self, token: Tensor, state: State, count: int) -> TimedWindow:
        return timing.time_next_token(self.model, token, copy.deepcopy(state), count)

    def count_repeats(self, name: str, work: Callable[[], object], seconds: float) -> int:
        """Return the passes of each window of a kind, set by its first, after warming up."""
        if name not in self.repeats:
            warmup = 2 if self.device.type == "cpu" else 10
            self.repeats[name] = timing.count_repeats(work, seconds, self.device, warmup)
        return self.repeats[name]

    # --- sizes and costs ------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """Return sizes and costs by formula; a reason in place of a missing number."""
        try:
            state = self.model.init_state(1, self.context)
            state_bytes: int | str = self.model.backbone.state_bytes(state)
        except Unsupported as error:
            state_bytes = str(error)
        return {
            "width": self.model.backbone.width,
            "vocabulary": self.vocabulary,
            **count_parameters(self.model),
            "flops_per_token": self.model.flops(self.context),
            "unchecked_flops_per_token": self.model.backbone.unchecked_flops(self.context),
            "state_bytes": state_bytes,
            "objective": self.objective.kind,
            "device": self.device.type,
            "precision": precision_name(self.settings),
            "compile": self.settings.compile,
            "step_tokens": self.step_tokens,
            "kernels": self.model.backbone.ran_on(),
        }
