"""Probe a model: what changes with its input, what it is made from, whether it learns."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from architectures.interface import Backbone
from bench.model import LanguageModel


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
    if torch.initial_seed() != 0:
        message = (
            "forward seeds torch's generator: what is random after it would always be the same"
        )
        raise CheckFailed(message, "seeds-generator")
    return output


def max_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference of two tensors."""
    return (a - b).abs().max().item()


class Float64Watch(TorchDispatchMode):
    """Note the first operation that makes a float64 tensor as large as `size`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.operation = size, ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and look at its first result."""
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, tuple | list) and result else result
        wide = isinstance(first, Tensor) and first.dtype == torch.float64
        if wide and first.numel() >= self.size:
            self.operation = self.operation or str(func)
        return result


def check_output(backbone: Backbone, x: Tensor) -> Tensor:
    """Return the output for x, both (B, T, D). Raise CheckFailed where it is malformed."""
    with Float64Watch(x.numel()) as watch:
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
    if watch.operation:
        message = f"it computes in float64 ({watch.operation}), and is recorded as float32"
        raise CheckFailed(message, "wrong-precision")
    if not bool(output.isfinite().all()):
        raise CheckFailed("the output is not finite for a random input", "not-finite")
    if state is not None:
        message = "forward returned a state although none was given: return None"
        raise CheckFailed(message, "unexpected-state")
    return output


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
