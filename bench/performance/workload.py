"""An architecture on the bench: built once, warm, with fixed inputs at hand, ready to be timed."""

import copy
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from architectures.interface import State, Unsupported
from bench.config.schema import Run
from bench.model.language_model import build
from bench.model.sizing import count, fitting_width
from bench.performance import timing
from bench.performance.timing import Laps, Window
from bench.training import compilation
from bench.training import objective as objectives
from bench.training.loop import autocast, plan, precision_name, seeded, settle, update
from bench.training.optimizer import Optimizer
from bench.training.optimizer import build as build_optimizer

BATCHES = 4  # different batches that training goes round on
WRITTEN = 32  # tokens that are timed in a window of decoding
LEAD = 4  # tokens written before them, untimed: the first ones find cold caches
FURTHER = 16  # positions that the time of a further token is the median of
STILL = 1e-6  # a learning rate at which weights hardly move: what is timed stays the same from round to round


class Subject:
    """One architecture at one context and batch, with everything that its measurements need.

    Its width is always the one that the run's own budget gives at the run's own context. A window raises Unsupported, with the
    reason, where the architecture has no such thing.
    """

    def __init__(self, run: Run, vocabulary: int, context: int = 0, batch: int = 0) -> None:
        self.run, self.vocabulary = run, vocabulary
        self.context, self.batch_size = context or run.size.context, batch or run.train.batch
        self.plan = plan(run)
        settle(self.plan)
        self.device, self.seconds = self.plan.device, run.measure.window_seconds
        self.width = fitting_width(run.arch, run.size, vocabulary)
        self.model = build(
            run.arch, self.width, self.context, vocabulary, seed=0, device=self.device
        )
        self.counts: dict[str, int] = {}
        self.turn = 0

    # --- training -----------------------------------------------------------------------------------------------------

    @cached_property
    def objective(self) -> objectives.Objective:
        asked = objectives.build(self.run.objective, self.model)
        compilation.prepare(asked, self.plan, self.run.data.cache)
        return asked

    @cached_property
    def optimizer(self) -> Optimizer:
        return build_optimizer(self.objective, self.run.optimizer, STILL)

    @cached_property
    def batches(self) -> list[list[objectives.Batch]]:
        return [self.batch(number) for number in range(BATCHES)]

    @property
    def step_tokens(self) -> int:
        return self.batch_size * self.context

    def batch(self, number: int) -> list[objectives.Batch]:
        """Random tokens, asked about as in training, cut into micro-batches."""
        block = torch.randint(
            self.vocabulary, (self.batch_size, self.context + 1), generator=seeded(number)
        )
        pieces = (
            self.run.train.accumulate if self.batch_size % self.run.train.accumulate == 0 else 1
        )
        return self.objective.batch(block, seeded(number, 1)).to(self.device).split(pieces)

    def step(self, lap: Callable[[str], None] = lambda part: None) -> None:
        """One whole training step: forward, backward, clipping, optimizer."""
        update(self.objective, self.batches[self.turn % BATCHES], self.optimizer, self.plan, lap)
        self.turn += 1

    def first_step(self) -> Window:
        """The first training step of a process, with whatever is compiled, planned and allocated in it."""
        self.objective.train()
        prepared = [self.batches, self.optimizer]  # made at the first use, and not to be timed
        assert all(prepared)
        return timing.clocked(self.step, self.step_tokens, self.device)

    def train(self) -> Window:
        """Training steps for about a window's seconds."""
        self.objective.train()
        steps = self.counted("train", self.step, self.seconds)
        self.step()  # untimed: after another process's turn the caches are cold, 3 to 5 % in the first step
        return timing.clocked(self.step, self.step_tokens, self.device, steps)

    def phases(self) -> dict[str, float]:
        """Seconds of the parts of one training step: forward, backward, optimizer."""
        self.objective.train()
        self.step()
        laps = Laps(self.device)
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
            window = timing.clocked(self.step, self.step_tokens, self.device)
        events = (
            event
            for event in profiler.key_averages()
            if event.device_type.name == "CUDA" and not event.is_user_annotation
        )
        return sum(event.self_device_time_total for event in events) / 1e6 / window.wall

    # --- reading and writing ------------------------------------------------------------------------------------------

    def prompt(self, length: int, batch: int = 1) -> Tensor:
        """Rows of random tokens, (B, T)."""
        return torch.randint(self.vocabulary, (batch, length), generator=seeded(length)).to(
            self.device
        )

    def prefill(self, batch: int = 1) -> Window:
        """Reading prompts of the context's length, each into a fresh state, and choosing the first token after it."""
        self.model.eval()
        prompt = self.prompt(self.context, batch)
        with autocast(self.plan):
            once = partial(timing.prefill, self.model, prompt, self.context)
            passes = self.counted(f"prefill {batch}", once, self.seconds / 3)
            once()
            return timing.clocked(once, batch * self.context, self.device, passes)

    def decode(self, batch: int = 1) -> Window:
        """Writing, the same number of tokens for everyone, around the middle of the context.

        Where time grows in a straight line with length, that is the mean rate of writing a whole context.
        """
        tokens = min(WRITTEN, self.context // 2)
        before = max(1, (self.context - tokens) // 2)
        lead = min(LEAD, before - 1)
        with autocast(self.plan):
            return timing.writing(
                self.model.eval(), self.prompt(before - lead, batch), lead, tokens
            )

    @cached_property
    def read(self) -> tuple[Tensor, State]:
        """A token, and the state after all of a context but the positions that `further` takes."""
        token, state = timing.prefill(
            self.model, self.prompt(self.context - self.further_places), self.context
        )
        timing.further_token(
            self.model, token, copy.deepcopy(state), self.further_places
        )  # warms up
        return token, state

    @property
    def further_places(self) -> int:
        return min(FURTHER, self.context // 2)

    def further(self) -> Window:
        """One further token at batch 1 when about a context's tokens stand before it, from a saved state."""
        self.model.eval()
        with autocast(self.plan):
            token, state = self.read
            timing.further_token(
                self.model, token, copy.deepcopy(state), 1
            )  # untimed, as in every window
            return timing.further_token(
                self.model, token, copy.deepcopy(state), self.further_places
            )

    def counted(self, name: str, work: Callable[[], object], seconds: float, warm: int = 2) -> int:
        """How often a piece of work is done in each window: settled at the first one, after warming up."""
        if name not in self.counts:
            self.counts[name] = timing.repeats(
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
            **count(self.model),
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
