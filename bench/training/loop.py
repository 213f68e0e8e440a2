"""Run the one training loop, the same for every architecture."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from bench.training.distributed import no_sync
from bench.training.objective import Batch, Trainable
from bench.training.optimizer import OptimizerLike
from bench.training.settings import TrainSettings, autocast, seed_devices, torch_generator


class Batches(Protocol):
    """What is trained on, as a pure function of the step."""

    def at(self, step: int) -> Any:
        """Return the block of one step, counted from 0."""

    def tokens_seen(self, steps: int) -> int:
        """Return the tokens of the first `steps` steps."""

    def digest(self, steps: int) -> str:
        """Return sixteen hexadecimal digits of the order that the first `steps` steps use."""


class Diverged(Exception):
    """The loss is not finite."""

    def __init__(self, step: int, what: str = "the loss") -> None:
        super().__init__(
            f"diverged at step {step}: {what} is not finite; try a smaller train.learning_rate"
        )
        self.step = step


class TrainState(NamedTuple):
    """How far training is."""

    step: int = 0  # steps done
    seconds: float = 0.0  # that they took
    unlogged: tuple[float, float] = (0.0, 0.0)  # nats and targets since the last logged step
    curve: str = ""  # lines of curve.jsonl


class LoggedStep(NamedTuple):
    """A row of the curve: nats are the mean per token since the last logged step."""

    step: int  # steps done
    tokens: int  # training tokens seen
    nats: float  # not a number where there was no target
    learning_rate: float
    validation_nats: float | None = None
    targets: float | None = None  # tokens with a loss since the last logged step


class StepEvent(NamedTuple):
    """What is due after a step; a step after which nothing is due has no event."""

    step: int  # steps done
    unlogged: Tensor  # (2,) float64: nats and targets of this process since the last logged step
    log: LoggedStep | None
    validation_due: bool
    checkpoint_due: bool


def train(
    objective: Trainable,
    optimizer: OptimizerLike,
    blocks: Batches,
    settings: TrainSettings,
    start: TrainState = TrainState(),  # noqa: B008 (immutable)
    checkpoint_due: Callable[[int], bool] = lambda step: False,
) -> Iterator[StepEvent]:
    """Train from a state to the last step; yield when logging, validation or a checkpoint is due.

    Logging is due every `log_every` steps and after the last one, validation at some of these.
    `checkpoint_due` is asked after every step, in all processes. Raise Diverged where the loss is
    not finite: recorded on the device, read at logged steps, so that no step waits for the device.
    """
    module = settings.group.wrap(objective)
    sums = _resumed_sums(start, settings)
    first_bad = torch.full((), -1, device=settings.device)  # the first step that is not finite
    objective.train()  # not at every step: walking over the modules takes 0.2 ms
    for step in range(start.step, settings.steps):
        total = _scheduled_step(objective, module, optimizer, blocks, settings, step)
        sums, done, log = sums + total, step + 1, None
        first_bad = _first_bad_step(first_bad, total[0], done)
        if settings.logging_due(done):
            log = _logged_step(done, blocks, sums, first_bad, settings)
            sums = torch.zeros_like(sums)
        save = checkpoint_due(done)
        if log or save:
            validate = log is not None and settings.validation_due(done)
            yield StepEvent(done, sums, log, validate, save)
            objective.train()  # the caller may have switched to evaluation


def _resumed_sums(start: TrainState, settings: TrainSettings) -> Tensor:
    """Return nats and targets since the last logged step, (2,) float64, on the device."""
    sums = torch.tensor(start.unlogged, dtype=torch.float64, device=settings.device)
    sums[0] *= settings.group.is_main  # a resumed sum is the one of all processes
    return sums


def _scheduled_step(
    objective: Trainable,
    module: nn.Module,
    optimizer: OptimizerLike,
    blocks: Batches,
    settings: TrainSettings,
    step: int,
) -> Tensor:
    """Do a step on its batch, at its rate; return (nats, targets), on the device."""
    batch, count = step_batch(objective, blocks, settings, step)
    set_rate(optimizer, settings.rate(step))
    return torch.stack(train_step(module, batch, optimizer, settings, count=count))


def _first_bad_step(first_bad: Tensor, nats: Tensor, done: int) -> Tensor:
    """Return the first step with nats that are not finite, or -1, as a tensor on the device."""
    return torch.where((first_bad < 0) & ~torch.isfinite(nats), done, first_bad)


def set_rate(optimizer: OptimizerLike, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def step_batch(
    objective: Trainable, blocks: Batches, settings: TrainSettings, step: int
) -> tuple[list[Batch], Tensor | None]:
    """Return the micro-batches of this process, and the targets of all processes (None: of one).

    Data, masks and the seed of dropout are functions of (seed, step); each rank has its own seed.
    """
    group = settings.group
    generator = torch_generator(settings.seed, step)
    global_batch = objective.batch_of(blocks.at(step), generator)
    count = None if group.size == 1 else global_batch.weight.sum().to(settings.device)
    key = (settings.seed, step, 1, *filter(None, [group.rank]))
    seed_devices(settings.device, torch_generator(*key).initial_seed())
    return group.shard(global_batch).to(settings.device).split(settings.accumulate), count


def train_step(
    module: nn.Module,
    batch: Sequence[Batch],
    optimizer: OptimizerLike,
    settings: TrainSettings,
    on_phase: Callable[[str], None] = lambda phase: None,
    count: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Do one optimizer step over micro-batches; return summed nats and count, on the device.

    `on_phase` is called at the end of each phase: forward, backward, optimizer. `count`: the
    targets of the step in all processes, where there are several.
    """
    if count is None:
        count = torch.stack([piece.weight.sum() for piece in batch]).sum()
    divisor = count.clamp(min=1)  # a step in which no target was masked has no gradient
    nats = torch.zeros((), device=settings.device)
    for number, piece in enumerate(batch, 1):
        with no_sync(module, last=number == len(batch)):
            with autocast(settings):
                total = module(piece)
            loss = total.nats / divisor
            if total.auxiliary is not None:
                loss = loss + total.auxiliary * (total.count / divisor)
            on_phase("forward")
            loss.backward()
        on_phase("backward")
        nats += total.nats.detach()
    _apply_gradients(module, optimizer, settings.clip)
    on_phase("optimizer")
    return nats, count


def _apply_gradients(module: nn.Module, optimizer: OptimizerLike, clip: float) -> None:
    if clip > 0:
        torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _logged_step(
    done: int, blocks: Batches, sums: Tensor, first_bad: Tensor, settings: TrainSettings
) -> LoggedStep:
    """Return the row of the curve; raise Diverged where a step was not finite. A collective."""
    group = settings.group
    if (bad := group.all_reduce_max(int(first_bad))) >= 0:
        raise Diverged(bad)
    nats, targets = group.all_reduce_sum(sums).tolist()
    rate = settings.rate(done - 1)
    mean = nats / targets if targets else math.nan
    return LoggedStep(done, blocks.tokens_seen(done), mean, rate, targets=targets)
