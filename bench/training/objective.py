"""State what is trained and scored: from a block of tokens to summed nats and their count."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from architectures.interface import Unsupported
from bench.config.schema import ObjectiveConfig
from bench.model import LanguageModel
from bench.training import cross_entropy


class Batch(NamedTuple):
    """The input of one forward pass. B rows of T tokens; `lengths`: tokens that are not padding."""

    tokens: Tensor  # (B, T)
    targets: Tensor  # (B, T), or (B,) where a row has one
    weight: Tensor  # of each target
    lengths: Tensor | None = None  # (B,)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; copies to a GPU are asynchronous, from pinned memory."""
        pinned = (
            x if x is None or device.type != "cuda" else x.contiguous().pin_memory() for x in self
        )
        moved = (x if x is None else x.to(device, non_blocking=True) for x in pinned)
        return Batch(*moved)  # type: ignore[arg-type]  # only lengths may be None

    def split(self, pieces: int) -> list["Batch"]:
        """Return micro-batches: the rows in so many pieces."""
        if pieces == 1:
            return [self]
        fields = [[None] * pieces if field is None else field.chunk(pieces) for field in self]
        return [Batch(*piece) for piece in zip(*fields, strict=True)]


def target_weights(targets: Tensor, loss_mask: Tensor | None) -> Tensor:
    """Return 1 for each target (B, T) with a loss, else 0, of a mask (B, T + 1)."""
    if loss_mask is None:
        return torch.ones(targets.shape, device=targets.device)
    return loss_mask[:, 1:].float()


class LossSum(NamedTuple):
    """A loss as sum and count: they add exactly over micro-batches and ranks."""

    nats: Tensor
    count: Tensor  # type: ignore[assignment]  # a field, not tuple.count
    auxiliary: Tensor | None = None  # trained, never reported


class Trainable(nn.Module, ABC):
    """Turn blocks into batches and a batch into its loss: what the training loop trains."""

    @abstractmethod
    def batch_of(self, block: Any, generator: torch.Generator) -> Batch:
        """Return inputs and targets of a block; what is drawn comes from the generator."""

    @abstractmethod
    def forward(self, batch: Batch) -> LossSum:
        """Return the loss to train."""


class Objective(Trainable):
    """Hold the model; the module that training, torch.compile, DDP and FSDP2 wrap."""

    kind: ClassVar[str]
    metric: ClassVar[str]  # the name of its score

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    @property
    def name(self) -> str:
        """Return the name in records: losses of different names are never compared."""
        return self.kind

    @abstractmethod
    def batch(
        self, tokens: Tensor, generator: torch.Generator, loss_mask: Tensor | None = None
    ) -> Batch:
        """Return inputs and targets of tokens (B, T + 1); `loss_mask`: which are targets."""

    def batch_of(self, block: Any, generator: torch.Generator) -> Batch:
        """Return inputs and targets of a TokenBlock."""
        mask = None if block.loss_mask is None else torch.from_numpy(block.loss_mask)
        return self.batch(torch.from_numpy(block.tokens), generator, mask)

    def token_nats(self, batch: Batch) -> Tensor:
        """Return the nats of every target, (B, T), in float32."""
        return self._map_logits(batch, cross_entropy.logits_nats)

    def token_nats_and_hits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the nats of every target, and 1 where it is the top prediction, (B, T) float32."""
        hits = []

        def nats_of(logits: Tensor, targets: Tensor) -> Tensor:
            hits.append((logits.argmax(dim=-1) == targets).float())
            return cross_entropy.logits_nats(logits, targets)

        return self._map_logits(batch, nats_of), torch.cat(hits).view_as(batch.targets)

    def _map_logits(self, batch: Batch, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Apply a function of logits and targets to every target, piece by piece: (B, T)."""
        hidden, _ = self.model.hidden(batch.tokens, lengths=batch.lengths)  # (B, T, D)
        rows = cross_entropy.tokens_per_piece(self.model.vocabulary)
        targets = batch.targets.flatten().split(rows)
        pieces = zip(hidden.flatten(0, 1).split(rows), targets, strict=True)
        values = [function(self.model.head(piece), target) for piece, target in pieces]
        return torch.cat(values).view_as(batch.targets)

    def summed_nats(self, batch: Batch) -> Tensor:
        """Return Σ weight · nats for training; a large vocabulary is done in pieces."""
        if batch.targets.numel() <= cross_entropy.tokens_per_piece(self.model.vocabulary):
            return (self.token_nats(batch) * batch.weight).sum()
        hidden, _ = self.model.hidden(batch.tokens, lengths=batch.lengths)  # (B, T, D)
        flat = (batch.targets.flatten(), batch.weight.flatten())
        return cross_entropy.weighted_sum(hidden.flatten(0, 1), self.model.head_weight, *flat)

    def forward(self, batch: Batch) -> LossSum:
        """Return the loss to train."""
        return LossSum(self.summed_nats(batch), batch.weight.sum(), self.model.backbone.auxiliary())

    def score(self, batch: Batch) -> LossSum:
        """Return the loss to report."""
        return self(batch)


