"""Train through torch.compile: requested by `train.compile`, off by default."""

import time

import torch
from torch.utils._triton import has_triton

from bench.config.errors import UserError
from bench.data import Blocks
from bench.model.compiler import keep_compiled_code, missing_compiler
from bench.training.loop import step_batch
from bench.training.objective import Objective
from bench.training.settings import TrainSettings, autocast


def check_compile(settings: TrainSettings) -> None:
    """Raise UserError where this machine cannot compile what was requested."""
    if settings.compile == "none":
        return
    instead = "install it, or use train.compile=none"
    if settings.device.type == "cuda" and not has_triton():
        raise UserError(
            f"train.compile={settings.compile} needs the package triton for CUDA: {instead}",
            "missing-package",
        )
    if settings.device.type == "cpu" and (missing := missing_compiler()):
        raise UserError(
            f"train.compile={settings.compile} needs {missing}: {instead}", "no-compiler"
        )
    if settings.compile == "reduce-overhead" and settings.accumulate > 1:
        raise UserError(
            "train.compile=reduce-overhead records one graph per step, in which the gradients of "
            "micro-batches would overwrite each other: use train.accumulate=1, "
            "or train.compile=default",
            "conflicting-values",
        )


def compile_objective(objective: Objective, settings: TrainSettings, cache: str = "") -> None:
    """Compile calls of the objective in place; parameters and their names stay as they are.

    The compiled code is kept in the token cache (empty: $BENCH_CACHE, or the user's), for the next
    run of the same shapes.
    """
    if settings.compile == "none":
        return
    keep_compiled_code(cache)
    torch._dynamo.config.recompile_limit = 64  # more shapes are measured than the default of 8
    mode = None if settings.compile == "default" else settings.compile
    objective.compile(dynamic=False, mode=mode)


def warm_up(objective: Objective, settings: TrainSettings, blocks: Blocks) -> float:
    """Run a forward and a backward without effect, so that everything is compiled; time them.

    Return seconds. Raise UserError, with the compiler's reason, where the model does not compile.
    """
    began = time.perf_counter()
    buffers = [buffer.clone() for buffer in objective.buffers()]
    batch = step_batch(objective, blocks, settings, 0)[0][0]
    objective.train()
    try:
        with autocast(settings):
            total = objective(batch)
        (total.nats if total.auxiliary is None else total.nats + total.auxiliary).backward()
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"train.compile={settings.compile}: this model does not compile: {reason}; "
            "use train.compile=none",
            "not-supported",
        ) from None
    for buffer, before in zip(objective.buffers(), buffers, strict=True):
        buffer.copy_(before)
    objective.zero_grad(set_to_none=True)
    if settings.device.type == "cuda":
        torch.cuda.synchronize(settings.device)
    return time.perf_counter() - began
