"""An architecture on the bench: built once, warm, with fixed inputs at hand, ready to be timed and weighed."""

import copy
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from architectures.interface import State, Unsupported
from bench import objective as objectives
from bench.config import Run
from bench.measure import memory, speed
from bench.measure.speed import Window
from bench.model import LanguageModel, build, count, solve_width
from bench.train import autocast, optimizer, plan, seeded, update

BATCHES = 4  # different batches that training goes round on
WRITTEN = 32  # tokens that are timed in a window of decoding
LEAD = 4  # tokens written before them, untimed: the first ones find cold caches
FURTHER = 16  # positions that the time of a further token is the median of
STILL = 1e-6  # a learning rate at which weights hardly move: what is timed stays the same from round to round


class Subject:
    """One architecture with everything that its measurements need.

    `windows` holds what can be timed, by name. A window raises Unsupported, with the reason, where there is no such thing.
    """

    def __init__(self, run: Run, vocabulary: int) -> None:
        self.run, self.vocabulary = run, vocabulary
        self.plan = replace(plan(run), learning_rate=STILL)
        self.context, self.device = run.size.context, self.plan.device
        self.width = solve_width(run.arch, run.size.parameters, self.context, vocabulary)
        self.model = self.built(self.context)
        self.objective = objectives.build(run.objective, self.model)
        self.adam = optimizer(self.objective, self.plan)
        self.step_tokens = run.train.batch * self.context
        self.batches = [self.batch(number) for number in range(BATCHES)]
        self.turn = 0
        self.counts: dict[str, int] = {}
        self.saved: dict[int, tuple[LanguageModel, Tensor, State]] = {}
        self.seconds = run.measure.window_seconds
        self.windows: dict[str, Callable[[], Window]] = {"train": self.train, "prefill": self.prefill, "decode": self.decode}
        for length in run.measure.lengths:
            self.windows[f"further@{length}"] = partial(self.further, length)

    def built(self, context: int) -> LanguageModel:
        """The architecture at this subject's width, made for a context."""
        return build(self.run.arch, self.width, context, self.vocabulary, seed=0, device=self.device)

    def batch(self, number: int) -> list[objectives.Batch]:
        """Random tokens, asked about as in training, cut into micro-batches."""
        shape = (self.run.train.batch, self.context + 1)
        block = torch.randint(self.vocabulary, shape, generator=seeded(number))
        return self.objective.batch(block, seeded(number, 1)).to(self.device).split(self.run.train.accumulate)

    def prompt(self, length: int) -> Tensor:
        """One row of random tokens, (1, T)."""
        return torch.randint(self.vocabulary, (1, length), generator=seeded(length)).to(self.device)

    def step(self) -> None:
        """One whole training step: forward, backward, clipping, optimizer."""
        update(self.objective, self.batches[self.turn % BATCHES], self.adam, self.plan)
        self.turn += 1

    def counted(self, name: str, work: Callable[[], object], seconds: float, warm: int = 2) -> int:
        """How often a piece of work is done in each window: settled at the first one, after warming up."""
        if name not in self.counts:
            self.counts[name] = speed.repeats(work, seconds, self.device, warm if self.device.type == "cpu" else 10)
        return self.counts[name]

    # --- what is timed ------------------------------------------------------------------------------------------------

    def train(self) -> Window:
        """Training steps for about a window's seconds."""
        self.objective.train()
        steps = self.counted("train", self.step, self.seconds)
        self.step()  # untimed: after another process's turn the caches are cold, 3 to 5 % in the first step
        return speed.clocked(speed.repeated(self.step, steps), steps * self.step_tokens, self.device)

    def prefill(self) -> Window:
        """Reading prompts of a context's length, each into a fresh state, at batch 1, for about a third of a window."""
        self.model.eval()
        prompt = self.prompt(self.context)
        with autocast(self.plan):
            once = partial(speed.prefill, self.model, prompt, self.context)
            passes = self.counted("prefill", once, self.seconds / 3)
            once()
            return speed.clocked(speed.repeated(once, passes), passes * self.context, self.device)

    def decode(self) -> Window:
        """Writing at batch 1, the same number of tokens for everyone, around the middle of the context.

        Where time grows in a straight line with length, that is the mean rate of writing a whole context.
        """
        tokens = min(WRITTEN, self.context // 2)
        before = max(1, (self.context - tokens) // 2)
        lead = min(LEAD, before - 1)
        with autocast(self.plan):
            return speed.writing(self.model.eval(), self.prompt(before - lead), lead, tokens)

    def further(self, length: int) -> Window:
        """One further token at batch 1 when about `length` tokens stand before it, from a saved state."""
        places = min(FURTHER, length // 2)
        with autocast(self.plan):
            if length not in self.saved:
                # beyond the context the architecture is made afresh for a context that long, at the same width
                model = self.model if length <= self.context else self.built(length)
                token, state = speed.prefill(model.eval(), self.prompt(length - places), length)
                self.saved[length] = (model, token, state)
                speed.further_token(model, token, copy.deepcopy(state), places)
            model, token, state = self.saved[length]
            return speed.further_token(model.eval(), token, copy.deepcopy(state), places)

    # --- what is weighed ----------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What needs no clock: sizes, and the cost by formula; a reason in place of a number that there is none of."""
        try:
            state: int | str = self.model.backbone.state_bytes(self.model.init_state(1, self.context))
        except Unsupported as error:
            state = str(error)
        return {
            "width": self.width,
            **count(self.model),
            "flops_per_token": self.model.flops(self.context),
            "state_bytes": state,
            "objective": self.objective.kind,
            "device": self.device.type,
            "precision": str(self.plan.precision).removeprefix("torch."),
            "step_tokens": self.step_tokens,
        }

    def weigh(self) -> dict[str, int]:
        """Peak bytes of one training step: split by purpose on the CPU, allocated and reserved on CUDA."""
        self.saved.clear()
        self.objective.train()
        batch = self.batches[0]

        def step() -> None:
            update(self.objective, batch, self.adam, self.plan)

        if self.device.type == "cuda":
            allocated, reserved = memory.cuda_peak(step)
            return {"total": allocated, "reserved": reserved}
        inputs = [field for piece in batch for field in piece if field is not None]
        peak = asdict(memory.cpu_peak(step, self.objective, self.adam, inputs))
        return peak | {"allocator_peak": memory.allocator_peak(step, self.objective, self.adam, inputs)}
