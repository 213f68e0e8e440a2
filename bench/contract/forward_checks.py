"""Check inputs and outputs: shape, independent rows, causality, padding, state."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from architectures.interface import Unsupported
from bench.contract.checks import CheckSkipped, ModelUnderTest, contract_check
from bench.contract.probes import (
    CheckFailed,
    ReferenceOutput,
    check_causal,
    check_output,
    max_difference,
    preserve_state,
    random_input,
    replace_each_token,
    replace_suffixes,
    seeded_output,
)
from bench.model import LanguageModel

LONG_CONTEXT = 160  # tokens: more than one chunk of 16 to 128
SUFFIX_STARTS = (1, 16, 32, 48, 64, 65, 96, 128, 159)
# tokens per call through a state: a prompt, single tokens, several at once
SHORT_PIECES, LONG_PIECES = (5, 1, 1, 3, 2), (40, 1, 30, 9, 80)
TOLERANCE, LONG_TOLERANCE = 1e-5, 1e-4  # of float32


@contract_check(
    "random numbers (2, 16, D) pass through the backbone, tokens through the model",
    "a finite output (B, T, D) of the same dtype, and no state",
    "return (output, None), the output shaped like x",
)
def output(subject: ModelUnderTest) -> str:
    model = subject.build()
    with preserve_state(model):
        mixed = check_output(model.backbone, random_input(model, subject.context))
        logits = model(subject.tokens())[0]
    return f"{tuple(mixed.shape)} in {mixed.dtype}, logits {tuple(logits.shape)}"


@contract_check(
    "the first row of a batch is replaced",
    "rows of a batch are independent",
    "do not average, normalize or sort over the first axis",
)
def rows(subject: ModelUnderTest) -> str:
    model = subject.build()
    x = random_input(model, subject.context)
    changed = x.clone()
    changed[0] = random_input(model, subject.context, seed=1)[0]
    with preserve_state(model):
        distance = ReferenceOutput(model.backbone, x).change(changed, (slice(1, None),))
    if distance:
        message = f"rows are mixed: another first row changed the second by up to {distance:.2g}"
        raise CheckFailed(message, "mixes-rows")
    return "the second row is equal, bit for bit"


@contract_check(
    f"each of 16 tokens is replaced, and suffixes of {LONG_CONTEXT} tokens",
    "`causal` is true: no earlier output changes by a bit; or it is False",
    "mask future tokens, pad on the left, or declare causal = False",
)
def causality(subject: ModelUnderTest) -> str:
    model, long = subject.build(), subject.build(context=LONG_CONTEXT)
    x, other = (random_input(model, subject.context, seed) for seed in (0, 1))
    with preserve_state(model), preserve_state(long):
        if model.backbone.causal:
            check_causal(model.backbone, x, replace_each_token(x, other))
            x, other = (random_input(long, LONG_CONTEXT, seed, batch=1) for seed in (0, 1))
            check_causal(long.backbone, x, replace_suffixes(x, other, SUFFIX_STARTS))
            return "it declares causal = True, and no earlier output changes"
        changed = torch.cat([x[:, :-1], other[:, -1:]], dim=1)
        earlier = slice(None), slice(0, -1)
        if not ReferenceOutput(model.backbone, x).change(changed, earlier):
            message = "it declares causal = False, but the last token changes no earlier output"
            raise CheckFailed(message, "not-bidirectional")
    return "it declares causal = False, and the last token changes earlier outputs"


@contract_check(
    "the last four tokens of each row are declared padding, and replaced",
    "padding on the right changes no output before it",
    "mask the keys from `lengths` on",
)
def padding(subject: ModelUnderTest) -> str:
    model = subject.build()
    x, real = random_input(model, subject.context), subject.context - 4
    changed = torch.cat([x[:, :real], random_input(model, 4, seed=1)], dim=1)
    lengths = torch.tensor([real, real])
    with preserve_state(model):
        reference = ReferenceOutput(model.backbone, x, lengths)
        distance = reference.change(changed, (slice(None), slice(0, real)))
        alone = seeded_output(model.backbone, x[:, :real])
        apart = max_difference(seeded_output(model.backbone, x, lengths)[:, :real], alone)
    if distance:
        message = f"it reads padding: another one changed earlier outputs by up to {distance:.2g}"
        raise CheckFailed(message, "reads-padding")
    if not apart <= TOLERANCE:
        message = f"it reads padding: outputs without it differ by up to {apart:.2g}"
        raise CheckFailed(message, "reads-padding")
    return "outputs are those without padding"


@contract_check(
    f"12 tokens pass through the state as 5 + 1 + 1 + 3 + 2, and {LONG_CONTEXT} in five pieces",
    "outputs are those of one pass, and the state keeps its size",
    "keep all that the next token needs in the state, and use it",
)
def pieces(subject: ModelUnderTest) -> str:
    model = subject.build().eval()
    with preserve_state(model):
        distance, size = _compare_pieces(model, SHORT_PIECES, TOLERANCE)
    long = subject.build(context=LONG_CONTEXT).eval()
    with preserve_state(long):
        _compare_pieces(long, LONG_PIECES, LONG_TOLERANCE)
    return f"pieces equal one pass to {distance:.1g}; the state has {size:,} bytes"


def _compare_pieces(
    model: LanguageModel, sizes: Sequence[int], tolerance: float
) -> tuple[float, int]:
    """Return how far pieces through the state are from one pass, and the bytes of the state."""
    x = random_input(model, sum(sizes))
    state, parts = _init_state(model, sum(sizes)), list[Tensor]()
    before = model.backbone.state_bytes(state)
    for piece in x.split(list(sizes), dim=1):
        mixed, state = model.backbone(piece, state)
        if state is None:
            raise CheckFailed("forward was given a state and returned none", "no-state")
        parts.append(mixed)
    after = model.backbone.state_bytes(state)
    distance = max_difference(torch.cat(parts, dim=1), seeded_output(model.backbone, x))
    if not distance <= tolerance:
        raise CheckFailed(
            f"the state does not continue the text: pieces of {' + '.join(map(str, sizes))} differ "
            f"by up to {distance:.2g} from one pass over {sum(sizes)} tokens",
            "state-diverges",
        )
    if after != before:
        message = f"the state changes its size from {before} to {after} bytes within its length"
        raise CheckFailed(message, "state-size")
    return distance, after


def _init_state(model: LanguageModel, length: int) -> Any:
    try:
        return model.init_state(2, length)
    except Unsupported as reason:
        if not str(reason):
            message = "init_state raises Unsupported without a reason"
            raise CheckFailed(message, "no-reason") from None
        raise CheckSkipped(f"it has no state: {reason}") from None
