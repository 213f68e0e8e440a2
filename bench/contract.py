"""What every architecture has to keep: checks that say what was expected, what came, and how to mend it."""

import io
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from architectures.interface import Unsupported
from bench.model import LanguageModel, build, count, solve_width
from bench.probe import (
    CHECKS,
    Broken,
    Check,
    Finding,
    NotAsked,
    Subject,
    check_before_training,
    check_causal,
    check_output,
    counted_kernels,
    differs,
    examine,
    learn,
    loss_of,
    mix,
    noise,
    promise,
    undisturbed,
)

__all__ = ["CHECKS", "Check", "Finding", "Subject", "check_before_training", "examine"]

PIECES = (5, 1, 1, 3, 2)  # a text of 12 tokens as a state meets it: a prompt, single tokens, several at once


@promise("(B, T, D) in, (B, T, D) out, finite, in the same precision", "return (output, None), the output shaped as x")
def output(subject: Subject) -> str:
    model = subject.build()
    with undisturbed(model):
        mixed = check_output(model.backbone, noise(model, subject.context))
        logits = model(subject.tokens())[0]
    return f"{tuple(mixed.shape)} in {mixed.dtype}, and logits {tuple(logits.shape)}"


@promise("each parameter has a gradient within three steps", "use it in forward, or leave it out")
def gradients(subject: Subject) -> str:
    model = subject.build()
    reached: set[str] = set()

    def look() -> None:
        reached.update(name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any()))

    learn(model, [subject.tokens(seed) for seed in range(3)], 3, look=look)
    names = [name for name, _ in model.named_parameters()]
    left = [name for name in names if name not in reached]
    if left and model.backbone.auxiliary() is None:  # experts that no token went to get none
        raise Broken(f"{len(left)} of {len(names)} parameters got no gradient in three steps: {', '.join(left[:3])}")
    return f"{len(reached)} of {len(names)} parameters got one"


@promise("the rows of a batch do not touch each other", "no mean, norm or sort over the first axis")
def rows(subject: Subject) -> str:
    model = subject.build()
    x = noise(model, subject.context)
    changed = x.clone()
    changed[0] = noise(model, subject.context, seed=1)[0]
    with undisturbed(model):
        distance = differs(model.backbone, x, changed, (slice(1, None),))
    if distance:
        raise Broken(f"it mixes rows: another first row moved the second by up to {distance:.2g}")
    return "another first row leaves the second as it was"


@promise("`causal` is what it does, to the bit", "mask what is to come, pad on the left, or say causal = False")
def causality(subject: Subject) -> str:
    model = subject.build()
    x, other = noise(model, subject.context), noise(model, subject.context, seed=1)
    with undisturbed(model):
        if model.backbone.causal:
            check_causal(model.backbone, x, other, list(range(1, subject.context)))
            return "it says causal, and nothing before a changed token moves"
        changed = torch.cat([x[:, :-1], other[:, -1:]], dim=1)
        if not differs(model.backbone, x, changed, (slice(None), slice(0, -1))):
            raise Broken("it says that it is not causal, and yet the last token moves nothing before it")
    return "it says that it is not causal, and the last token moves earlier outputs"


@promise("padding on the right changes nothing before it", "mask the keys from `lengths` on")
def padding(subject: Subject) -> str:
    model = subject.build()
    x, real = noise(model, subject.context), subject.context - 4
    changed = torch.cat([x[:, :real], noise(model, 4, seed=1)], dim=1)
    lengths = torch.tensor([real, real])
    with undisturbed(model):
        distance = differs(model.backbone, x, changed, (slice(None), slice(0, real)), lengths)
        apart = (mix(model.backbone, x, lengths)[:, :real] - mix(model.backbone, x[:, :real])).abs().max().item()
    if distance:
        raise Broken(f"it looks at padding: another padding moved the outputs before it by up to {distance:.2g}")
    if apart > 1e-5:
        raise Broken(f"it looks at padding: the text alone gives outputs up to {apart:.2g} away")
    return "padding on the right changes nothing before it"


