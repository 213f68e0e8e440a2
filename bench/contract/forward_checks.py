"""The promises about what goes in and what comes out: shapes, rows, time, padding, and the state."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from architectures.interface import Unsupported
from bench.contract.checks import CheckSkipped, ModelUnderTest, contract_check
from bench.contract.probes import (
    CheckFailed,
    check_causal,
    check_output,
    max_change,
    preserve_state,
    random_input,
    replace_each_token,
    replace_suffixes,
    seeded_output,
)
from bench.model import LanguageModel

LONG_CONTEXT = 160  # tokens: chunks of 16 to 128 have borders within it
SUFFIX_STARTS = (1, 16, 32, 48, 64, 65, 96, 128, 159)
SHORT_PIECES = (
    5,
    1,
    1,
    3,
    2,
)  # a text of 12 tokens as a state meets it: a prompt, single tokens, several at once
LONG_PIECES = (40, 1, 30, 9, 80)
TOLERANCE, LONG_TOLERANCE = 1e-5, 1e-4  # what float32 may differ by


@contract_check(
    "random numbers of (2, 16, D) went through the backbone, and tokens through the whole model",
    "(B, T, D) comes back, finite, in the same precision, and None for the state",
    "return (output, None), the output shaped as x",
)
def output(subject: ModelUnderTest) -> str:
    model = subject.build()
    with preserve_state(model):
        mixed = check_output(model.backbone, random_input(model, subject.context))
        logits = model(subject.tokens())[0]
    return f"{tuple(mixed.shape)} in {mixed.dtype}, and logits {tuple(logits.shape)}"


@contract_check(
    "the first row of a batch was replaced",
    "the rows of a batch do not touch each other",
    "take no mean, norm or sort over the first axis",
)
def rows(subject: ModelUnderTest) -> str:
    model = subject.build()
    x = random_input(model, subject.context)
    changed = x.clone()
    changed[0] = random_input(model, subject.context, seed=1)[0]
    with preserve_state(model):
        distance = max_change(model.backbone, x, changed, (slice(1, None),))
    if distance:
        raise CheckFailed(
            f"it mixes rows: another first row moved the second by up to {distance:.2g}"
        )
    return "the second row stayed as it was, to the bit"


@contract_check(
    f"each of 16 tokens was changed in turn, and whole ends of {LONG_CONTEXT} tokens, at random",
    "`causal` is what it does: nothing before a change moves, to the bit",
    "mask what is to come, pad on the left, or say causal = False",
)
def causality(subject: ModelUnderTest) -> str:
    model, long = subject.build(), subject.build(context=LONG_CONTEXT)
    x, other = random_input(model, subject.context), random_input(model, subject.context, seed=1)
    with preserve_state(model), preserve_state(long):
        if model.backbone.causal:
            check_causal(model.backbone, x, replace_each_token(x, other))
            x, other = (
                random_input(long, LONG_CONTEXT, batch=1),
                random_input(long, LONG_CONTEXT, seed=1, batch=1),
            )
            check_causal(long.backbone, x, replace_suffixes(x, other, SUFFIX_STARTS))
            return "it says causal, and nothing before a change moves"
        changed = torch.cat([x[:, :-1], other[:, -1:]], dim=1)
        if not max_change(model.backbone, x, changed, (slice(None), slice(0, -1))):
            raise CheckFailed(
                "it says that it is not causal, and yet the last token moves nothing before it"
            )
    return "it says that it is not causal, and the last token moves earlier outputs"


@contract_check(
    "the last four tokens of each row were declared padding, and replaced",
    "padding on the right changes nothing before it",
    "mask the keys from `lengths` on",
)
def padding(subject: ModelUnderTest) -> str:
    model = subject.build()
    x, real = random_input(model, subject.context), subject.context - 4
    changed = torch.cat([x[:, :real], random_input(model, 4, seed=1)], dim=1)
    lengths = torch.tensor([real, real])
    with preserve_state(model):
        distance = max_change(model.backbone, x, changed, (slice(None), slice(0, real)), lengths)
        apart = (
            (
                seeded_output(model.backbone, x, lengths)[:, :real]
                - seeded_output(model.backbone, x[:, :real])
            )
            .abs()
            .max()
            .item()
        )
    if distance:
        raise CheckFailed(
            f"it looks at padding: another padding moved the outputs before it by up to {distance:.2g}"
        )
    if not apart <= TOLERANCE:
        raise CheckFailed(
            f"it looks at padding: the text alone gives outputs up to {apart:.2g} away"
        )
    return "the outputs before it are those of the text alone"


@contract_check(
    f"12 tokens went through the state in pieces of 5 + 1 + 1 + 3 + 2, and {LONG_CONTEXT} in five pieces",
    "the outputs are those of the whole at once, and the state keeps its size",
    "keep in the state all that the next token needs, and use it",
)
def pieces(subject: ModelUnderTest) -> str:
    model = subject.build().eval()
    with preserve_state(model):
        distance, size = _compare_pieces(model, SHORT_PIECES, TOLERANCE)
    long = subject.build(context=LONG_CONTEXT).eval()
    with preserve_state(long):
        _compare_pieces(long, LONG_PIECES, LONG_TOLERANCE)
    return f"pieces equal the whole to {distance:.1g}; the state has {size:,} bytes"


def _compare_pieces(model: LanguageModel, sizes: Sequence[int], close: float) -> tuple[float, int]:
    """How far pieces through the state are from the whole, and the state's bytes. Raises Broken and NotAsked."""
    x = random_input(model, sum(sizes))
    state, parts = _init_state(model, sum(sizes)), list[Tensor]()
    before = model.backbone.state_bytes(state)
    for piece in x.split(list(sizes), dim=1):
        mixed, state = model.backbone(piece, state)
        if state is None:
            raise CheckFailed("it was given a state and returned none")
        parts.append(mixed)
    after, distance = (
        model.backbone.state_bytes(state),
        (torch.cat(parts, dim=1) - seeded_output(model.backbone, x)).abs().max().item(),
    )
    if not distance <= close:
        said = " + ".join(map(str, sizes))
        raise CheckFailed(
            f"its state does not continue: pieces of {said} are up to {distance:.2g} away from {sum(sizes)} tokens at once"
        )
    if after != before:
        raise CheckFailed(
            f"its state changed its size from {before} to {after} bytes within the length that it was made for"
        )
    return distance, after


def _init_state(model: LanguageModel, length: int) -> Any:
    try:
        return model.init_state(2, length)
    except Unsupported as reason:
        if not str(reason):
            raise CheckFailed("init_state refuses without saying why") from None
        raise CheckSkipped(f"it refuses a state: {reason}") from None
