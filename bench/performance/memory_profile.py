"""What is weighed of an architecture: its training step, its state, and the largest batch that fits. In a pass without clocks."""

import gc
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from architectures.interface import State, Unsupported
from bench.model import PLUGIN_ERRORS, LanguageModel, describe_error
from bench.performance import memory
from bench.performance.memory import OptimizerLike
from bench.performance.process_memory import peak_growth_bytes
from bench.performance.workload import Workload
from bench.system.host import total_memory_bytes
from bench.training import autocast, torch_generator, train_step

TrainStep = Callable[[], object]
MemoryMetrics = dict[
    str, float | str
]  # by the name of the metric: a number, or the reason why there is none
MAX_BATCH = 65_536  # sequences: no larger batch is tried
SEARCH_SECONDS = 45.0  # for the largest batch
MEMORY_SHARE = 0.75  # of the machine's memory: more is not asked of it


def profile_workload(subject: Workload, before: int | str) -> MemoryMetrics:
    """Everything that is weighed of a subject. `before`: of `process_before`, called before the subject was made."""
    subject.objective.train()
    step, inputs = training_step(subject, subject.batches[0])
    tokens, device, limit = subject.step_tokens, subject.device, subject.run.measure.memory_limit
    found = profile_memory(
        step, subject.objective, subject.optimizer, inputs, tokens, device, before
    )
    if limit:

        def step_of(rows: int) -> tuple[TrainStep, list[Tensor]]:
            block = torch.randint(
                subject.vocabulary, (rows, subject.context + 1), generator=torch_generator(rows)
            )
            return training_step(
                subject, [subject.objective.batch(block, torch_generator(rows, 1)).to(device)]
            )

        number, note = find_largest_batch(
            step_of, subject.objective, subject.optimizer, limit, device
        )
        found["largest_batch"] = (
            note or number
        )  # where it was not found, the note says up to where it was looked for
    with autocast(subject.plan):
        return found | state_growth(subject.model, subject.context)


def training_step(subject: Workload, batch: list[Any]) -> tuple[TrainStep, list[Tensor]]:
    """One whole training step on a batch in micro-batches, and the batch's tensors."""
    inputs = [field for piece in batch for field in piece if field is not None]
    return partial(train_step, subject.objective, batch, subject.optimizer, subject.plan), inputs


def profile_memory(
    step: TrainStep,
    objective: nn.Module,
    adam: OptimizerLike,
    inputs: list[Tensor],
    tokens: int,
    device: torch.device,
    before: int | str,
) -> MemoryMetrics:
    """The memory of one training step on `inputs`, which hold so many tokens, in bytes.

    On the CPU the peak is that of live tensor storages, and its kinds add up to it. On CUDA it is what the allocator had
    given out at most: there `temporary` is all that is no parameter, gradient, optimizer state or activation, with what
    the allocator rounds up and the workspaces that libraries keep. Activations a token are what the forward leaves for the
    backward, whether or not the step is at its highest then.
    """
    step()
    step()  # the first makes the optimizer's state; the process is at its highest in the second
    found: MemoryMetrics = {"memory_process_rise_bytes": peak_growth_bytes(before)}
    if device.type == "cuda":
        total, found["memory_reserved_bytes"] = memory.cuda_peak_bytes(step)
        weight = memory.profile_step(step, objective, adam, inputs, device.type)
        temporary = weight.peak.temporary + total - weight.peak.total
    else:
        weight = memory.profile_step(step, objective, adam, inputs)
        total, temporary = weight.peak.total, weight.peak.temporary
        found["memory_allocator_peak_bytes"] = memory.allocator_peak_bytes(
            step, objective, adam, inputs
        )
    kinds = {f"memory_{kind}_bytes": getattr(weight.peak, kind) for kind in memory.MEMORY_KINDS}
    return {
        "peak_train_memory_bytes": total,
        **found,
        **kinds,
        "memory_temporary_bytes": temporary,
    } | {
        "activation_bytes_per_token": weight.kept / tokens,
        "traffic_bytes_per_token": weight.traffic / tokens,
        "operators_per_step": weight.operators,
    }


# --- the state of decoding --------------------------------------------------------------------------------------------


def state_growth(model: LanguageModel, context: int) -> MemoryMetrics:
    """Bytes of the state for one sequence of a context's length, and by how many it grows a token of context.

    The growth is from the context to twice as much, or from half of it where the architecture makes no longer state.
    """
    found = measure_state_bytes(model, context)
    if isinstance(found, str):
        return {"state_bytes": found, "state_bytes_per_token": found}
    try:
        growth = (declared_state_bytes(model, 2 * context) - found) / context
    except PLUGIN_ERRORS:  # for a length that it was not made for
        half = context // 2
        growth = (found - declared_state_bytes(model, half)) / (context - half)
    return {"state_bytes": found, "state_bytes_per_token": growth}


