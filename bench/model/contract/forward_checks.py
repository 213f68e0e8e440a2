"""Check inputs and outputs: shape, independent rows, causality, padding, state."""

import torch

from architectures.interface import Unsupported
from bench.model.contract.checks import CheckSkipped, ModelUnderTest, contract_check
from bench.model.contract.dependence import Case, ReferenceOutput, check_causal, check_rows
from bench.model.contract.perturbation import changed_parameters
from bench.model.contract.probes import (
    CheckFailed,
    check_output,
    max_difference,
    preserve_state,
    random_input,
    seeded_output,
)
from bench.model.contract.states import SHORT_PIECES, check_pieces

LONG_CONTEXT = 160  # tokens through the state: more than one chunk of 16 to 128
LONG_PIECES = (40, 1, 30, 9, 80)  # tokens per call
LONGEST = 257  # tokens of the cases of causality
MAX_TOKENS = 8192  # of a case at the training length
TOLERANCE, LONG_TOLERANCE = 1e-5, 1e-4  # of float32


def row_cases(length: int) -> list[Case]:
    """Return the cases in which rows are looked at."""
    bf16 = torch.bfloat16
    cases = [Case(batch, length) for batch in (2, 8, 64)]
    return [*cases, Case(8, length, True), Case(64, length, True), Case(64, length, False, bf16)]


def causal_cases(length: int) -> list[Case]:
    """Return the cases in which causality is looked at, the training length among them.

    Between them, at every number of rows lengths around powers of two; each mode and precision at
    every number of rows. Most in evaluation in float32, in which models are scored.
    """
    bf16 = torch.bfloat16
    many = min(64, max(8, MAX_TOKENS // length))
    return [
        Case(many, length), Case(many, length, False, bf16), Case(8, length, True), Case(1, length),
        Case(64, 32), Case(8, 65), Case(8, 127), Case(1, 128), Case(1, 256), Case(1, LONGEST),
        Case(64, 33, False, bf16), Case(8, 64, False, bf16), Case(1, 129, False, bf16),
        Case(64, 31, True), Case(8, 128, True), Case(1, 255, True),
        Case(64, 16, True, bf16), Case(8, 63, True, bf16), Case(1, 64, True, bf16),
    ]  # fmt: skip


@contract_check(
    "random numbers (2, 16, D) pass through the backbone in both modes, tokens through the model",
    "a finite output (B, T, D) of the same dtype, and no state",
    "return (output, None), the output shaped like x",
)
def output(subject: ModelUnderTest) -> str:
    model = subject.build()
    with preserve_state(model):
        for mode in (True, False):
            x = random_input(model, subject.context)
            mixed = check_output(model.backbone.train(mode), x)
        logits = model(subject.tokens())[0]
    return f"{tuple(mixed.shape)} in {mixed.dtype}, logits {tuple(logits.shape)}"


@contract_check(
    "half of the rows are replaced, at 2, 8 and 64 rows, in both modes and precisions",
    "rows of a batch are independent",
    "do not average, normalize or sort over the first axis",
)
def rows(subject: ModelUnderTest) -> str:
    model = subject.build()
    cases = row_cases(subject.context)
    with preserve_state(model), changed_parameters(model, seed=0, zeros=True):
        for case in cases:
            check_rows(model, case)
    return f"the other rows do not change, in {len(cases)} cases"


@contract_check(
    "tokens are replaced from other positions on in each row, at 1 to 257 tokens and the training "
    "length, at 1, 8 and 64 rows, in both modes and precisions",
    "`causal` is true: no earlier output changes; or it is False",
    "mask future tokens, pad on the left, or declare causal = False",
)
def causality(subject: ModelUnderTest) -> str:
    model = subject.build(context=max(LONGEST, subject.training_length))
    cases = causal_cases(subject.training_length)
    with preserve_state(model), changed_parameters(model, seed=0, zeros=True):
        if model.backbone.causal:
            check_causal(model, cases)
            return f"it declares causal = True, and no earlier output changes in {len(cases)} cases"
        x, other = (random_input(model, subject.context, seed) for seed in (0, 1))
        changed = torch.cat([x[:, :-1], other[:, -1:]], dim=1)
        earlier = torch.arange(subject.context).expand(len(x), -1) < subject.context - 1
        if not ReferenceOutput(model.backbone, x).changes(changed, earlier).any():
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
    lengths, positions = torch.tensor([real, real]), torch.arange(subject.context).expand(2, -1)
    with preserve_state(model):
        reference = ReferenceOutput(model.backbone, x, lengths)
        distance = reference.changes(changed, positions < real).max().item()
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
    f"12 tokens pass through the state as 5 + 1 + 1 + 3 + 2, and {LONG_CONTEXT} in five pieces, in "
    "turn with another text",
    "outputs are those of one pass; the state keeps its size, and state_bytes() is its size",
    "keep all that the next token needs in the state, and use it",
)
def pieces(subject: ModelUnderTest) -> str:
    try:
        model = subject.build().eval()
        with preserve_state(model):
            distance, size = check_pieces(model, SHORT_PIECES, TOLERANCE)
        long = subject.build(context=LONG_CONTEXT).eval()
        with preserve_state(long):
            check_pieces(long, LONG_PIECES, LONG_TOLERANCE)
    except Unsupported as reason:
        raise CheckSkipped(f"it has no state: {reason}") from None
    return f"pieces equal one pass to {distance:.1g}; the state has {size:,} bytes"
