"""Check what training relies on: gradients, seeds, checkpoints, learning, tracing."""

import io
from typing import Any

import torch
from torch import nn

from bench.model.contract.checks import CheckSkipped, ModelUnderTest, contract_check
from bench.model.contract.probes import (
    CheckFailed,
    contract_loss,
    gradient_leaves,
    max_difference,
    preserve_state,
    random_input,
    seeded_output,
    train_briefly,
)

MEMORIZED_NATS, MEMORIZATION_STEPS = 0.2, 400
TOLERANCE = 1e-5  # of float32


@contract_check(
    "it trains for three steps",
    "each parameter gets a gradient that is not zero",
    "use the parameter in forward, do not detach there, or remove it",
)
def gradients(subject: ModelUnderTest) -> str:
    model = subject.build()
    reached: set[str] = set()

    def collect(_: float) -> bool:
        with_gradient = [(n, p.grad) for n, p in model.named_parameters() if p.grad is not None]
        reached.update(name for name, gradient in with_gradient if bool(gradient.any()))
        return False

    train_briefly(model, [subject.tokens(seed) for seed in range(3)], 3, stop=collect)
    names = [name for name, _ in model.named_parameters()]
    left = [name for name in names if name not in reached]
    if left and model.backbone.auxiliary() is None:  # experts without a token get no gradient
        raise CheckFailed(
            f"{len(left)} of {len(names)} parameters got no gradient in three steps: "
            f"{', '.join(left[:3])}",
            "no-gradient",
        )
    return f"{len(reached)} of {len(names)} parameters got one"


@contract_check(
    "one forward pass is traced back to all tensors that it uses",
    "every tensor with gradients is a parameter of the model",
    "make it an nn.Parameter, and keep layers in nn.ModuleList, not in a list",
)
def parameters(subject: ModelUnderTest) -> str:
    model = subject.build()
    registered = {id(parameter) for parameter in model.parameters()}
    with torch.random.fork_rng(devices=[]):
        leaves = gradient_leaves(model(subject.tokens())[0])
    others = [leaf for leaf in leaves if id(leaf) not in registered]
    if others:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in others[:3])
        raise CheckFailed(
            f"it has {sum(leaf.numel() for leaf in others):,} numbers that are no parameters, in "
            f"tensors of shape {shapes}: they are not counted, not trained and not saved",
            "unregistered-parameters",
        )
    return f"{len(registered)} parameters, and nothing else"


@contract_check(
    "it trains twice for three steps from one seed, and is evaluated with two seeds",
    "the same seed gives the same loss; evaluation does not depend on a seed",
    "draw random numbers from torch's generator, and only in training",
)
def repeatable(subject: ModelUnderTest) -> str:
    first, second = (train_briefly(subject.build(), [subject.tokens()], 3) for _ in range(2))
    if first != second:
        raise CheckFailed(
            "random numbers ignore the seed: "
            f"with the same seed the loss was {first!r}, then {second!r}",
            "unseeded-randomness",
        )
    model = subject.build().eval()
    x = random_input(model, subject.context)
    with preserve_state(model):
        plain = seeded_output(model.backbone, x)
        torch.manual_seed(1)
        if not torch.equal(plain, model.backbone(x)[0]):
            message = "random numbers in evaluation: another seed gave another output"
            raise CheckFailed(message, "evaluation-randomness")
    return f"the same seed gives the same loss, {first:.4f}, bit for bit"


@contract_check(
    "it is evaluated, trained for two steps, saved, and loaded into another model",
    "the same loss, bit for bit",
    "register what is no parameter as a buffer, and keep no copies of weights: "
    "no event reports that an optimizer changed them",
)
def storable(subject: ModelUnderTest) -> str:
    model, other, tokens = subject.build(), subject.build(seed=1), subject.tokens()
    with preserve_state(model):
        contract_loss(model.eval(), tokens)  # here copies of weights would be made
    train_briefly(model.train(), [tokens], 2)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    with preserve_state(model):
        saved, loaded = (contract_loss(each.eval(), tokens).item() for each in (model, other))
    if saved != loaded:
        raise CheckFailed(
            f"something is not saved, or stale: the loss was {saved!r}, "
            f"and {loaded!r} after loading into another model",
            "not-saved",
        )
    return "the loss is the same"


@contract_check(
    f"it trains on two batches for at most {MEMORIZATION_STEPS} steps",
    f"it memorizes them: at most {MEMORIZED_NATS} nats per token",
    "look for detached gradients, saturated gates or a missing residual",
)
def memory(subject: ModelUnderTest) -> str:
    if subject.arch.get("family") == "control":
        raise CheckSkipped("a control is not meant to memorize")
    batches, losses = [subject.tokens(seed) for seed in range(2)], list[float]()

    def is_memorized(loss: float) -> bool:
        losses.append(loss)  # with a margin: the next step may increase the loss
        return len(losses) > 1 and sum(losses[-2:]) / 2 < 0.75 * MEMORIZED_NATS

    loss = train_briefly(subject.build(), batches, MEMORIZATION_STEPS, 1e-2, is_memorized)
    if not loss <= MEMORIZED_NATS:
        message = f"it does not learn: {loss:.2f} nats on two batches after {len(losses)} steps"
        raise CheckFailed(message, "does-not-learn")
    return f"{loss:.2f} nats after {len(losses)} steps"


@contract_check(
    "torch.compile traces it, with a backend that needs no compiler",
    "it traces, with the same outputs",
    "remove Python code that depends on values from forward",
)
def tracing(subject: ModelUnderTest) -> str:
    model = subject.build()
    x = random_input(model, subject.context)
    with preserve_state(model):
        plain = seeded_output(model.backbone, x)
        traced, graphs = _trace(model.backbone, x)
    distance = max_difference(traced, plain)
    if not distance <= TOLERANCE:
        message = f"traced by torch.compile, its outputs differ by up to {distance:.2g}"
        raise CheckFailed(message, "traced-differently")
    if not graphs:
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            raise CheckSkipped("torch.compile does not trace the recurrent cells of torch.nn")
        raise CheckFailed("torch.compile traced no operation", "not-traceable")
    return f"traced in {graphs} graph{'s' * (graphs > 1)}, with the same outputs"


def _trace(backbone: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return the output under torch.compile, and the number of graphs."""
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()  # earlier traces count against a limit
    torch.manual_seed(0)
    try:
        return torch.compile(backbone, backend=backend)(x)[0], len(graphs)
    except Exception as error:
        message = f"torch.compile cannot trace it: {' '.join(str(error).split())[:200]}"
        raise CheckFailed(message, "not-traceable") from None