class Causal(Objective):
    """Predict each token from the tokens before it."""

    kind = "causal"
    metric = "perplexity"

    def batch(
        self, tokens: Tensor, generator: torch.Generator, loss_mask: Tensor | None = None
    ) -> Batch:
        """Return tokens 0 … T - 1 as inputs, 1 … T as targets."""
        targets = tokens[:, 1:]
        return Batch(tokens[:, :-1], targets, target_weights(targets, loss_mask))


class Masked(Objective):
    """Predict masked tokens from all the others.

    Trained on the pooled cross-entropy of the masked tokens. `score` weighs each window by L/k: in
    expectation an upper bound on its negative log-likelihood (Sahoo et al. 2024, Nie et al. 2025)
    where the number k of masks is uniform on 1 … L.
    """

    kind = "masked"
    metric = "pseudo_perplexity"

    def __init__(self, model: LanguageModel, masking: str = "uniform", rate: float = 0.15) -> None:
        super().__init__(model)
        self.masking, self.rate = masking, rate

    @property
    def name(self) -> str:
        """Return the kind, with the rate of a fixed masking."""
        return self.kind if self.masking == "uniform" else f"{self.kind}({self.rate:g})"

    def counts(self, rows: int, length: int, generator: torch.Generator) -> Tensor:
        """Return how many tokens to mask in each row, (B,), stratified over the rows."""
        if self.masking == "fixed":
            return torch.full((rows,), max(1, round(self.rate * length)))
        order = torch.randperm(rows, generator=generator)
        strata = (order + torch.rand(rows, generator=generator)) / rows
        return (strata * length).long().clamp(max=length - 1) + 1

    def batch(
        self, tokens: Tensor, generator: torch.Generator, loss_mask: Tensor | None = None
    ) -> Batch:
        """Return tokens 1 … T with random masks; targets are those of the causal objective."""
        targets = tokens[:, 1:]
        rows, length = targets.shape
        noise = torch.rand(rows, length, generator=generator)
        ranks = noise.argsort(dim=1).argsort(dim=1)  # (B, T)
        masked = ranks < self.counts(rows, length, generator)[:, None]
        inputs = targets.masked_fill(masked, self.model.mask)
        return Batch(inputs, targets, masked * target_weights(targets, loss_mask))

    def bound(self, batch: Batch, length: int) -> Tensor:
        """Return a draw of each window's any-order bound, (B,): length / masks · Σ nats."""
        nats = (self.token_nats(batch) * batch.weight).sum(dim=1)
        return nats * length / batch.weight.sum(dim=1)

    def score(self, batch: Batch) -> LossSum:
        """Return the summed bounds of the windows."""
        nats = self.bound(batch, batch.targets.shape[1]).sum()
        return LossSum(nats, torch.full_like(nats, batch.targets.numel()))


def build_objective(options: ObjectiveConfig, model: LanguageModel) -> Objective:
    """Return the objective of the options; `auto` takes the one that the architecture supports.

    Raise Unsupported where the objective does not suit the architecture.
    """
    causal = model.backbone.causal
    kind = ("causal" if causal else "masked") if options.kind == "auto" else options.kind
    if kind == "causal" and not causal:
        raise Unsupported(
            "a bidirectional encoder sees the token it would have to predict: "
            "it has no causal objective"
        )
    if kind == "masked" and causal:
        raise Unsupported(
            "a causal model sees only what precedes a masked token: "
            "the masked objective is for encoders"
        )
    return Causal(model) if kind == "causal" else Masked(model, options.masking, options.rate)
