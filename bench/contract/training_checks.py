"""The promises that training and measuring rely on: gradients, parameters, seeds, the budget, FLOPs, compiling."""

import io
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contract.checks import CheckSkipped, ModelUnderTest, contract_check
from bench.contract.probes import (
    CheckFailed,
    contract_loss,
    countable_kernels,
    gradient_leaves,
    preserve_state,
    random_input,
    seeded_output,
    train_briefly,
)
from bench.model import build_model, count_parameters, solve_width

MEMORIZED_NATS, MEMORIZATION_STEPS = 0.2, 400  # nats to come down to, and the steps for it
TOLERANCE = 1e-5  # what float32 may differ by


@contract_check(
    "it was trained for three steps",
    "each parameter has a gradient that is not zero",
    "use it in forward, do not cut gradients there, or leave it out",
)
def gradients(subject: ModelUnderTest) -> str:
    model = subject.build()
    reached: set[str] = set()

    def look(_: float) -> bool:
        reached.update(
            name
            for name, p in model.named_parameters()
            if p.grad is not None and bool(p.grad.any())
        )
        return False

    train_briefly(model, [subject.tokens(seed) for seed in range(3)], 3, look=look)
    names = [name for name, _ in model.named_parameters()]
    left = [name for name in names if name not in reached]
    if left and model.backbone.auxiliary() is None:  # experts that no token went to get none
        raise CheckFailed(
            f"{len(left)} of {len(names)} parameters got no gradient in three steps: {', '.join(left[:3])}"
        )
    return f"{len(reached)} of {len(names)} parameters got one"


@contract_check(
    "one forward was followed back to all that it was made from",
    "whatever takes gradients is a parameter of the model",
    "make it an nn.Parameter, and keep layers in nn.ModuleList, not in a plain list",
)
def parameters(subject: ModelUnderTest) -> str:
    model = subject.build()
    known = {id(parameter) for parameter in model.parameters()}
    with torch.random.fork_rng(devices=[]):
        strange = [
            leaf for leaf in gradient_leaves(model(subject.tokens())[0]) if id(leaf) not in known
        ]
    if strange:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in strange[:3])
        raise CheckFailed(
            f"it holds {sum(leaf.numel() for leaf in strange):,} numbers outside its parameters, as one of shape {shapes}: "
            "they are not counted, not trained and not saved"
        )
    return f"{len(known)} parameters, and nothing beside them"


@contract_check(
    "it was trained twice for three steps from one seed, and asked twice outside training with two",
    "the same seed gives the same loss, and outside training no seed matters",
    "draw with torch's own generator, and only in training",
)
def repeatable(subject: ModelUnderTest) -> str:
    first, second = (train_briefly(subject.build(), [subject.tokens()], 3) for _ in range(2))
    if first != second:
        raise CheckFailed(
            f"it draws numbers outside the given seed: the same seed gave a loss of {first!r}, then {second!r}"
        )
    model = subject.build().eval()
    x = random_input(model, subject.context)
    with preserve_state(model):
        plain = seeded_output(model.backbone, x)
        torch.manual_seed(1)
        if not torch.equal(plain, model.backbone(x)[0]):
            raise CheckFailed(
                "it draws numbers outside training: another seed gave another output in evaluation"
            )
    return f"the same seed gives the same loss, {first:.4f}, bit for bit"


@contract_check(
    "it was scored, trained for two steps, saved, and loaded into another model",
    "the loss is the same, bit for bit",
    "register what is not a parameter as a buffer, and keep no copies of weights: nothing tells when an optimizer changes them",
)
def storable(subject: ModelUnderTest) -> str:
    model, other, tokens = subject.build(), subject.build(seed=1), subject.tokens()
    with preserve_state(model):
        contract_loss(model.eval(), tokens)  # where copies of weights would be made
    train_briefly(model.train(), [tokens], 2)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    with preserve_state(model):
        saved, loaded = (
            contract_loss(model.eval(), tokens).item(),
            contract_loss(other.eval(), tokens).item(),
        )
    if saved != loaded:
        raise CheckFailed(
            f"something is not saved, or not renewed: the loss was {saved!r}, and loaded into another model it is {loaded!r}"
        )
    return "it is"


