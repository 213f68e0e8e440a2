"""The one training loop, the same for every architecture: a generator that yields what happened and writes nothing."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bench.config.errors import UserError
from bench.config.schema import Run, resolve_learning_rate
from bench.training.distributed import SINGLE_PROCESS, ProcessGroup, no_sync
from bench.training.objective import Batch, Objective
from bench.training.optimizer import OptimizerLike


class BlockSource(Protocol):
    """Where training tokens come from: (batch, context + 1) tokens for every step, a pure function of the step."""

    def at(self, step: int) -> np.ndarray: ...


class Diverged(Exception):
    """The loss is no longer a number."""

    def __init__(self, step: int, what: str = "the loss") -> None:
        super().__init__(
            f"diverged at step {step}: {what} is not finite; try a smaller train.learning_rate"
        )
        self.step = step


class LoggedStep(NamedTuple):
    """One logged step: nats are the mean a token since the step logged before."""

    step: int  # steps done
    tokens: int  # training tokens seen
    nats: float
    learning_rate: float
    validation_nats: float | None = None
    targets: float | None = None  # that had a loss, since the step logged before


@dataclass(frozen=True)
class TrainSettings:
    """The recipe of one run, with nothing left to choose."""

    steps: int
    batch: int
    accumulate: int
    learning_rate: float
    final_rate: float
    warmup: int
    schedule: str
    clip: float
    device: torch.device
    precision: torch.dtype
    tf32: bool
    compile: str
    seed: int
    log_every: int
    validations: int
    group: ProcessGroup = SINGLE_PROCESS  # the processes that train together

    def rate(self, step: int) -> float:
        """The learning rate of a step (counted from 0): up over the warm-up, then down to its final share at the last step."""
        warmup = min(self.warmup, self.steps // 2)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step + 1 - warmup) / max(1, self.steps - warmup)
        left = {
            "linear": 1 - done,
            "cosine": 0.5 * (1 + math.cos(math.pi * done)),
            "constant": 1.0,
        }[self.schedule]
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * left)

    def validation_due(self, step: int) -> bool:
        """Whether a look at the validation part is due after this many steps. It falls on logged steps only."""
        looks = {
            max(1, round(self.steps * (i + 1) / self.validations)) for i in range(self.validations)
        }
        return any(step - self.log_every < look <= step for look in looks) or (
            step == self.steps and bool(looks)
        )


def train_settings(run: Run) -> TrainSettings:
    """The plan of a run on this machine."""
    train = run.train
    if train.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "train.device=cuda: this machine, or this build of torch, has no CUDA device: use train.device=auto"
        )
    device = torch.device(
        "cuda"
        if train.device == "cuda" or (train.device == "auto" and torch.cuda.is_available())
        else "cpu"
    )
    if train.precision == "tf32" and device.type != "cuda":
        raise UserError("train.precision=tf32: only CUDA devices have it: use train.precision=auto")
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    fast = train.precision == "bfloat16" or (train.precision == "auto" and able)
    return TrainSettings(
        steps=train.steps,
        batch=train.batch,
        accumulate=train.accumulate,
        learning_rate=resolve_learning_rate(run),
        final_rate=train.final_rate,
        warmup=train.warmup,
        schedule=train.schedule,
        clip=train.clip,
        device=device,
        precision=torch.bfloat16 if fast else torch.float32,
        tf32=train.precision == "tf32",
        compile=train.compile,
        seed=run.seed,
        log_every=train.log_every,
        validations=train.validations,
    )


def set_matmul_precision(plan: TrainSettings) -> None:
    """What of a plan is a state of the process: how exact float32 products are on CUDA, those of convolutions and cells too."""
    torch.backends.cudnn.allow_tf32 = plan.tf32  # cuDNN's own switch, on by default
    torch.set_float32_matmul_precision("high" if plan.tf32 else "highest")


def precision_name(plan: TrainSettings) -> str:
    """How records call the precision."""
    return "tf32" if plan.tf32 else str(plan.precision).removeprefix("torch.")


def autocast(plan: TrainSettings) -> AbstractContextManager:
    """The precision of a forward pass."""
    if plan.precision == torch.float32:
        return nullcontext()
    return torch.autocast(plan.device.type, dtype=plan.precision)


def torch_generator(*key: int) -> torch.Generator:
    """A generator that is a pure function of its key: nothing random has to be saved to go on from a step."""
    words = np.random.SeedSequence(key).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def seed_devices(device: torch.device, seed: int) -> None:
    """What torch.manual_seed does, for the devices at hand: that one asks for every kind there is, and takes 0.3 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def train_step(
    objective: nn.Module,
    batch: list[Batch],
    optimizer: OptimizerLike,
    plan: TrainSettings,
    lap: Callable[[str], None] = lambda part: None,
    count: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One optimizer step over the micro-batches of a batch; returns the sum of nats and the count, still on the device.

    `lap` is called at the end of each part of the step: forward, backward, optimizer. `count`: of all targets of the step,
    where other processes have more of them.
    """
    if count is None:
        count = torch.stack([piece.weight.sum() for piece in batch]).sum()
    nats = torch.zeros((), device=plan.device)
    for number, piece in enumerate(batch, 1):
        with no_sync(objective, last=number == len(batch)):
            with autocast(plan):
                total = objective(piece)
            loss = total.nats / count
            if total.auxiliary is not None:
                loss = loss + total.auxiliary * (total.count / count)
            lap("forward")
            loss.backward()
        lap("backward")
        nats += total.nats.detach()
    if plan.clip > 0:
        torch.nn.utils.clip_grad_norm_(objective.parameters(), plan.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    lap("optimizer")
    return nats, count


def train(
    objective: Objective,
    optimizer: OptimizerLike,
    blocks: BlockSource,
    plan: TrainSettings,
    first: int = 0,
    validate: Callable[[], float] | None = None,
    after: Callable[[int, Tensor], None] = lambda step, unlogged: None,
    unlogged: tuple[float, float] = (0.0, 0.0),
) -> Iterator[LoggedStep]:
    """Train from step `first` to the plan's end, yielding every `log_every` steps and at the end.

    `after` is called after every step, once what is logged of it was taken up, with the number of steps done and the sums of
    nats and targets since the last logged step; `unlogged` gives these back to a training that goes on from there.

    Raises Diverged where the loss stops being a number: noticed on the device, read when a step is logged, so that no step
    waits for the device.
    """
    team, door = plan.group, plan.group.door(objective)
    sums = torch.tensor(
        unlogged, dtype=torch.float64, device=plan.device
    )  # nats and count since the last logged step
    sums[0] *= team.first  # the others' are in it
    broken = torch.full((), -1, device=plan.device)  # the first step with a loss that is no number
    objective.train()  # not at every step: to tell every module takes 0.2 ms
    for step in range(first, plan.steps):
        block = torch.from_numpy(blocks.at(step))
        whole = objective.batch(
            block, torch_generator(plan.seed, step)
        )  # all know the global batch, and with it the count of all
        count = None if team.size == 1 else whole.weight.sum().to(plan.device)
        batch = team.share(whole).to(plan.device).split(plan.accumulate)
        # dropout, too, is a function of the step; each rank has its own
        seed_devices(
            plan.device,
            torch_generator(plan.seed, step, 1, *filter(None, [team.rank])).initial_seed(),
        )
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        total = torch.stack(train_step(door, batch, optimizer, plan, count=count))
        broken = torch.where((broken < 0) & ~torch.isfinite(total[0]), step + 1, broken)
        sums, done = sums + total, step + 1
        if done % plan.log_every == 0 or done == plan.steps:
            if (bad := team.most(int(broken))) >= 0:
                raise Diverged(bad)
            seen = validate() if validate is not None and plan.validation_due(done) else None
            nats, targets = map(float, team.whole(sums))
            yield LoggedStep(
                done, done * block[:, 1:].numel(), nats / targets, plan.rate(step), seen, targets
            )
            objective.train()  # whoever looked at it meanwhile may have set it otherwise
            sums.zero_()
        after(done, sums)