def declared_state_bytes(model: LanguageModel, length: int) -> int:
    """The bytes that an architecture says its state for a length has."""
    return model.backbone.state_bytes(model.init_state(1, length))


@torch.no_grad()
def measure_state_bytes(model: LanguageModel, length: int) -> int | str:
    """Bytes of the state for one sequence of a length, as the architecture says and as its tensors have after reading one.

    Numbers count, not the storages that they may be views of. A reason where there is no state, or where the two differ.
    """
    training = model.training
    try:
        state = model.eval().init_state(1, length)
        says = model.backbone.state_bytes(state)
        prompt = (
            torch.arange(length, device=model.embedding.weight.device)[None] % model.vocabulary
        )  # (1, T)
        _, state = model.hidden(prompt, state)
        live = sum(tensor.numel() * tensor.element_size() for tensor in find_tensors(state))
    except Unsupported as reason:
        return str(reason)
    except PLUGIN_ERRORS as error:
        return f"no state for {length} tokens: {describe_error(error)}"
    finally:
        model.train(training)
    return says if live == says else f"its state has {live} bytes and not the {says} that it says"


def find_tensors(state: State) -> list[Tensor]:
    """Every tensor that a state leads to, once: in lists, tuples and dictionaries, and in the attributes of opaque caches."""
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    left = [state]
    while left:
        value = left.pop()
        if id(value) in seen or isinstance(value, nn.Module | ModuleType | type):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            found[id(value)] = value
        elif isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list | tuple | set):
            left.extend(value)
        else:
            left.extend(getattr(value, "__dict__", {}).values())
    return list(found.values())


# --- the largest batch that fits --------------------------------------------------------------------------------------


def find_largest_batch(
    step_of: Callable[[int], tuple[TrainStep, list[Tensor]]],
    objective: nn.Module,
    adam: OptimizerLike,
    limit: int,
    device: torch.device,
    seconds: float = SEARCH_SECONDS,
) -> tuple[int, str]:
    """The most sequences whose training step stays within `limit` bytes, and a note: empty where the next batch was seen not to.

    `step_of` makes a training step for so many sequences, and the tensors that it reads. Every size that counts is a real
    step: twice as many each time, but no further than where the last two that fitted say in a straight line that the limit
    is, then the middle of what is left. So no step takes much more than the limit.
    """
    ends = time.monotonic() + seconds
    room = (
        limit
        if device.type == "cuda"
        else min(limit, int(MEMORY_SHARE * (total_memory_bytes() or limit)))
    )
    step_peak_bytes(step_of, 1, objective, adam, device)  # makes the optimizer's state
    fitted, high, peak, took = [(0, 0)], MAX_BATCH + 1, None, 0.0
    while high - (low := fitted[-1][0]) > 1:
        guess = (
            (low + high) // 2
            if high <= MAX_BATCH
            else min(MAX_BATCH, max(1, 2 * low), max(low + 1, extrapolate_batch(fitted, room)))
        )
        began = time.monotonic()
        if began + took * guess / max(1, low) > ends:
            return low, f"at least {low}: the {seconds:g} seconds for the search were over"
        found = step_peak_bytes(step_of, guess, objective, adam, device)
        took = time.monotonic() - began
        if found is not None and found <= room:
            fitted.append((guess, found))
        else:
            high, peak = guess, found
    if high > MAX_BATCH:
        return low, f"at least {low}: no larger batch was tried"
    if peak is None or peak <= limit:
        return low, f"at least {low}: {high} sequences are more than this machine has memory for"
    return low, "" if low else f"not even one sequence: it takes {peak:,} bytes"


def extrapolate_batch(fitted: list[tuple[int, int]], room: int) -> int:
    """How many sequences would fit, by the straight line through the last two (sequences, bytes) that did."""
    if len(fitted) < 3:  # the first stands for no sequences at all
        return MAX_BATCH
    (fewer, less), (rows, most) = fitted[-2:]
    return rows + (room - most) * (rows - fewer) // (most - less) if most > less else MAX_BATCH


def step_peak_bytes(
    step_of: Callable[[int], tuple[TrainStep, list[Tensor]]],
    rows: int,
    objective: nn.Module,
    adam: OptimizerLike,
    device: torch.device,
) -> int | None:
    """The peak in bytes of one real training step on so many sequences; None where the machine has no room for it."""
    try:
        step, inputs = step_of(rows)
        if device.type != "cuda":
            return memory.profile_step(step, objective, adam, inputs).peak.total
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    except (MemoryError, RuntimeError) as error:
        if not memory.out_of_memory(error):
            raise
    adam.zero_grad(set_to_none=True)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None
