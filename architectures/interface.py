"""The one interface of every architecture.

Shapes, in every file: B batch · T time · D width · H heads · K width of a head · N room in a cache · V vocabulary.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

State = Any  # a tree of tensors; only the architecture that made it looks inside


class Unsupported(Exception):
    """Something an architecture cannot do; the message is the reason, as the report prints it."""


class Backbone(nn.Module, ABC):
    """What an architecture is: a way of mixing (B, T, D) over time, between a shared embedding and a shared head.

    The harness gives `width` (D) and `context` (the longest sequence it will train on); every further keyword is a key
    of the architecture's YAML. A width that does not suit (not a multiple of the heads, say) raises ValueError: the
    harness then tries the next one.
    """

    causal: bool  # True: position t is made from positions up to t only

    def __init__(self, width: int, context: int, **options: Any) -> None:
        super().__init__()
        self.width = width
        self.context = context

    @abstractmethod
    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """Mix x, (B, T, D) -> (B, T, D), and return the next state.

        Without a state x is the whole sequence and the returned state is None. With one, x goes on from it, for any T:
        the next state is returned and the given one is spent. `lengths` (B,) counts the real tokens of each row, the
        rest is padding on the right: a causal architecture may ignore it, a bidirectional one must not look at padding.
        """

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        """An empty state for `batch` rows of up to `length` tokens, on the device and in the precision of `like`.

        Raises Unsupported where there is no state to keep.
        """
        raise Unsupported(f"{type(self).__name__} keeps no state: it cannot decode token by token")

    def initialise(self) -> None:
        """Set what the harness's rule for initial values does not suit (a recurrence's decay, say); called after that rule.

        The rule: matrices and kernels normal with deviation 1/(2·√inputs), embeddings 0.02, biases zero, norms one.
        """

    def state_bytes(self, state: State) -> int:
        """Bytes of the tensors in the state. A wrapper of an opaque cache overrides this."""
        tensors = (leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, torch.Tensor))
        return sum(leaf.numel() * leaf.element_size() for leaf in tensors)

    @abstractmethod
    def flops(self, length: int, full_mask: bool = False) -> float:
        """Forward FLOPs a token, the mean over a sequence of `length` tokens, 2 for each multiply-add.

        Matrix products and convolutions only (what an operation counter sees). `full_mask`: attention over the whole
        square, as a counter sees it, instead of the causal half. What is done once for all rows (a filter that is made from
        positions alone) counts as for a batch of one.
        """

    def unchecked_flops(self, length: int) -> float:
        """FLOPs a token that no counter sees (a Fourier transform, a scan, a solve), by formula; they add to `flops`."""
        return 0.0

    def active_parameters(self) -> int:
        """Parameters that one token passes through: all of the backbone's, but for the experts that it is not sent to."""
        return sum(parameter.numel() for parameter in self.parameters())

    def ran_on(self) -> str:
        """What its recurrences ran on last, where there is a choice, for the record; nothing where there is none."""
        return ", ".join(
            sorted({str(module.ran) for module in self.modules() if hasattr(module, "ran")})
        )

    def auxiliary(self) -> Tensor | None:
        """A loss of the last forward that is trained but never reported (the balance of experts, say)."""
        return None
