"""Define the one interface of every architecture.

Shapes, in every file: B batch · T time · D width · H heads · K head width · N cache room ·
V vocabulary.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

State = Any  # a tree of tensors; only the architecture that made it reads it


class Unsupported(Exception):
    """Something an architecture cannot do; the message is the reason that the report prints."""


class TransformersForm(NamedTuple):
    """The model of `transformers` that computes the same, without embedding, final norm and head.

    It ties the head to the embedding and has a final RMSNorm, as the harness does.
    """

    config: dict[str, Any]  # `model_type` and its keys, without the vocabulary
    weights: dict[str, Tensor]
    embedding: str  # the name of its token embedding
    norm: str  # the name of its final norm


class PretrainedModel(NamedTuple):
    """A causal model that was trained elsewhere, with its own embedding and head."""

    logits: nn.Module  # token ids (B, T) -> logits (B, T, V)
    vocabulary: int  # V
    start: int  # the token that precedes a text
    context: int  # of its longest sequence; 0: no limit is known


class Backbone(nn.Module, ABC):
    """A way of mixing (B, T, D) over time, between a shared embedding and a shared head.

    The harness gives `width` (D) and `context`, the longest sequence to train on; every further
    keyword is a key of the architecture's YAML. A width that does not suit (not a multiple of the
    heads, say) raises ValueError: the harness then tries the next one.

    Optimizers treat parameters by kind: matrices are weights of `nn.Linear` and recurrent cells,
    tables of `nn.Embedding`; of the others, those of one axis are vectors (no weight decay), and
    the rest kernels (not for Muon). Where that is wrong, the module that holds a parameter declares
    it, as in `parameter_kinds = {"gates": "matrix"}`; the last two axes are then the matrix.
    """

    causal: bool  # True: the output at t depends on inputs up to t only

    def __init__(self, width: int, context: int, **options: Any) -> None:
        super().__init__()
        self.width = width
        self.context = context

    @abstractmethod
    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """Mix x, (B, T, D) -> (B, T, D), and return the next state.

        Without a state x is the full sequence, and the returned state is None. With one, x
        continues it, for any T; the given state must not be used again. `lengths` (B,) counts the
        real tokens of each row, the rest is padding on the right: a causal architecture may ignore
        it, a bidirectional one must not read padding.
        """

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        """Return an empty state for `batch` rows of up to `length` tokens.

        It has the device and precision of `like`. Raise Unsupported where there is no state.
        """
        if not self.causal:
            raise Unsupported(
                "an encoder reads the full text at once: a new token changes the outputs of "
                "earlier ones"
            )
        raise Unsupported(f"{type(self).__name__} keeps no state: it cannot decode token by token")

    def initialise(self) -> None:
        """Set what the harness's rule for initial values does not suit; called after that rule.

        The rule: matrices and kernels normal with deviation 1 / (2·√inputs), embeddings 0.02,
        biases zero, norms one.
        """

    def state_bytes(self, state: State) -> int:
        """Return the bytes of the tensors in a state; override it for an opaque cache."""
        tensors = (leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, torch.Tensor))
        return sum(leaf.numel() * leaf.element_size() for leaf in tensors)

    @abstractmethod
    def flops(self, length: int, full_mask: bool = False) -> float:
        """Return forward FLOPs per token, the mean over `length` tokens, 2 per multiply-add.

        Counted are matrix products and convolutions (what an operation counter sees). `full_mask`:
        attention over the full square, as a counter sees it, instead of the causal half. What is
        done once for all rows (a filter made from positions, say) counts as for a batch of one.
        """

    def unchecked_flops(self, length: int) -> float:
        """Return FLOPs per token that no counter sees (FFT, scan, solve); they add to `flops`."""
        return 0.0

    def active_parameters(self) -> int:
        """Return the parameters that one token passes through: all but those of idle experts."""
        return sum(parameter.numel() for parameter in self.parameters())

    def ran_on(self) -> str:
        """Return which kernels its recurrences used last; empty where there is no choice."""
        return ", ".join(
            sorted({str(module.ran) for module in self.modules() if hasattr(module, "ran")})
        )

    def attention_weights(self, x: Tensor) -> list[Tensor]:
        """Return the attention weights of the last token of x, (B, T, D), over all tokens.

        One (B, H, T) per attention layer, in order; empty where there is no attention. A layer
        takes part by a method `last_weights` with the arguments of its `forward`.
        """
        weights: list[Tensor] = []

        def record(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            weights.append(layer.last_weights(*given, **named))  # type: ignore[operator]

        layers = [module for module in self.modules() if hasattr(module, "last_weights")]
        hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
        try:
            if hooks:
                self(x)
        finally:
            for hook in hooks:
                hook.remove()
        return weights

    def transformers_form(self) -> TransformersForm:
        """Return the equal model of `transformers`. Raise Unsupported where there is none."""
        raise Unsupported(f"no model of transformers computes the same as {type(self).__name__}")

    @classmethod
    def read_pretrained(cls, folder: Path) -> PretrainedModel:
        """Return the model of `arch.pretrained`, a folder with its weights and tokenizer.json.

        Raise Unsupported, with the reason, where it cannot be scored.
        """
        raise Unsupported(f"{cls.__name__} reads no checkpoints")

    def auxiliary(self) -> Tensor | None:
        """Return a loss of the last forward that is trained but never reported, if any."""
        return None
