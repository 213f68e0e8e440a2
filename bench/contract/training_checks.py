"""The promises that training and measuring rely on: gradients, parameters, seeds, the budget, FLOPs, compiling."""

import io
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contract.checks import NotAsked, Subject, promise
from bench.contract.probes import (
    Broken,
    counted_kernels,
    learn,
    leaves,
    loss_of,
    mix,
    noise,
    undisturbed,
)
from bench.model.language_model import build
from bench.model.sizing import count, solve_width

BY_HEART, STEPS = 0.2, 400  # nats to come down to, and the steps for it
CLOSE = 1e-5  # what float32 may differ by


@promise(
    "it was trained for three steps",
    "each parameter has a gradient that is not zero",
    "use it in forward, do not cut gradients there, or leave it out",
)
def gradients(subject: Subject) -> str:
    model = subject.build()
    reached: set[str] = set()

    def look(_: float) -> bool:
        reached.update(
            name
            for name, p in model.named_parameters()
            if p.grad is not None and bool(p.grad.any())
        )
        return False

    learn(model, [subject.tokens(seed) for seed in range(3)], 3, look=look)
    names = [name for name, _ in model.named_parameters()]
    left = [name for name in names if name not in reached]
    if left and model.backbone.auxiliary() is None:  # experts that no token went to get none
        raise Broken(
            f"{len(left)} of {len(names)} parameters got no gradient in three steps: {', '.join(left[:3])}"
        )
    return f"{len(reached)} of {len(names)} parameters got one"


@promise(
    "one forward was followed back to all that it was made from",
    "whatever takes gradients is a parameter of the model",
    "make it an nn.Parameter, and keep layers in nn.ModuleList, not in a plain list",
)
def parameters(subject: Subject) -> str:
    model = subject.build()
    known = {id(parameter) for parameter in model.parameters()}
    with torch.random.fork_rng(devices=[]):
        strange = [leaf for leaf in leaves(model(subject.tokens())[0]) if id(leaf) not in known]
    if strange:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in strange[:3])
        raise Broken(
            f"it holds {sum(leaf.numel() for leaf in strange):,} numbers outside its parameters, as one of shape {shapes}: "
            "they are not counted, not trained and not saved"
        )
    return f"{len(known)} parameters, and nothing beside them"


@promise(
    "it was trained twice for three steps from one seed, and asked twice outside training with two",
    "the same seed gives the same loss, and outside training no seed matters",
    "draw with torch's own generator, and only in training",
)
def repeatable(subject: Subject) -> str:
    first, second = (learn(subject.build(), [subject.tokens()], 3) for _ in range(2))
    if first != second:
        raise Broken(
            f"it draws numbers outside the given seed: the same seed gave a loss of {first!r}, then {second!r}"
        )
    model = subject.build().eval()
    x = noise(model, subject.context)
    with undisturbed(model):
        plain = mix(model.backbone, x)
        torch.manual_seed(1)
        if not torch.equal(plain, model.backbone(x)[0]):
            raise Broken(
                "it draws numbers outside training: another seed gave another output in evaluation"
            )
    return f"the same seed gives the same loss, {first:.4f}, bit for bit"


@promise(
    "it was scored, trained for two steps, saved, and loaded into another model",
    "the loss is the same, bit for bit",
    "register what is not a parameter as a buffer, and keep no copies of weights: nothing tells when an optimizer changes them",
)
def storable(subject: Subject) -> str:
    model, other, tokens = subject.build(), subject.build(seed=1), subject.tokens()
    with undisturbed(model):
        loss_of(model.eval(), tokens)  # where copies of weights would be made
    learn(model.train(), [tokens], 2)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    with undisturbed(model):
        saved, loaded = loss_of(model.eval(), tokens).item(), loss_of(other.eval(), tokens).item()
    if saved != loaded:
        raise Broken(
            f"something is not saved, or not renewed: the loss was {saved!r}, and loaded into another model it is {loaded!r}"
        )
    return "it is"


@promise(
    "the width was solved for two budgets, and the model made and used once",
    "never more parameters than allowed",
    "make every parameter in __init__, of sizes that follow width",
)
def budget(subject: Subject) -> str:
    said = []
    larger = 3 * subject.parameters
    widths = {
        subject.parameters: subject.width,
        larger: solve_width(subject.arch, larger, subject.context, subject.vocabulary),
    }
    for allowed, width in widths.items():
        model = build(subject.arch, width, subject.context, subject.vocabulary, 0)
        with undisturbed(model):
            model(subject.tokens())  # what is made late counts too
        had = count(model)["parameters"]
        if had > allowed:
            raise Broken(
                f"it exceeds its budget: {had:,} parameters at width {width} where {allowed:,} were allowed"
            )
        said.append(f"{had:,} of {allowed:,}")
    return " and ".join(said)


@promise(
    f"it was trained on two batches for at most {STEPS} steps",
    f"it knows them by heart: {BY_HEART} nats a token at most",
    "look for cut gradients, saturated gates or a missing residual",
)
def memory(subject: Subject) -> str:
    if subject.arch.get("family") == "control":
        raise NotAsked("a control is not meant to remember")
    batches, losses = [subject.tokens(seed) for seed in range(2)], list[float]()

    def look(loss: float) -> bool:
        losses.append(loss)
        return (
            len(losses) > 1 and sum(losses[-2:]) / 2 < 0.75 * BY_HEART
        )  # a step may throw it back

    loss = learn(subject.build(), batches, STEPS, 1e-2, look)
    if not loss <= BY_HEART:
        raise Broken(
            f"it does not learn: after {len(losses)} steps on two batches the loss is still {loss:.2f} nats"
        )
    return f"{loss:.2f} nats after {len(losses)} steps"


@promise(
    "the operations of one forward were counted",
    "flops() agrees with the counter to 0.5 %",
    "count 2 for each multiply-add of matrix products and convolutions",
)
def flops(subject: Subject) -> str:
    model = subject.build()
    x = noise(model, subject.context, batch=1)
    with undisturbed(model), counted_kernels(), FlopCounterMode(display=False) as counter:
        model.backbone(x)
    counted = counter.get_total_flops() / (x.shape[0] * x.shape[1])
    formula = model.backbone.flops(subject.context, full_mask=True)
    if abs(formula - counted) > 0.005 * counted:
        raise Broken(
            f"flops({subject.context}, full_mask=True) is {formula:,.0f} a token, and {counted:,.0f} were counted"
        )
    return f"{formula:,.0f} a token, {counted:,.0f} counted"


@promise(
    "torch.compile traced it, with a backend that needs no compiler",
    "it traces, and the outputs stay the same",
    "leave Python out of forward where it depends on values",
)
def tracing(subject: Subject) -> str:
    model = subject.build()
    x, graphs = noise(model, subject.context), list[Any]()

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    with undisturbed(model):
        plain = mix(model.backbone, x)
        torch.compiler.reset()  # what was traced before counts against a limit
        try:
            torch.manual_seed(0)
            traced = torch.compile(model.backbone, backend=backend)(x)[0]
        except Exception as error:
            raise Broken(
                f"torch.compile does not trace it: {' '.join(str(error).split())[:200]}"
            ) from None
        distance = (traced - plain).abs().max().item()
    if not distance <= CLOSE:
        raise Broken(f"traced by torch.compile its outputs are up to {distance:.2g} away")
    if not graphs:
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            raise NotAsked("torch.compile leaves the cells of torch.nn as they are")
        raise Broken("torch.compile does not trace it: not one operation came into a graph")
    return f"traced in {len(graphs)} {'graph' if len(graphs) == 1 else 'graphs'}, with the same outputs"