@promise("pieces through the state equal the whole", "keep in the state all that the next token needs")
def pieces(subject: Subject) -> str:
    model = subject.build().eval()
    x = noise(model, sum(PIECES))
    with undisturbed(model):
        state = _state(model, sum(PIECES))
        before, parts = model.backbone.state_bytes(state), []
        for piece in x.split(PIECES, dim=1):
            mixed, state = model.backbone(piece, state)
            if state is None:
                raise Broken("it was given a state and returned none")
            parts.append(mixed)
        after, distance = model.backbone.state_bytes(state), (torch.cat(parts, dim=1) - mix(model.backbone, x)).abs().max().item()
    if not distance <= 1e-5:
        raise Broken(
            f"its state does not continue: pieces of 5 + 1 + 1 + 3 + 2 are up to {distance:.2g} away from 12 tokens at once"
        )
    if after != before:
        raise Broken(f"its state changed its size from {before} to {after} bytes within the length that it was made for")
    return f"pieces equal the whole to {distance:.1g}; the state has {after} bytes"


def _state(model: LanguageModel, length: int) -> Any:
    try:
        return model.init_state(2, length)
    except Unsupported as reason:
        if not str(reason):
            raise Broken("init_state refuses without saying why") from None
        raise NotAsked(f"it refuses a state: {reason}") from None


@promise("the same seed gives the same loss", "draw with torch's own generator, and only in training")
def repeatable(subject: Subject) -> str:
    first, second = (learn(subject.build(), [subject.tokens()], 3) for _ in range(2))
    if first != second:
        raise Broken(f"it draws numbers outside the given seed: the same seed gave a loss of {first!r}, then {second!r}")
    return f"the same seed gives the same loss, {first:.4f}, bit for bit"


@promise("saved and loaded, it has the same loss", "register what is not a parameter as a buffer")
def storable(subject: Subject) -> str:
    model, other, tokens = subject.build(), subject.build(seed=1), subject.tokens()
    learn(model, [tokens], 2)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    with undisturbed(model):
        saved, loaded = loss_of(model.eval(), tokens).item(), loss_of(other.eval(), tokens).item()
    if saved != loaded:
        raise Broken(f"something is not saved: the loss was {saved!r}, and loaded into another model it is {loaded!r}")
    return "saved and loaded, it has the same loss"


@promise("never more parameters than allowed", "make every parameter in __init__, of sizes that follow width")
def budget(subject: Subject) -> str:
    said = []
    for parameters in (subject.parameters, 3 * subject.parameters):
        width = solve_width(subject.arch, parameters, subject.context, subject.vocabulary)
        model = build(subject.arch, width, subject.context, subject.vocabulary, 0)
        model(subject.tokens())  # what is made late counts too
        had = count(model)["parameters"]
        if had > parameters:
            raise Broken(f"it exceeds its budget: {had:,} parameters at width {width} where {parameters:,} were allowed")
        said.append(f"{had:,} of {parameters:,}")
    return " and ".join(said)


@promise("flops() agrees with a counter to 0.5 %", "2 for each multiply-add of matrix products and convolutions")
def flops(subject: Subject) -> str:
    model = subject.build()
    x = noise(model, subject.context)
    with undisturbed(model), counted_kernels(), FlopCounterMode(display=False) as counter:
        model.backbone(x)
    counted = counter.get_total_flops() / (x.shape[0] * x.shape[1])
    formula = model.backbone.flops(subject.context, full_mask=True)
    if abs(formula - counted) > 0.005 * counted:
        raise Broken(f"flops({subject.context}, full_mask=True) is {formula:,.0f} a token, and {counted:,.0f} were counted")
    return f"{formula:,.0f} a token, {counted:,.0f} counted"


@promise("it learns two batches by heart", "look for cut gradients, saturated gates or a missing residual")
def memory(subject: Subject) -> str:
    if subject.arch.get("family") == "control":
        raise NotAsked("a control is not meant to remember")
    batches = [subject.tokens(seed) for seed in range(2)]
    model, loss, steps = subject.build(), float("inf"), 0
    while loss > 0.2 and steps < 400:
        loss, steps = learn(model, batches, 50, rate=1e-2), steps + 50
    if not loss <= 0.2:
        raise Broken(f"it does not learn: after {steps} steps on two batches the loss is still {loss:.2f} nats")
    return f"{loss:.2f} nats after {steps} steps"


@promise("torch.compile traces it", "leave Python out of forward where it depends on values")
def tracing(subject: Subject) -> str:
    model = subject.build()
    x = noise(model, subject.context)
    with undisturbed(model):
        plain = mix(model.backbone, x)
        try:
            traced = torch.compile(model.backbone, backend="eager")(x)[0]
        except Exception as error:
            raise Broken(f"torch.compile does not trace it: {' '.join(str(error).split())[:200]}") from None
        distance = (traced - plain).abs().max().item()
    if not distance <= 1e-5:
        raise Broken(f"traced by torch.compile its outputs are up to {distance:.2g} away")
    return "traced, it gives the same outputs"
