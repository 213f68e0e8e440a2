"""Build the model around a backbone, the same for all: embedding, final norm, tied head."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone, State
from architectures.layers import LightModule, RMSNorm
from bench.config.schema import constructor_options
from bench.model.plugin import (
    PLUGIN_ERRORS,
    ModelBuildError,
    backbone_class,
    build_error,
    refuse_changes,
)

EMBEDDING_STD = 0.02
MATRIX_GAIN = 0.5  # 1: attention without query and key norms trains badly at a high learning rate


class LanguageModel(LightModule):
    """Map token ids (B, T) to logits (B, T, V).

    The last row of the embedding is the mask token: it can be an input, never a prediction.
    """

    def __init__(self, backbone: Backbone, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, backbone.width)
        self.backbone = backbone
        self.norm = RMSNorm(backbone.width)

    @property
    def mask(self) -> int:
        """Return the id of the mask token."""
        return self.vocabulary

    def hidden(
        self, tokens: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """Return the input of the head, (B, T) -> (B, T, D), and the next state."""
        mixed, state = self.backbone(torch.embedding(self.embedding.weight, tokens), state, lengths)
        return self.norm(mixed), state

    @property
    def head_weight(self) -> Tensor:
        """Return the embedding without the row of the mask token, (V, D)."""
        return self.embedding.weight.narrow(0, 0, self.vocabulary)

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits, (…, D) -> (…, V)."""
        return functional.linear(hidden, self.head_weight)

    def forward(
        self, tokens: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """Return logits, (B, T) -> (B, T, V), and the next state."""
        hidden, state = self.hidden(tokens, state, lengths)
        # the full table, then a view: autocast would copy a view of the table for every token
        logits = functional.linear(hidden, self.embedding.weight)
        return logits.narrow(-1, 0, self.vocabulary), state

    def next_logits(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Return the logits after the last token, (B, T) -> (B, V), and the next state."""
        hidden, state = self.hidden(tokens, state)
        return self.head(hidden[:, -1]), state

    def init_state(self, batch: int, length: int) -> State:
        """Return an empty state for `length` tokens. Raise Unsupported where there is none."""
        return self.backbone.init_state(batch, length, self.embedding.weight)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Return forward FLOPs per token: the backbone's, and 2·D·V for the head.

        A training step costs three times as much. Raise ModelBuildError for no finite number from
        zero on.
        """
        mixing = self.backbone.flops(length, full_mask) + self.backbone.unchecked_flops(length)
        if not 0 <= mixing < math.inf:
            name = type(self.backbone).__name__
            raise ModelBuildError(f"{name}.flops returns {mixing}: it must be finite, from 0 on")
        return mixing + 2 * self.backbone.width * self.vocabulary


@torch.no_grad()
def initialise(model: LanguageModel) -> None:
    """Draw initial values by one rule, then let the backbone set what the rule does not suit.

    Matrices and kernels: normal with deviation 1 / (2·√inputs). Embeddings: 0.02. Biases: zero.
    Other vectors (weights of norms) stay as their constructor made them.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, parameter in model.named_parameters():
        if id(parameter) in tables:
            parameter.normal_(0.0, EMBEDDING_STD)
        elif parameter.dim() >= 2:
            parameter.normal_(0.0, MATRIX_GAIN / math.sqrt(parameter[0].numel()))
        elif "bias" in name.rpartition(".")[2]:
            parameter.zero_()
    model.backbone.initialise()


def build_model(
    arch: Mapping[str, Any],
    width: int,
    context: int,
    vocabulary: int,
    seed: int,
    device: str | torch.device = "cpu",
) -> LanguageModel:
    """Return a model whose initial values depend on the seed alone: drawn on the CPU, then moved.

    Raise ModelBuildError where the constructor fails.
    """
    backbone = backbone_class(arch)
    with refuse_changes(backbone.__name__, generators=True), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = LanguageModel(backbone(width, context, **constructor_options(arch)), vocabulary)
            initialise(model)
            model.flops(context)
        except ModelBuildError:
            raise
        except PLUGIN_ERRORS as error:
            raise build_error(backbone, width, error) from None
        _check_initial_values(model, seed)
    return model.to(device)


def _check_initial_values(model: LanguageModel, seed: int) -> None:
    """Raise ModelBuildError for a seed that is not the run's, or parameters in another precision.

    The harness trains float32 parameters, and records the precision of products.
    """
    name = type(model.backbone).__name__
    if torch.initial_seed() != seed:
        message = f"{name} seeds torch's generator: its initial values would ignore the run's seed"
        raise ModelBuildError(f"{message}; draw from the generator as it is", "changes-process")
    for key, parameter in model.named_parameters():
        if parameter.dtype != torch.float32:
            raise ModelBuildError(
                f"{name} has a parameter of another precision: {key} is {parameter.dtype}, "
                "parameters are torch.float32",
            )
