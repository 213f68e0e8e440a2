"""Probing a model: what moves when an input is changed, what it is made from, and a few plain steps of learning."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from architectures.interface import Backbone
from bench.model import PLUGIN_ERRORS, LanguageModel, ModelBuildError, describe_error

MAX_PROBE_LENGTH = (
    1024  # tokens that the check before training looks at: the context, where that is not longer
)
FLOAT64_TOLERANCE = (
    1e-9  # what float64 may differ by where a Fourier transform or a routing mixes roundings
)


class CheckFailed(Exception):
    """A check that does not hold; the message is what came instead."""


def random_input(model: LanguageModel, length: int, seed: int = 0, batch: int = 2) -> Tensor:
    """A random input of a backbone, (B, T, D). A constant change would hide behind a norm; a random one does not."""
    table, generator = model.embedding.weight, torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, model.backbone.width, generator=generator).to(
        table.device, table.dtype
    )


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Leave a model's buffers and the random numbers of whatever comes after as they were."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [
        parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"
    ][:1]
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        yield
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])


@contextmanager
def countable_kernels() -> Iterator[None]:
    """Kernels whose products an operation counter sees: attention step by step, and recurrent cells without oneDNN."""
    library: Any = torch.backends.mkldnn
    before, library.enabled = library.enabled, False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        library.enabled = before


def seeded_output(backbone: Backbone, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The output of a backbone, with the same random numbers at every call."""
    torch.manual_seed(0)
    mixed: Tensor = backbone(x, None, lengths)[0]
    return mixed


class ReferenceOutput:
    """The output for one input, held against the outputs for others: in float32, and where those differ in float64."""

    def __init__(self, backbone: Backbone, x: Tensor, lengths: Tensor | None = None) -> None:
        self.backbone, self.x, self.lengths = backbone, x, lengths
        self.plain = seeded_output(backbone, x, lengths)

    @cached_property
    def exact(self) -> tuple[Backbone, Tensor]:
        """The same in float64: a copy, and its output. Raises Broken where even the same input gives another output."""
        if not torch.equal(self.plain, seeded_output(self.backbone, self.x, self.lengths)):
            raise CheckFailed(
                "it draws numbers outside the given seed: the same input gave another output"
            )
        double = copy.deepcopy(self.backbone).double()
        return double, seeded_output(double, self.x.double(), self.lengths)

    def moved(self, other: Tensor, part: tuple[Any, ...]) -> float:
        """How far a part of the output moves when x becomes `other`: 0 where not a bit does, or only float64's rounding."""
        if torch.equal(self.plain[part], seeded_output(self.backbone, other, self.lengths)[part]):
            return 0.0
        double, output = self.exact
        distance = (
            (output[part] - seeded_output(double, other.double(), self.lengths)[part])
            .abs()
            .max()
            .item()
        )
        return 0.0 if distance <= FLOAT64_TOLERANCE else distance


def max_change(
    backbone: Backbone,
    x: Tensor,
    other: Tensor,
    part: tuple[Any, ...],
    lengths: Tensor | None = None,
) -> float:
    """`Held.moved` for a single other input."""
    return ReferenceOutput(backbone, x, lengths).moved(other, part)


def check_output(backbone: Backbone, x: Tensor) -> Tensor:
    """The output for x, (B, T, D), or Broken where it is not of the form that it must have."""
    returned = backbone(x)
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Tensor)):
        raise CheckFailed(
            f"forward returned {type(returned).__name__} and not a pair of output and state"
        )
    mixed, after = returned
    if mixed.shape != x.shape:
        raise CheckFailed(
            f"its output has the wrong shape: {tuple(mixed.shape)} for an input of {tuple(x.shape)}"
        )
    if mixed.dtype != x.dtype:
        raise CheckFailed(
            f"its output has the wrong dtype: {mixed.dtype} for an input of {x.dtype}"
        )
    if not bool(mixed.isfinite().all()):
        raise CheckFailed("its output is not finite for a random input")
    if after is not None:
        raise CheckFailed("it returned a state although none was given: return None then")
    return mixed


