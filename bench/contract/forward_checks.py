"""The promises about what goes in and what comes out: shapes, rows, time, padding, and the state."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from architectures.interface import Unsupported
from bench.contract.checks import NotAsked, Subject, promise
from bench.contract.probes import (
    Broken,
    check_causal,
    check_output,
    differs,
    each_token,
    mix,
    noise,
    onward,
    undisturbed,
)
from bench.model.language_model import LanguageModel

LONG = 160  # tokens: chunks of 16 to 128 have borders within it
BORDERS = (1, 16, 32, 48, 64, 65, 96, 128, 159)
PIECES = (
    5,
    1,
    1,
    3,
    2,
)  # a text of 12 tokens as a state meets it: a prompt, single tokens, several at once
LONG_PIECES = (40, 1, 30, 9, 80)
CLOSE, LONG_CLOSE = 1e-5, 1e-4  # what float32 may differ by


@promise(
    "random numbers of (2, 16, D) went through the backbone, and tokens through the whole model",
    "(B, T, D) comes back, finite, in the same precision, and None for the state",
    "return (output, None), the output shaped as x",
)
def output(subject: Subject) -> str:
    model = subject.build()
    with undisturbed(model):
        mixed = check_output(model.backbone, noise(model, subject.context))
        logits = model(subject.tokens())[0]
    return f"{tuple(mixed.shape)} in {mixed.dtype}, and logits {tuple(logits.shape)}"


@promise(
    "the first row of a batch was replaced",
    "the rows of a batch do not touch each other",
    "take no mean, norm or sort over the first axis",
)
def rows(subject: Subject) -> str:
    model = subject.build()
    x = noise(model, subject.context)
    changed = x.clone()
    changed[0] = noise(model, subject.context, seed=1)[0]
    with undisturbed(model):
        distance = differs(model.backbone, x, changed, (slice(1, None),))
    if distance:
        raise Broken(f"it mixes rows: another first row moved the second by up to {distance:.2g}")
    return "the second row stayed as it was, to the bit"


@promise(
    f"each of 16 tokens was changed in turn, and whole ends of {LONG} tokens, at random",
    "`causal` is what it does: nothing before a change moves, to the bit",
    "mask what is to come, pad on the left, or say causal = False",
)
def causality(subject: Subject) -> str:
    model, long = subject.build(), subject.build(context=LONG)
    x, other = noise(model, subject.context), noise(model, subject.context, seed=1)
    with undisturbed(model), undisturbed(long):
        if model.backbone.causal:
            check_causal(model.backbone, x, each_token(x, other))
            x, other = noise(long, LONG, batch=1), noise(long, LONG, seed=1, batch=1)
            check_causal(long.backbone, x, onward(x, other, BORDERS))
            return "it says causal, and nothing before a change moves"
        changed = torch.cat([x[:, :-1], other[:, -1:]], dim=1)
        if not differs(model.backbone, x, changed, (slice(None), slice(0, -1))):
            raise Broken(
                "it says that it is not causal, and yet the last token moves nothing before it"
            )
    return "it says that it is not causal, and the last token moves earlier outputs"


@promise(
    "the last four tokens of each row were declared padding, and replaced",
    "padding on the right changes nothing before it",
    "mask the keys from `lengths` on",
)
def padding(subject: Subject) -> str:
    model = subject.build()
    x, real = noise(model, subject.context), subject.context - 4
    changed = torch.cat([x[:, :real], noise(model, 4, seed=1)], dim=1)
    lengths = torch.tensor([real, real])
    with undisturbed(model):
        distance = differs(model.backbone, x, changed, (slice(None), slice(0, real)), lengths)
        apart = (
            (mix(model.backbone, x, lengths)[:, :real] - mix(model.backbone, x[:, :real]))
            .abs()
            .max()
            .item()
        )
    if distance:
        raise Broken(
            f"it looks at padding: another padding moved the outputs before it by up to {distance:.2g}"
        )
    if not apart <= CLOSE:
        raise Broken(f"it looks at padding: the text alone gives outputs up to {apart:.2g} away")
    return "the outputs before it are those of the text alone"


@promise(
    f"12 tokens went through the state in pieces of 5 + 1 + 1 + 3 + 2, and {LONG} in five pieces",
    "the outputs are those of the whole at once, and the state keeps its size",
    "keep in the state all that the next token needs, and use it",
)
def pieces(subject: Subject) -> str:
    model = subject.build().eval()
    with undisturbed(model):
        distance, size = _in_pieces(model, PIECES, CLOSE)
    long = subject.build(context=LONG).eval()
    with undisturbed(long):
        _in_pieces(long, LONG_PIECES, LONG_CLOSE)
    return f"pieces equal the whole to {distance:.1g}; the state has {size:,} bytes"


def _in_pieces(model: LanguageModel, sizes: Sequence[int], close: float) -> tuple[float, int]:
    """How far pieces through the state are from the whole, and the state's bytes. Raises Broken and NotAsked."""
    x = noise(model, sum(sizes))
    state, parts = _state(model, sum(sizes)), list[Tensor]()
    before = model.backbone.state_bytes(state)
    for piece in x.split(list(sizes), dim=1):
        mixed, state = model.backbone(piece, state)
        if state is None:
            raise Broken("it was given a state and returned none")
        parts.append(mixed)
    after, distance = (
        model.backbone.state_bytes(state),
        (torch.cat(parts, dim=1) - mix(model.backbone, x)).abs().max().item(),
    )
    if not distance <= close:
        said = " + ".join(map(str, sizes))
        raise Broken(
            f"its state does not continue: pieces of {said} are up to {distance:.2g} away from {sum(sizes)} tokens at once"
        )
    if after != before:
        raise Broken(
            f"its state changed its size from {before} to {after} bytes within the length that it was made for"
        )
    return distance, after


def _state(model: LanguageModel, length: int) -> Any:
    try:
        return model.init_state(2, length)
    except Unsupported as reason:
        if not str(reason):
            raise Broken("init_state refuses without saying why") from None
        raise NotAsked(f"it refuses a state: {reason}") from None
