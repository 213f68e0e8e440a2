"""State what is fine-tuned: a label from pooled hidden states, or an answer to an input."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.config.schema import Run
from bench.model import LanguageModel
from bench.tasks.finetuning.batches import ExampleBlock
from bench.training import Batch, Causal, LossSum, Masked, Trainable


def pool_hidden(hidden: Tensor, lengths: Tensor, kind: str) -> Tensor:
    """Return one vector per row, (B, T, D) -> (B, D), from its first `lengths` (B,) positions.

    Never from a token's number: a padding token may be a token of the text as well.
    """
    if kind == "first":
        return hidden[:, 0]
    if kind == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    padding = torch.arange(hidden.shape[1], device=hidden.device) >= lengths[:, None]  # (B, T)
    if kind == "max":
        return hidden.masked_fill(padding[..., None], -torch.inf).amax(dim=1)
    return hidden.masked_fill(padding[..., None], 0.0).sum(dim=1) / lengths[:, None]


class Classifier(Trainable):
    """Predict a label: pooled hidden states, and a linear head of zeros at first.

    With zeros the first loss is the logarithm of the number of labels for every architecture, and
    no draw of a head adds to the variance.
    """

    name = "classification"

    def __init__(
        self, model: LanguageModel, labels: int, pool: str = "mean", frozen: bool = False
    ) -> None:
        super().__init__()
        self.model, self.pool, self.frozen = model, pool, frozen
        self.head = nn.Linear(model.backbone.width, labels, device=model.embedding.weight.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.model.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode; a frozen model stays in evaluation."""
        super().train(mode)
        self.model.train(mode and not self.frozen)
        return self

    def batch_of(self, block: ExampleBlock, generator: torch.Generator) -> Batch:
        """Return tokens (B, T), labels (B,) as targets, and a weight of 1 for each."""
        labels = torch.from_numpy(block.labels)
        tokens, lengths = torch.from_numpy(block.tokens), torch.from_numpy(block.lengths)
        return Batch(tokens, labels, torch.ones(len(labels)), lengths)

    def logits(self, batch: Batch) -> Tensor:
        """Return the logits of the labels, (B, labels), in float32."""
        hidden, _ = self.model.hidden(batch.tokens, lengths=batch.lengths)  # (B, T, D)
        assert batch.lengths is not None
        return self.head(pool_hidden(hidden, batch.lengths, self.pool)).float()

    def forward(self, batch: Batch) -> LossSum:
        """Return the summed cross-entropy of the labels."""
        nats = functional.cross_entropy(self.logits(batch), batch.targets, reduction="none")
        auxiliary = None if self.frozen else self.model.backbone.auxiliary()
        return LossSum((nats * batch.weight).sum(), batch.weight.sum(), auxiliary)


class CausalAnswer(Causal):
    """Predict each token of an answer from the input and the answer before it."""

    def batch_of(self, block: Any, generator: torch.Generator) -> Batch:
        """Return inputs and targets; the tokens of the answer, its end included, have a loss."""
        tokens = torch.from_numpy(block.tokens)
        return self.batch(tokens, generator, answer_mask(block))


class MaskedAnswer(Masked):
    """Predict hidden tokens of an answer from the input and the others.

    The answer fills a room of fixed length with separators behind its end, so that the number of
    places tells nothing of its length. 1 … `room` of them, equally likely, are hidden.
    """

    def __init__(self, model: LanguageModel, room: int, separator: int) -> None:
        super().__init__(model)
        self.room, self.separator = room, separator

    def batch_of(self, block: Any, generator: torch.Generator) -> Batch:
        """Return inputs with hidden places, the tokens as targets, and a weight for hidden ones."""
        tokens, places, lengths = self.fill_room(block)
        rows = len(tokens)
        noise = torch.rand(tokens.shape, generator=generator).masked_fill(~places, torch.inf)
        ranks = noise.argsort(dim=1).argsort(dim=1)  # (B, T): places of the room first
        hidden = (ranks < self.counts(rows, self.room, generator)[:, None]) & places
        return Batch(tokens.masked_fill(hidden, self.model.mask), tokens, hidden.float(), lengths)

    def fill_room(self, block: ExampleBlock) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens (B, T), which of them are the room (B, T), and lengths (B,)."""
        inputs = torch.from_numpy(block.inputs)[:, None]
        lengths, ends = inputs[:, 0] + self.room, torch.from_numpy(block.lengths)[:, None]
        position = torch.arange(int(lengths.max()))[None]
        missing = max(0, position.shape[1] - block.tokens.shape[1])
        tokens = functional.pad(torch.from_numpy(block.tokens), (0, missing))
        tokens = tokens[:, : position.shape[1]]
        places = (position >= inputs) & (position < inputs + self.room)
        return tokens.masked_fill(places & (position >= ends), self.separator), places, lengths


def answer_mask(block: ExampleBlock) -> Tensor:
    """Return which tokens (B, T) belong to the answer."""
    position = torch.arange(block.tokens.shape[1])[None]
    inputs, lengths = torch.from_numpy(block.inputs), torch.from_numpy(block.lengths)
    return (position >= inputs[:, None]) & (position < lengths[:, None])


def build_task_objective(
    run: Run, model: LanguageModel, labels: int, separator: int
) -> Classifier | CausalAnswer | MaskedAnswer:
    """Return the module that a task trains around a model."""
    if run.task.kind == "classification":
        return Classifier(model, labels, run.task.pool, run.task.frozen)
    if model.backbone.causal:
        return CausalAnswer(model)
    return MaskedAnswer(model, run.task.room, separator)
