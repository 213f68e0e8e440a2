"""What is trained and what is scored: from a block of tokens to nats, as sums and counts."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from architectures.interface import Unsupported
from bench.config.schema import ObjectiveConfig
from bench.model.language_model import LanguageModel
from bench.training import cross_entropy


class Batch(NamedTuple):
    """What one forward sees: tokens (B, T), targets (B, T), a weight for each target (B, T), real tokens a row (B,)."""

    tokens: Tensor
    targets: Tensor
    weight: Tensor
    lengths: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """On the device. To a GPU the copies run beside what it computes, for which they leave from locked pages, whole."""
        locked = (
            None if f is None else f.contiguous().pin_memory() if device.type == "cuda" else f
            for f in self
        )
        tokens, targets, weight, lengths = (
            None if f is None else f.to(device, non_blocking=True) for f in locked
        )
        return Batch(tokens, targets, weight, lengths)  # type: ignore[arg-type]  # only lengths may be None

    def split(self, pieces: int) -> list["Batch"]:
        """Micro-batches, cut between rows."""
        if pieces == 1:
            return [self]
        fields = [[None] * pieces if field is None else field.chunk(pieces) for field in self]
        return [Batch(*piece) for piece in zip(*fields, strict=True)]


def split_mask(block: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens of a block (B, T + 1), and the weight of each as a target: one that does not count stands as its complement."""
    return torch.where(block < 0, ~block, block), (block >= 0).float()


class LossSum(NamedTuple):
    """A loss as a sum and a count: they add exactly over micro-batches and ranks, and the mean is taken once, at the end."""

    nats: Tensor
    count: Tensor  # type: ignore[assignment]  # a field, not tuple.count
    auxiliary: Tensor | None = None  # trained, never reported


class Objective(nn.Module, ABC):
    """Holds the model, and is the one door that training, compiling and wrapping go through."""

    kind: ClassVar[str]
    metric: ClassVar[str]  # what its score is called: unlike names never share an axis

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    @property
    def name(self) -> str:
        """What records call it: losses of unlike names never share an axis."""
        return self.kind

    @abstractmethod
    def batch(self, block: Tensor, generator: torch.Generator) -> Batch:
        """What is asked about a block of tokens (B, T + 1)."""

    def token_nats(self, batch: Batch) -> Tensor:
        """The nats of every target, (B, T), in float32."""
        return self._of_targets(batch, cross_entropy.target_nats)

    def token_nats_and_hits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The nats of every target, and whether it is the likeliest token: both (B, T), in float32."""
        hits = []

        def read(logits: Tensor, targets: Tensor) -> Tensor:
            hits.append((logits.argmax(dim=-1) == targets).float())
            return cross_entropy.target_nats(logits, targets)

        return self._of_targets(batch, read), torch.cat(hits).view_as(batch.targets)

    def _of_targets(self, batch: Batch, read: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What is read off the logits of every target, (B, T), a piece at a time."""
        hidden, _ = self.model.hidden(batch.tokens, lengths=batch.lengths)  # (B, T, D)
        rows = cross_entropy.tokens_per_piece(self.model.vocabulary)
        pieces = zip(
            hidden.flatten(0, 1).split(rows), batch.targets.flatten().split(rows), strict=True
        )
        return torch.cat(
            [read(self.model.head(piece), targets) for piece, targets in pieces]
        ).view_as(batch.targets)

    def summed_nats(self, batch: Batch) -> Tensor:
        """Σ weight · nats, to be trained: where all logits would be too many, they are not held."""
        if batch.targets.numel() <= cross_entropy.tokens_per_piece(self.model.vocabulary):
            return (self.token_nats(batch) * batch.weight).sum()
        hidden, _ = self.model.hidden(batch.tokens, lengths=batch.lengths)  # (B, T, D)
        flat = (batch.targets.flatten(), batch.weight.flatten())
        return cross_entropy.weighted_sum(hidden.flatten(0, 1), self.model.head_weight, *flat)

    def forward(self, batch: Batch) -> LossSum:
        """What is trained."""
        return LossSum(self.summed_nats(batch), batch.weight.sum(), self.model.backbone.auxiliary())

    def score(self, batch: Batch) -> LossSum:
        """What is reported."""
        return self(batch)


class Causal(Objective):
    """Each token from the tokens before it."""

    kind = "causal"
    metric = "perplexity"

    def batch(self, block: Tensor, generator: torch.Generator) -> Batch:
        block, weight = split_mask(block)
        return Batch(block[:, :-1], block[:, 1:], weight[:, 1:])


class Masked(Objective):
    """Hidden tokens from all the others.

    Trained on the pooled cross-entropy of the hidden tokens. `score` weighs each window by L/k instead: in expectation an
    upper bound on its negative log-likelihood (Sahoo et al. 2024, Nie et al. 2025), where k is uniform on 1..L.
    """

    kind = "masked"
    metric = "pseudo_perplexity"

    def __init__(self, model: LanguageModel, masking: str = "uniform", rate: float = 0.15) -> None:
        super().__init__(model)
        self.masking, self.rate = masking, rate

    @property
    def name(self) -> str:
        return self.kind if self.masking == "uniform" else f"{self.kind}({self.rate:g})"

    def counts(self, rows: int, length: int, generator: torch.Generator) -> Tensor:
        """How many tokens to hide in each row, (B,): stratified over the rows, so that a batch sees few and many."""
        if self.masking == "fixed":
            return torch.full((rows,), max(1, round(self.rate * length)))
        strata = (
            torch.randperm(rows, generator=generator) + torch.rand(rows, generator=generator)
        ) / rows
        return (strata * length).long().clamp(max=length - 1) + 1

    def batch(self, block: Tensor, generator: torch.Generator) -> Batch:
        block, weight = split_mask(block)
        targets = block[:, 1:]  # the very tokens that a causal model has to predict
        rows, length = targets.shape
        order = (
            torch.rand(rows, length, generator=generator).argsort(dim=1).argsort(dim=1)
        )  # (B, T): a rank for each position
        hidden = order < self.counts(rows, length, generator)[:, None]
        return Batch(targets.masked_fill(hidden, self.model.mask), targets, hidden * weight[:, 1:])

    def bound(self, batch: Batch, asked: int) -> Tensor:
        """(B,): a draw of the any-order bound of each window, where k of the `asked` tokens are hidden: asked/k · Σ nats."""
        return (self.token_nats(batch) * batch.weight).sum(dim=1) * asked / batch.weight.sum(dim=1)

    def score(self, batch: Batch) -> LossSum:
        nats = self.bound(batch, batch.targets.shape[1]).sum()
        return LossSum(nats, torch.full_like(nats, batch.targets.numel()))


def build_objective(options: ObjectiveConfig, model: LanguageModel) -> Objective:
    """The objective asked for, or what the architecture can. Raises Unsupported where they do not suit each other."""
    causal = model.backbone.causal
    kind = ("causal" if causal else "masked") if options.kind == "auto" else options.kind
    if kind == "causal" and not causal:
        raise Unsupported(
            "a bidirectional encoder sees the token it would have to predict: it has no causal objective"
        )
    if kind == "masked" and causal:
        raise Unsupported(
            "a causal model sees only what stands before a hidden token: the masked objective is for encoders"
        )
    if kind == "causal":
        return Causal(model)
    return Masked(model, options.masking, options.rate)
