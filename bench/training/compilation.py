"""Training through torch.compile: asked for by `train.compile`, off by default; what compiling takes is told apart."""

import os
import shutil
import sys
import time

import numpy as np
import torch
from torch.utils._triton import has_triton

from bench.config.errors import UserError
from bench.data.cache import cache_root
from bench.training.loop import TrainSettings, autocast, torch_generator
from bench.training.objective import Objective

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
USER_CACHE = os.environ.get(
    CACHE_VARIABLE
)  # the user's, if any: read at once, as torch sets it to a temporary folder when it first needs one


def check_compile(plan: TrainSettings) -> None:
    """Raise UserError where what was asked for can not be compiled on this machine."""
    if plan.compile == "none":
        return
    off = "install it, or use train.compile=none"
    if plan.device.type == "cuda" and not has_triton():
        raise UserError(f"train.compile={plan.compile} needs the package triton for CUDA: {off}")
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if plan.device.type == "cpu" and shutil.which(compiler) is None:
        raise UserError(
            f"train.compile={plan.compile} needs the C++ compiler {compiler} (or another one, named by CXX): {off}"
        )
    if plan.compile == "reduce-overhead" and plan.accumulate > 1:
        said = "records one graph a step, and the gradients of its micro-batches would overwrite each other"
        raise UserError(
            f"train.compile=reduce-overhead {said}: use train.accumulate=1, or train.compile=default"
        )


def compile_objective(objective: Objective, plan: TrainSettings, cache: str = "") -> None:
    """From now on calls of the objective are compiled, in place: its parameters and their names stay as they are.

    What was compiled lies in the cache of tokens (empty: $BENCH_CACHE, or the user's), for the next run of the same shapes.
    """
    if plan.compile == "none":
        return
    check_compile(plan)
    os.environ[CACHE_VARIABLE] = USER_CACHE or str(cache_root(cache) / "compiled")
    torch._dynamo.config.recompile_limit = (
        64  # a measurement asks for more shapes than the 8 after which torch gives up unheard
    )
    objective.compile(dynamic=False, mode=None if plan.compile == "default" else plan.compile)


def warm_up(objective: Objective, plan: TrainSettings, block: np.ndarray) -> float:
    """Seconds of a forward and a backward of which nothing stays: with them all is compiled and chosen before training begins.

    Raises UserError, with the compiler's reason, where it can not be.
    """
    began = time.perf_counter()
    buffers = [buffer.clone() for buffer in objective.buffers()]
    whole = objective.batch(torch.from_numpy(block), torch_generator(plan.seed))
    batch = plan.group.share(whole).to(plan.device).split(plan.accumulate)[0]
    objective.train()
    try:
        with autocast(plan):
            total = objective(batch)
        (total.nats if total.auxiliary is None else total.nats + total.auxiliary).backward()
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"train.compile={plan.compile}: this model does not compile: {reason}; use train.compile=none"
        ) from None
    for buffer, kept in zip(objective.buffers(), buffers, strict=True):
        buffer.copy_(kept)
    objective.zero_grad(set_to_none=True)
    if plan.device.type == "cuda":
        torch.cuda.synchronize(plan.device)
    return time.perf_counter() - began
