"""Probe a model: what changes with its input, what it is made from, whether it learns."""

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
from bench.model import (
    PLUGIN_ERRORS,
    LanguageModel,
    ModelBuildError,
    describe_error,
    refuse_changes,
)

MAX_PROBE_LENGTH = 1024  # tokens of the check before training, where the context is longer
# float64 may differ by this where a Fourier transform or a routing mixes rounding errors
FLOAT64_TOLERANCE = 1e-9
Part = tuple[slice, ...]  # of an output (B, T, D)
Change = tuple[int, Tensor, str]  # first changed position, changed input (B, T, D), description


class CheckFailed(Exception):
    """Say what was observed instead of what a check expects; `code` names the reason."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def random_input(model: LanguageModel, length: int, seed: int = 0, batch: int = 2) -> Tensor:
    """Draw a random input (B, T, D) of the backbone.

    A constant change could be hidden by a norm; a random one cannot.
    """
    table, generator = model.embedding.weight, torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, model.backbone.width, generator=generator)
    return x.to(table.device, table.dtype)


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Restore the buffers of a model and the state of the random generators; no gradients."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        yield
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])


@contextmanager
def countable_kernels() -> Iterator[None]:
    """Use kernels that a FLOP counter sees: unfused attention, recurrent cells without oneDNN."""
    library: Any = torch.backends.mkldnn
    before, library.enabled = library.enabled, False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        library.enabled = before


def seeded_output(backbone: Backbone, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the output (B, T, D) of a backbone, with the same random numbers in every call."""
    torch.manual_seed(0)
    output: Tensor = backbone(x, None, lengths)[0]
    return output


