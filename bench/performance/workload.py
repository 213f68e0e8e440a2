"""An architecture on the bench: built once, warm, with fixed inputs at hand, ready to be timed."""

import copy
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from architectures.interface import State, Unsupported
from bench.config.schema import Run
from bench.model import count_parameters
from bench.performance import timing
from bench.performance.timing import PhaseTimer, TimedWindow
from bench.training import (
    RANDOM_BATCHES,
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

DECODE_TOKENS = 32  # tokens that are timed in a window of decoding
DECODE_WARMUP_TOKENS = 4  # tokens written before them, untimed: the first ones find cold caches
NEXT_TOKEN_POSITIONS = 16  # positions that the time of a further token is the median of
NEGLIGIBLE_LEARNING_RATE = 1e-6  # a learning rate at which weights hardly move: what is timed stays the same from round to round


class Workload:
    """One architecture at one context and batch, with everything that its measurements need.

    Its width is always the one that the run's own budget gives at the run's own context. A window raises Unsupported, with the
    reason, where the architecture has no such thing.
    """

    def __init__(self, run: Run, vocabulary: int, context: int = 0, batch: int = 0) -> None:
        self.run, self.vocabulary = run, vocabulary
        self.context, self.batch_size = context or run.size.context, batch or run.train.batch
        self.setup = setup_on_random_tokens(run, vocabulary, self.context, self.batch_size)
        self.model, self.plan = self.setup.model, self.setup.settings
        self.device, self.seconds = self.plan.device, run.measure.window_seconds
        self.width = self.model.backbone.width
        self.counts: dict[str, int] = {}
        self.turn = 0

    # --- training -----------------------------------------------------------------------------------------------------

    @cached_property
    def objective(self) -> Objective:
        compile_objective(self.setup.objective, self.plan, self.run.data.cache)
        return self.setup.objective

    @cached_property
    def optimizer(self) -> OptimizerLike:
        return build_optimizer(self.objective, self.run.optimizer, NEGLIGIBLE_LEARNING_RATE)

    @cached_property
    def batches(self) -> list[list[Batch]]:
        return [self.batch(number) for number in range(RANDOM_BATCHES)]

    @property
    def step_tokens(self) -> int:
        return self.batch_size * self.context

    def batch(self, number: int) -> list[Batch]:
        """Random tokens, asked about as in training, cut into micro-batches."""
        block = torch.from_numpy(self.setup.blocks.at(number))
        pieces = (
            self.run.train.accumulate if self.batch_size % self.run.train.accumulate == 0 else 1
        )
        return self.objective.batch(block, torch_generator(number, 1)).to(self.device).split(pieces)

    def step(self, lap: Callable[[str], None] = lambda part: None) -> None:
        """One whole training step: forward, backward, clipping, optimizer."""
        train_step(
            self.objective, self.batches[self.turn % RANDOM_BATCHES], self.optimizer, self.plan, lap
        )
        self.turn += 1

    def first_step(self) -> TimedWindow:
        """The first training step of a process, with whatever is compiled, planned and allocated in it."""
        self.objective.train()
        prepared = [self.batches, self.optimizer]  # made at the first use, and not to be timed
        assert all(prepared)
        return timing.time_work(self.step, self.step_tokens, self.device)

    def train(self) -> TimedWindow:
        """Training steps for about a window's seconds."""
        self.objective.train()
        steps = self.counted("train", self.step, self.seconds)
        self.step()  # untimed: after another process's turn the caches are cold, 3 to 5 % in the first step
        return timing.time_work(self.step, self.step_tokens, self.device, steps)

    def phases(self) -> dict[str, float]:
        """Seconds of the parts of one training step: forward, backward, optimizer."""
        self.objective.train()
        self.step()
        laps = PhaseTimer(self.device)
        self.step(laps)
        return laps.seconds

    def busy_share(self) -> float:
        """The share of a training step's time in which a CUDA device computes; where it is little, launching takes the time."""
        if self.device.type != "cuda":
            raise Unsupported(
                "asked of a CUDA device alone: a processor launches and computes in one"
            )
        from torch.profiler import ProfilerActivity, profile

        self.objective.train()
        self.step()
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            window = timing.time_work(self.step, self.step_tokens, self.device)
        events = (
            event
            for event in profiler.key_averages()
            if event.device_type.name == "CUDA" and not event.is_user_annotation
        )
        return sum(event.self_device_time_total for event in events) / 1e6 / window.wall

    # --- reading and writing ------------------------------------------------------------------------------------------

    def prompt(self, length: int, batch: int = 1) -> Tensor:
        """Rows of random tokens, (B, T)."""
        return torch.randint(
            self.vocabulary, (batch, length), generator=torch_generator(length)
        ).to(self.device)

    def prefill(self, batch: int = 1) -> TimedWindow:
        """Reading prompts of the context's length, each into a fresh state, and choosing the first token after it."""
        self.model.eval()
        prompt = self.prompt(self.context, batch)
        with autocast(self.plan):
            once = partial(timing.prefill, self.model, prompt, self.context)
            passes = self.counted(f"prefill {batch}", once, self.seconds / 3)
            once()
            return timing.time_work(once, batch * self.context, self.device, passes)

    def decode(self, batch: int = 1) -> TimedWindow:
        """Writing, the same number of tokens for everyone, around the middle of the context.

        Where time grows in a straight line with length, that is the mean rate of writing a whole context.
        """
        tokens = min(DECODE_TOKENS, self.context // 2)
        before = max(1, (self.context - tokens) // 2)
        lead = min(DECODE_WARMUP_TOKENS, before - 1)
        with autocast(self.plan):
            return timing.time_decode(
                self.model.eval(), self.prompt(before - lead, batch), lead, tokens
            )

    @cached_property
    def read(self) -> tuple[Tensor, State]:
        """A token, and the state after all of a context but the positions that `further` takes."""
        token, state = timing.prefill(
            self.model, self.prompt(self.context - self.next_token_positions), self.context
        )
        timing.time_next_token(
            self.model, token, copy.deepcopy(state), self.next_token_positions
        )  # warms up
        return token, state

    @property
    def next_token_positions(self) -> int:
        return min(NEXT_TOKEN_POSITIONS, self.context // 2)

    def further(self) -> TimedWindow:
        """One further token at batch 1 when about a context's tokens stand before it, from a saved state."""
        self.model.eval()
        with autocast(self.plan):
            token, state = self.read
            timing.time_next_token(
                self.model, token, copy.deepcopy(state), 1
            )  # untimed, as in every window
            return timing.time_next_token(
                self.model, token, copy.deepcopy(state), self.next_token_positions
            )

    def counted(self, name: str, work: Callable[[], object], seconds: float, warm: int = 2) -> int:
        """How often a piece of work is done in each window: settled at the first one, after warming up."""
        if name not in self.counts:
            self.counts[name] = timing.count_repeats(
                work, seconds, self.device, warm if self.device.type == "cpu" else 10
            )
        return self.counts[name]

    # --- what needs no clock ------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """Sizes, and the cost by formula; a reason in place of a number that there is none of."""
        try:
            state: int | str = self.model.backbone.state_bytes(
                self.model.init_state(1, self.context)
            )
        except Unsupported as error:
            state = str(error)
        return {
            "width": self.width,
            **count_parameters(self.model),
            "flops_per_token": self.model.flops(self.context),
            "unchecked_flops_per_token": self.model.backbone.unchecked_flops(self.context),
            "state_bytes": state,
            "objective": self.objective.kind,
            "device": self.device.type,
            "precision": precision_name(self.plan),
            "compile": self.plan.compile,
            "step_tokens": self.step_tokens,
            "kernels": self.model.backbone.ran_on(),
        }
