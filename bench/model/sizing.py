"""Solve the width that a size budget allows, and count parameters."""

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from architectures.interface import Backbone, Unsupported
from bench.config.schema import Run, SizeConfig, constructor_options
from bench.config.validation import CHOICES
from bench.model.language_model import LanguageModel, build_model
from bench.model.plugin import (
    PLUGIN_ERRORS,
    ModelBuildError,
    backbone_class,
    build_error,
    one_line,
    refuse_changes,
)
from bench.system import host

COUNT_KEYS = {
    name: "parameters" if name == "all" else f"parameters_{name}" for name in CHOICES["size.count"]
}
MAX_WIDTH = 1 << 20
BYTES_PER_PARAMETER = 16  # in training: weight, gradient, two moments


def width_for_size(arch: Mapping[str, Any], size: SizeConfig, vocabulary: int) -> int:
    """Return the largest width within the size budget.

    Raise ModelBuildError where none fits, Unsupported where a state is matched and none is kept.
    """
    if size.match == "parameters":
        return solve_width(arch, size.parameters, size.context, vocabulary, size.count)
    width = solve_width(arch, size.state_bytes, size.context, vocabulary, "state")
    model = build_on_meta(arch, width, size.context, vocabulary)
    parameters = count_parameters(model)["parameters"]
    if BYTES_PER_PARAMETER * parameters > host.total_memory_bytes():
        name = type(model.backbone).__name__
        raise ModelBuildError(
            f"size.state_bytes={size.state_bytes:,} gives {name} a width of {width:,}, "
            f"{parameters:,} parameters: more than this machine can train; lower it",
            "no-width",
        )
    return width


def solve_width(
    arch: Mapping[str, Any], budget: int, context: int, vocabulary: int, counted: str = "all"
) -> int:
    """Return the largest accepted width with at most `budget` parameters, or bytes of state.

    `counted` is a choice of size.count, or "state". Widths are even from 128 on, multiples of 4
    from 256, of 8 from 512: shapes that processors like, in steps of at most 3 % of the
    parameters. Raise ModelBuildError where none fits.
    """
    backbone, options = backbone_class(arch), constructor_options(arch)
    size = cache(partial(_size_at_width, backbone, options, context, vocabulary, counted))
    # beyond it the embedding alone, or one byte of each channel, exceeds the budget
    ceiling = min(MAX_WIDTH, budget // (vocabulary + 1 if counted == "all" else 1))
    with refuse_changes(backbone.__name__):
        best = _largest_within(size, budget, ceiling)
    if best:
        return best
    raise ModelBuildError(_no_width_reason(backbone, budget, size, counted), "no-width")


def _largest_within(size: Callable[[int], int | str], budget: int, ceiling: int) -> int:
    """Return the largest accepted width up to `ceiling` whose size is at most `budget`, or 0."""
    best, low, high, guess, tries = 0, 1, ceiling, math.isqrt(ceiling), 0
    while low <= high:  # sizes grow with the width: each probe narrows the range
        tries += 1
        middle = (low + high) // 2 if tries % 3 == 0 else min(max(guess, low), high)
        widths = (w for w in range(middle, low - 1, -1) if is_offered_width(w))
        probe = next((w for w in widths if isinstance(size(w), int)), None)
        if probe is not None:
            guess = int(probe * math.sqrt(budget / int(size(probe))))  # size is nearly quadratic
            if int(size(probe)) > budget:
                high = probe - 1
                continue
            best = probe
        low = middle + 1
    return best


def build_sized_model(
    run: Run,
    vocabulary: int,
    device: str | torch.device = "cpu",
    context: int = 0,
    seed: int | None = None,
) -> LanguageModel:
    """Return the model of a run at the width of its size budget, with its initial weights.

    `context` and `seed` replace those of the run; the width is always the one of its own context.
    """
    width = width_for_size(run.arch, run.size, vocabulary)
    seed = run.seed if seed is None else seed
    return build_model(run.arch, width, context or run.size.context, vocabulary, seed, device)


def build_on_meta(
    arch: Mapping[str, Any], width: int, context: int, vocabulary: int
) -> LanguageModel:
    """Return a model without memory, to be counted. Raise what its constructor raises."""
    with torch.device("meta"):
        backbone = backbone_class(arch)(width, context, **constructor_options(arch))
        return LanguageModel(backbone, vocabulary)


def is_offered_width(width: int) -> bool:
    """Return whether the harness offers this width to an architecture."""
    return width % (8 if width >= 512 else 4 if width >= 256 else 2 if width >= 128 else 1) == 0


def _size_at_width(
    backbone: type[Backbone],
    options: Mapping[str, Any],
    context: int,
    vocabulary: int,
    counted: str,
    width: int,
) -> int | str:
    """Return the parameters, or bytes of state, at a width, or why the width is not accepted."""
    try:
        with torch.device("meta"):
            model = LanguageModel(backbone(width, context, **options), vocabulary)
        if counted == "state":
            return state_bytes(model, context)
        return count_parameters(model)[COUNT_KEYS[counted]]
    except Unsupported:
        raise
    except ValueError as error:
        return one_line(error)
    except PLUGIN_ERRORS as error:
        raise build_error(backbone, width, error) from None


def state_bytes(model: LanguageModel, context: int) -> int:
    """Return the bytes of one sequence's state at the full context. Raise Unsupported for none."""
    with torch.device(model.head_weight.device):
        size = model.backbone.state_bytes(model.init_state(1, context))
    if not size:
        name = type(model.backbone).__name__
        raise Unsupported(f"{name} keeps no state: size.match=state has nothing to match")
    return size


def _no_width_reason(
    backbone: type[Backbone], budget: int, size: Callable[[int], int | str], counted: str
) -> str:
    """Return why no width fits: the smallest accepted size, or the reason why none is accepted."""
    reason: int | str = ""
    for width in filter(is_offered_width, range(1, 1025)):
        reason = size(width)
        if isinstance(reason, int):
            key = "size.state_bytes" if counted == "state" else "size.parameters"
            smallest = f"its smallest width, {width}, has {reason:,}"
            return f"{key}={budget:,} is too small for {backbone.__name__}: {smallest}"
    return f"{backbone.__name__} accepts no width up to 1024: {reason}"


def count_parameters(model: LanguageModel) -> dict[str, int]:
    """Count parameters: all, active, without embeddings, and in matrix products.

    Active are those that one token passes through. In products are the backbone's matrices and
    kernels, and the head, which is the embedding used a second time.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    backbone = list(model.backbone.parameters())
    total = sum(p.numel() for p in model.parameters())
    idle = sum(p.numel() for p in backbone) - model.backbone.active_parameters()
    in_tables = sum(p.numel() for p in model.parameters() if id(p) in tables)
    products = sum(p.numel() for p in backbone if p.dim() >= 2 and id(p) not in tables)
    return {
        "parameters": total,
        "parameters_active": total - idle,
        "parameters_without_embedding": total - in_tables,
        "parameters_in_products": products + model.vocabulary * model.backbone.width,
    }
