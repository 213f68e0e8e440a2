"""Check what an architecture says of its cost: parameters within a budget, FLOPs."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from architectures.interface import Unsupported
from bench.model import LanguageModel, build_model, count_parameters, solve_width
from bench.model.contract.checks import ModelUnderTest, contract_check
from bench.model.contract.probes import CheckFailed, countable_kernels, preserve_state, random_input

TOLERANCE = 0.005  # of counted FLOPs
LEAST_TOLERANCE = 0.02  # of those of single tokens, for which a convolution may pad more


@contract_check(
    "the width is solved for two budgets, and the model built and used once",
    "no more parameters than the budget",
    "make every parameter in __init__, with sizes that follow width",
)
def budget(subject: ModelUnderTest) -> str:
    counts = []
    larger = 3 * subject.parameters
    solved = solve_width(subject.arch, larger, subject.context, subject.vocabulary)
    for allowed, width in ((subject.parameters, subject.width), (larger, solved)):
        model = build_model(subject.arch, width, subject.context, subject.vocabulary, 0)
        with preserve_state(model):
            model(subject.tokens())  # parameters made late count too
        count = count_parameters(model)["parameters"]
        if count > allowed:
            message = f"{count:,} parameters at width {width} exceed the budget of {allowed:,}"
            raise CheckFailed(message, "over-budget")
        counts.append(f"{count:,} of {allowed:,}")
    return " and ".join(counts)


@contract_check(
    "the operations of one forward pass are counted, of one token alone, and of one more token",
    "flops() agrees with the count to 0.5 % over the full square, and the causal mean lies between",
    "count 2 per multiply-add of matrix products and convolutions",
)
def flops(subject: ModelUnderTest) -> str:
    model, length = subject.build().eval(), subject.context
    x = random_input(model, length, batch=1)
    with preserve_state(model):
        counted = _count(model, x) / length
        least = _least_mean(model, x, counted)
    full = model.backbone.flops(length, full_mask=True)
    mean = model.backbone.flops(length)
    if abs(full - counted) > TOLERANCE * counted:
        raise CheckFailed(
            f"flops({length}, full_mask=True) is {full:,.0f} per token, "
            f"and {counted:,.0f} were counted",
            "wrong-flops",
        )
    if not (1 - LEAST_TOLERANCE) * least <= mean <= (1 + TOLERANCE) * counted:
        raise CheckFailed(
            f"flops({length}) is {mean:,.0f} per token: it cannot be below {least:,.0f}, the mean "
            f"of the first token and the last, or above {counted:,.0f}, the full square",
            "wrong-flops",
        )
    return f"{full:,.0f} per token, {counted:,.0f} counted; causal mean {mean:,.0f}"


def _count(model: LanguageModel, x: torch.Tensor, state: Any = None) -> float:
    with countable_kernels(), FlopCounterMode(display=False) as counter:
        model.backbone(x, state)
    return counter.get_total_flops()


def _least_mean(model: LanguageModel, x: torch.Tensor, counted: float) -> float:
    """Return the least that the causal mean over the tokens of x (1, T, D) can be.

    Attention costs a token the more the later it is, at least as evenly as a straight line from the
    first token to the last: with a window it is above. `counted` bounds recurrent forms, in which
    one more token may cost more than in parallel.
    """
    alone = min(counted, _count(model, x[:, :1]))
    try:
        state = model.init_state(1, x.shape[1])
    except Unsupported:
        return alone
    last = _count(model, x[:, -1:], model.backbone(x[:, :-1], state)[1])
    return (min(alone, last) + min(counted, last)) / 2
