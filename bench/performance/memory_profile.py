"""Profile an architecture's memory by metric: its training step, its state, its largest batch."""

from functools import partial

from bench.performance import memory
from bench.performance.batch_search import find_largest_batch
from bench.performance.memory import TrainingStep
from bench.performance.process_memory import peak_growth_bytes
from bench.performance.state_memory import state_growth
from bench.performance.workload import Workload
from bench.training import Batch, autocast, train_step

MemoryMetrics = dict[str, float | str]  # metric -> number, or the reason why there is none


def profile_workload(workload: Workload, peak_before: int | str) -> MemoryMetrics:
    """Return all memory metrics; `peak_before`: `reset_peak_bytes` from before it was built."""
    workload.objective.train()
    step = training_step(workload, workload.batches[0])
    metrics = profile_memory(step, workload.step_tokens, peak_before)
    if limit := workload.run.measure.memory_limit:

        def step_of(rows: int) -> TrainingStep:
            return training_step(workload, [workload.batch(rows, seed=rows)])

        batch, note = find_largest_batch(step_of, limit, step.device)
        metrics["largest_batch"] = note or batch  # the note says how far the search came
    with autocast(workload.settings):
        return metrics | state_growth(workload.model, workload.context)


def training_step(workload: Workload, batch: list[Batch]) -> TrainingStep:
    """Return a whole training step on a batch of micro-batches."""
    objective, optimizer = workload.objective, workload.optimizer
    inputs = [tensor for piece in batch for tensor in piece if tensor is not None]
    run = partial(train_step, objective, batch, optimizer, workload.settings)
    return TrainingStep(run, objective, optimizer, inputs, workload.device.type)


def profile_memory(step: TrainingStep, tokens: int, peak_before: int | str) -> MemoryMetrics:
    """Return the memory metrics of one training step on `tokens` tokens.

    On the CPU the peak is that of live tensors and its kinds add up to it. On CUDA it is the most
    that the allocator gave out, and `temporary` includes what that rounds up and the workspaces of
    libraries.
    """
    step.run()
    step.run()  # the first creates the optimizer's state; the process peaks in the second
    metrics: MemoryMetrics = {"memory_process_rise_bytes": peak_growth_bytes(peak_before)}
    if step.device == "cuda":
        peak, metrics["memory_reserved_bytes"] = memory.cuda_peak_bytes(step)
        profile = memory.profile_step(step)
    else:
        profile = memory.profile_step(step)
        peak = profile.peak
        metrics["memory_allocator_peak_bytes"] = memory.allocator_peak_bytes(step)
    temporary = profile.by_kind["temporary"] + peak - profile.peak
    by_kind = profile.by_kind | {"temporary": temporary}
    return {
        "peak_train_memory_bytes": peak,
        **metrics,
        **{f"memory_{kind}_bytes": size for kind, size in by_kind.items()},
        "activation_bytes_per_token": profile.kept / tokens,
        "traffic_bytes_per_token": profile.traffic / tokens,
        "operators_per_step": profile.operators,
    }