def max_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference of two tensors."""
    return (a - b).abs().max().item()


class ReferenceOutput:
    """Compare the output for one input with the outputs for others.

    In float32 first; where those differ, in float64, which tells rounding from a dependency.
    """

    def __init__(self, backbone: Backbone, x: Tensor, lengths: Tensor | None = None) -> None:
        self.backbone, self.x, self.lengths = backbone, x, lengths
        self.output = seeded_output(backbone, x, lengths)

    @cached_property
    def float64(self) -> tuple[Backbone, Tensor]:
        """Return the backbone and its output in float64.

        Raises CheckFailed where the same input gives another output.
        """
        if not torch.equal(self.output, seeded_output(self.backbone, self.x, self.lengths)):
            message = "random numbers ignore the seed: the same input gave another output"
            raise CheckFailed(message, "unseeded-randomness")
        double = copy.deepcopy(self.backbone).double()
        return double, seeded_output(double, self.x.double(), self.lengths)

    def change(self, other: Tensor, part: Part) -> float:
        """Return by how much a part of the output changes when x becomes `other`.

        0 where it is equal bit for bit, or differs by rounding of float64 only.
        """
        if torch.equal(self.output[part], seeded_output(self.backbone, other, self.lengths)[part]):
            return 0.0
        double, output = self.float64
        changed = seeded_output(double, other.double(), self.lengths)
        distance = max_difference(output[part], changed[part])
        return 0.0 if distance <= FLOAT64_TOLERANCE else distance


def check_output(backbone: Backbone, x: Tensor) -> Tensor:
    """Return the output for x, both (B, T, D). Raise CheckFailed where it is malformed."""
    returned = backbone(x)
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Tensor)):
        message = f"forward returned {type(returned).__name__}, not a pair (output, state)"
        raise CheckFailed(message, "wrong-type")
    output, state = returned
    if output.shape != x.shape:
        shapes = f"{tuple(output.shape)} for an input of {tuple(x.shape)}"
        raise CheckFailed(f"the output has the wrong shape: {shapes}", "wrong-shape")
    if output.dtype != x.dtype:
        message = f"the output has the wrong dtype: {output.dtype} for an input of {x.dtype}"
        raise CheckFailed(message, "wrong-dtype")
    if not bool(output.isfinite().all()):
        raise CheckFailed("the output is not finite for a random input", "not-finite")
    if state is not None:
        message = "forward returned a state although none was given: return None"
        raise CheckFailed(message, "unexpected-state")
    return output


def replace_each_token(x: Tensor, other: Tensor) -> Iterator[Change]:
    """Yield x with one token at a time replaced by that of `other`."""
    for position in range(1, x.shape[1]):
        changed = x.clone()
        changed[:, position] = other[:, position]
        yield position, changed, f"another token at position {position}"


def replace_suffixes(x: Tensor, other: Tensor, positions: Iterable[int]) -> Iterator[Change]:
    """Yield x with all tokens from each position on replaced by those of `other`."""
    for position in positions:
        changed = torch.cat([x[:, :position], other[:, position:]], dim=1)
        yield position, changed, f"other tokens from position {position} on"


def check_causal(backbone: Backbone, x: Tensor, changes: Iterable[Change]) -> None:
    """Raise CheckFailed where the output before a changed position changes."""
    reference = ReferenceOutput(backbone, x)
    for position, changed, description in changes:
        distance = reference.change(changed, (slice(None), slice(0, position)))
        if distance:
            raise CheckFailed(
                f"it declares causal = True but looks ahead: {description} changed earlier outputs "
                f"by up to {distance:.2g}",
                "looks-ahead",
            )


def gradient_leaves(output: Tensor) -> list[Tensor]:
    """Return the tensors with gradients from which an output was computed."""
    leaves: dict[int, Tensor] = {}
    seen: set[Any] = set()
    queue: list[Any] = [output.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves[id(node.variable)] = node.variable
        queue += [following for following, _ in node.next_functions]
    return list(leaves.values())


def contract_loss(model: LanguageModel, tokens: Tensor) -> Tensor:
    """Return nats per token: of the next one if causal, else of every second one, masked."""
    if model.backbone.causal:
        logits, targets = model(tokens[:, :-1])[0], tokens[:, 1:]
    else:
        hide = torch.arange(tokens.shape[1]) % 2 == 0  # (T,)
        logits, targets = model(tokens.masked_fill(hide, model.mask))[0][:, hide], tokens[:, hide]
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    auxiliary = model.backbone.auxiliary()
    return loss if auxiliary is None else loss + auxiliary


def train_briefly(
    model: LanguageModel,
    batches: list[Tensor],
    steps: int,
    rate: float = 3e-3,
    stop: Callable[[float], bool] = lambda _: False,
) -> float:
    """Train with Adam over the batches in turn; return their mean loss at the end.

    `stop` gets the loss once the gradients are there, and ends the training where it returns True.
    """
    adam = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.95), fused=True)
    torch.manual_seed(0)
    for step in range(steps):
        adam.zero_grad()
        loss = contract_loss(model, batches[step % len(batches)])
        loss.backward()
        if stop(loss.item()):
            break
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    with torch.no_grad():
        return sum(contract_loss(model, tokens).item() for tokens in batches) / len(batches)


def check_before_training(model: LanguageModel) -> None:
    """Raise ModelBuildError for a malformed output, or one that looks ahead.

    The model is left in training mode, and it and the random generators are unchanged.
    """
    name, length = type(model.backbone).__name__, min(model.backbone.context, MAX_PROBE_LENGTH)
    x, other = random_input(model, length), random_input(model, length, seed=1)
    try:
        with refuse_changes(name, generators=True), preserve_state(model):
            check_output(model.backbone, x)
            if model.backbone.causal:
                positions = sorted({1, length // 3, length // 2 + 1, length - 1} - {0})
                check_causal(model.backbone, x, replace_suffixes(x, other, positions))
    except ModelBuildError:
        raise
    except CheckFailed as error:
        raise ModelBuildError(f"{name}: {error}") from None
    except PLUGIN_ERRORS as error:
        raise ModelBuildError(f"{name}: it raised {describe_error(error)}") from None
