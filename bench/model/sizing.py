"""The width that a budget gives an architecture, and what is counted of a model."""

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from architectures.interface import Backbone, Unsupported
from bench.config.schema import Run, SizeConfig, constructor_options
from bench.config.validation import CHOICES
from bench.model.language_model import (
    PLUGIN_ERRORS,
    LanguageModel,
    ModelBuildError,
    backbone_class,
    build_error,
    build_model,
    one_line,
)
from bench.system import host

COUNT_KEYS = {
    name: "parameters" if name == "all" else f"parameters_{name}" for name in CHOICES["size.count"]
}
MAX_WIDTH = 1 << 20


def width_for_size(arch: Mapping[str, Any], size: SizeConfig, vocabulary: int) -> int:
    """The largest width within the budget, whatever that counts. Raises CannotBuild, or Unsupported where no state is kept."""
    if size.match == "parameters":
        return solve_width(arch, size.parameters, size.context, vocabulary, size.count)
    width = solve_width(arch, size.state_bytes, size.context, vocabulary, "state")
    parameters = count_parameters(build_on_meta(arch, width, size.context, vocabulary))[
        "parameters"
    ]
    if 16 * parameters > host.total_memory_bytes():  # weights, gradients, two moments
        said = f"size.state_bytes={size.state_bytes:,} gives {backbone_class(arch).__name__} a width of {width:,}"
        raise ModelBuildError(
            f"{said}, {parameters:,} parameters: more than this machine can train; lower it"
        )
    return width


def solve_width(
    arch: Mapping[str, Any], budget: int, context: int, vocabulary: int, counted: str = "all"
) -> int:
    """The largest width that the architecture accepts with at most `budget` parameters, or bytes of state, as `counted` says.

    Offered are even widths from 128 on, fours from 256, eights from 512: matrices that a processor likes, in steps of
    3 % of the parameters at most. Raises CannotBuild where none fits.
    """
    made = backbone_class(arch)
    size = cache(
        partial(_size_at_width, made, constructor_options(arch), context, vocabulary, counted)
    )
    # wider, and the embedding alone, or a byte of each channel, would exceed the budget
    ceiling = min(MAX_WIDTH, budget // (vocabulary + 1 if counted == "all" else 1))
    best, low, high, guess, tries = 0, 1, ceiling, math.isqrt(ceiling), 0
    while low <= high:  # parameters grow with width: each probe narrows the range
        tries += 1
        width = (low + high) // 2 if tries % 3 == 0 else min(max(guess, low), high)
        probe = next(
            (
                w
                for w in range(width, low - 1, -1)
                if is_offered_width(w) and isinstance(size(w), int)
            ),
            None,
        )
        if probe is not None:
            guess = int(probe * math.sqrt(budget / int(size(probe))))  # nearly with its square
        if probe is not None and int(size(probe)) <= budget:
            best = probe
        elif probe is not None:
            high = probe - 1
            continue
        low = width + 1
    if best:
        return best
    raise ModelBuildError(_no_width_reason(made, budget, size, counted))


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
    """A model to be counted: nothing of it is allocated. Raises what its constructor raises."""
    with torch.device("meta"):
        return LanguageModel(
            backbone_class(arch)(width, context, **constructor_options(arch)), vocabulary
        )


def is_offered_width(width: int) -> bool:
    """Whether the harness offers this width to an architecture."""
    return width % (8 if width >= 512 else 4 if width >= 256 else 2 if width >= 128 else 1) == 0


def _size_at_width(
    made: type[Backbone],
    given: Mapping[str, Any],
    context: int,
    vocabulary: int,
    counted: str,
    width: int,
) -> int | str:
    """How many parameters, or bytes of state, this width has, or why it is not accepted. Nothing is allocated."""
    try:
        with torch.device("meta"):
            model = LanguageModel(made(width, context, **given), vocabulary)
        return (
            state_bytes(model, context)
            if counted == "state"
            else count_parameters(model)[COUNT_KEYS[counted]]
        )
    except Unsupported:
        raise
    except ValueError as error:
        return one_line(error)
    except PLUGIN_ERRORS as error:
        raise build_error(made, width, error) from None


def state_bytes(model: LanguageModel, context: int) -> int:
    """Bytes that decoding keeps of one sequence at the full context. Raises Unsupported where the architecture keeps none."""
    with torch.device(model.head_weight.device):
        kept = model.backbone.state_bytes(model.init_state(1, context))
    if not kept:
        raise Unsupported(
            f"{type(model.backbone).__name__} keeps no state: size.match=state has nothing to match"
        )
    return kept


def _no_width_reason(
    made: type[Backbone], budget: int, size: Callable[[int], int | str], counted: str
) -> str:
    """Why no width fits: the smallest that there is, or the reason why none is accepted."""
    reason: int | str = ""
    for width in filter(is_offered_width, range(1, 1025)):
        reason = size(width)
        if isinstance(reason, int):
            key = "size.state_bytes" if counted == "state" else "size.parameters"
            return f"{key}={budget:,} is too small for {made.__name__}: its smallest, width {width}, has {reason:,}"
    return f"{made.__name__} accepts no width up to 1024: {reason}"


def count_parameters(model: LanguageModel) -> dict[str, int]:
    """Parameters four ways: all, without embeddings (of tokens and of positions), in matrix products, and active ones.

    Those in products are the backbone's matrices and kernels, and the head, which is the embedding used a second time. Active
    are those that one token passes through: all, but for the experts that it is not sent to.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    products = [p for p in model.backbone.parameters() if p.dim() >= 2 and id(p) not in tables]
    resting = (
        sum(p.numel() for p in model.backbone.parameters()) - model.backbone.active_parameters()
    )
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "parameters_active": sum(p.numel() for p in model.parameters()) - resting,
        "parameters_without_embedding": sum(
            p.numel() for p in model.parameters() if id(p) not in tables
        ),
        "parameters_in_products": sum(p.numel() for p in products)
        + model.vocabulary * model.backbone.width,
    }