def replace_each_token(x: Tensor, other: Tensor) -> Iterator[tuple[int, Tensor, str]]:
    """x with one token after the other taken from `other`: its position, what came of x, (B, T, D), and words for it."""
    for position in range(1, x.shape[1]):
        changed = x.clone()
        changed[:, position] = other[:, position]
        yield position, changed, f"another token at position {position}"


def replace_suffixes(
    x: Tensor, other: Tensor, positions: Iterable[int]
) -> Iterator[tuple[int, Tensor, str]]:
    """x with all tokens from a position on taken from `other`: whatever looks across that border sees them."""
    for position in positions:
        yield (
            position,
            torch.cat([x[:, :position], other[:, position:]], dim=1),
            f"other tokens from position {position} on",
        )


def check_causal(backbone: Backbone, x: Tensor, changes: Iterable[tuple[int, Tensor, str]]) -> None:
    """Broken where a position before a changed one moves, although the architecture says `causal`."""
    held = ReferenceOutput(backbone, x)
    for position, changed, words in changes:
        distance = held.moved(changed, (slice(None), slice(0, position)))
        if distance:
            raise CheckFailed(
                f"it looks ahead while it says causal: {words} moved outputs before it by up to {distance:.2g}"
            )


def gradient_leaves(output: Tensor) -> list[Tensor]:
    """The tensors that take gradients and that an output was made from."""
    found: dict[int, Tensor] = {}
    seen: set[Any] = set()
    ahead: list[Any] = [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        ahead += [following for following, _ in node.next_functions]
    return list(found.values())


def contract_loss(model: LanguageModel, tokens: Tensor) -> Tensor:
    """Nats a token: the next one for a causal model; for an encoder every second one, hidden."""
    if model.backbone.causal:
        logits, targets = model(tokens[:, :-1])[0], tokens[:, 1:]
    else:
        hide = torch.arange(tokens.shape[1]) % 2 == 0  # (T,)
        logits, targets = model(tokens.masked_fill(hide, model.mask))[0][:, hide], tokens[:, hide]
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    extra = model.backbone.auxiliary()
    return loss if extra is None else loss + extra


def train_briefly(
    model: LanguageModel,
    batches: list[Tensor],
    steps: int,
    rate: float = 3e-3,
    look: Callable[[float], bool] = lambda _: False,
) -> float:
    """A few plain steps of Adam over the batches in turns; the mean loss over them at last.

    `look` is called with the loss at each gradient, and ends the learning where it returns True.
    """
    adam = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.95), fused=True)
    torch.manual_seed(0)
    for step in range(steps):
        adam.zero_grad()
        loss = contract_loss(model, batches[step % len(batches)])
        loss.backward()
        if look(loss.item()):
            break
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    with torch.no_grad():
        return sum(contract_loss(model, tokens).item() for tokens in batches) / len(batches)


def check_before_training(model: LanguageModel) -> None:
    """Raise CannotBuild where training would be in vain: a wrong shape or precision, no numbers, or a look ahead.

    In training mode, as it is about to run; nothing of the model and no random number of the run is touched.
    """
    name, length = type(model.backbone).__name__, min(model.backbone.context, MAX_PROBE_LENGTH)
    x, other = random_input(model, length), random_input(model, length, seed=1)
    try:
        with preserve_state(model):
            check_output(model.backbone, x)
            if model.backbone.causal:
                positions = sorted({1, length // 3, length // 2 + 1, length - 1} - {0})
                check_causal(model.backbone, x, replace_suffixes(x, other, positions))
    except CheckFailed as error:
        raise ModelBuildError(f"{name}: {error}") from None
    except PLUGIN_ERRORS as error:
        raise ModelBuildError(f"{name}: it raised {describe_error(error)}") from None