@contract_check(
    "the width was solved for two budgets, and the model made and used once",
    "never more parameters than allowed",
    "make every parameter in __init__, of sizes that follow width",
)
def budget(subject: ModelUnderTest) -> str:
    said = []
    larger = 3 * subject.parameters
    widths = {
        subject.parameters: subject.width,
        larger: solve_width(subject.arch, larger, subject.context, subject.vocabulary),
    }
    for allowed, width in widths.items():
        model = build_model(subject.arch, width, subject.context, subject.vocabulary, 0)
        with preserve_state(model):
            model(subject.tokens())  # what is made late counts too
        had = count_parameters(model)["parameters"]
        if had > allowed:
            raise CheckFailed(
                f"it exceeds its budget: {had:,} parameters at width {width} where {allowed:,} were allowed"
            )
        said.append(f"{had:,} of {allowed:,}")
    return " and ".join(said)


@contract_check(
    f"it was trained on two batches for at most {MEMORIZATION_STEPS} steps",
    f"it knows them by heart: {MEMORIZED_NATS} nats a token at most",
    "look for cut gradients, saturated gates or a missing residual",
)
def memory(subject: ModelUnderTest) -> str:
    if subject.arch.get("family") == "control":
        raise CheckSkipped("a control is not meant to remember")
    batches, losses = [subject.tokens(seed) for seed in range(2)], list[float]()

    def look(loss: float) -> bool:
        losses.append(loss)
        return (
            len(losses) > 1 and sum(losses[-2:]) / 2 < 0.75 * MEMORIZED_NATS
        )  # a step may throw it back

    loss = train_briefly(subject.build(), batches, MEMORIZATION_STEPS, 1e-2, look)
    if not loss <= MEMORIZED_NATS:
        raise CheckFailed(
            f"it does not learn: after {len(losses)} steps on two batches the loss is still {loss:.2f} nats"
        )
    return f"{loss:.2f} nats after {len(losses)} steps"


@contract_check(
    "the operations of one forward were counted",
    "flops() agrees with the counter to 0.5 %",
    "count 2 for each multiply-add of matrix products and convolutions",
)
def flops(subject: ModelUnderTest) -> str:
    model = subject.build()
    x = random_input(model, subject.context, batch=1)
    with preserve_state(model), countable_kernels(), FlopCounterMode(display=False) as counter:
        model.backbone(x)
    counted = counter.get_total_flops() / (x.shape[0] * x.shape[1])
    formula = model.backbone.flops(subject.context, full_mask=True)
    if abs(formula - counted) > 0.005 * counted:
        raise CheckFailed(
            f"flops({subject.context}, full_mask=True) is {formula:,.0f} a token, and {counted:,.0f} were counted"
        )
    return f"{formula:,.0f} a token, {counted:,.0f} counted"


@contract_check(
    "torch.compile traced it, with a backend that needs no compiler",
    "it traces, and the outputs stay the same",
    "leave Python out of forward where it depends on values",
)
def tracing(subject: ModelUnderTest) -> str:
    model = subject.build()
    x, graphs = random_input(model, subject.context), list[Any]()

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    with preserve_state(model):
        plain = seeded_output(model.backbone, x)
        torch.compiler.reset()  # what was traced before counts against a limit
        try:
            torch.manual_seed(0)
            traced = torch.compile(model.backbone, backend=backend)(x)[0]
        except Exception as error:
            raise CheckFailed(
                f"torch.compile does not trace it: {' '.join(str(error).split())[:200]}"
            ) from None
        distance = (traced - plain).abs().max().item()
    if not distance <= TOLERANCE:
        raise CheckFailed(f"traced by torch.compile its outputs are up to {distance:.2g} away")
    if not graphs:
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            raise CheckSkipped("torch.compile leaves the cells of torch.nn as they are")
        raise CheckFailed("torch.compile does not trace it: not one operation came into a graph")
    return f"traced in {len(graphs)} {'graph' if len(graphs) == 1 else 'graphs'}, with the same outputs"
