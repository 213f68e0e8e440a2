"""A mixture of experts: the modern decoder with a few of many small feed-forward networks."""

from typing import Any

import torch
from torch import Tensor, nn

from architectures.attention import attention_flops
from architectures.layers import SwiGLU, require_positive
from architectures.transformer import Transformer


class Experts(nn.Module):
    """Token-choice routing without dropping: each token goes to its `chosen` likeliest experts.

    With several chosen their probabilities are normalised to sum to one (as in Mixtral); a single
    one is scaled by its own probability (as in Switch), or the router would learn nothing.
    """

    def __init__(self, width: int, hidden: int, experts: int, chosen: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(SwiGLU(width, hidden) for _ in range(experts))
        self.balance: Tensor | None = None  # of the last forward

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        tokens = x.flatten(0, 1)  # (B, T, D) -> (B·T, D)
        probabilities = self.router(tokens).softmax(dim=-1)  # (B·T, experts)
        weights, choices = probabilities.topk(self.chosen)  # each (B·T, chosen)
        if self.chosen > 1:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        order = choices.flatten().argsort(stable=True)  # (B·T·chosen): expert by expert
        counts = choices.flatten().bincount(minlength=len(self.experts))  # (experts)
        self.balance = len(self.experts) * (counts / counts.sum() * probabilities.mean(dim=0)).sum()
        routed = self._run(tokens.index_select(0, order // self.chosen), counts)
        back = routed.index_select(0, order.argsort()).view(B, T, self.chosen, D)
        return (weights.view(B, T, 1, self.chosen).to(back.dtype) @ back).squeeze(2)  # (B, T, D)

    def _run(self, tokens: Tensor, counts: Tensor) -> Tensor:
        """Apply each expert to its tokens, which follow each other, (B·T·chosen, D)."""
        pieces = zip(self.experts, tokens.split(counts.tolist()), strict=True)
        return torch.cat([expert(piece) for expert, piece in pieces])

    def __getstate__(self) -> dict[str, Any]:
        """Leave the balance out of copies: it belongs to the graph of one forward."""
        return self.__dict__ | {"balance": None}


class MoE(Transformer):
    """Shazeer et al. 2017, arXiv:1701.06538; the balance loss of Switch (arXiv:2101.03961, eq. 4).

    An expert is 1/chosen as wide as the dense feed-forward network, so that a token costs what it
    costs in the dense decoder of this width (finer experts: DeepSeekMoE, arXiv:2401.06066).
    """

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        context: int,
        layers: int = 4,
        heads: int = 4,
        experts: int = 8,
        chosen: int = 2,
        balance: float = 0.01,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context, layers, heads, dropout=dropout)
        if not 1 <= chosen <= experts:
            raise ValueError(f"chosen={chosen} must be between 1 and experts={experts}")
        self.experts, self.chosen, self.balance = experts, chosen, balance
        self.hidden = require_positive("hidden", 8 * width // (3 * chosen))
        for block in self.blocks:
            block.feed = Experts(width, self.hidden, experts, chosen)

    def auxiliary(self) -> Tensor | None:
        """Return `balance` times the mean over layers of E·Σ (choices)·(mean probability).

        Both are shares per expert; the sum is 1 where all experts are used evenly.
        """
        parts = (part.balance for part in self.modules() if isinstance(part, Experts))
        losses = [loss for loss in parts if loss is not None]
        return self.balance * torch.stack(losses).mean() if losses else None

    def active_parameters(self) -> int:
        """Return all parameters but those of the experts that a token is not sent to."""
        idle = (self.experts - self.chosen) * 3 * self.width * self.hidden
        return super().active_parameters() - len(self.blocks) * idle

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: dense attention, router 2·D·E, chosen·(6·D·hidden + 2·D) ≈ 16·D²."""
        attention = attention_flops(self.width, self.heads, length, full_mask)
        experts = 2 * self.width * self.experts + self.chosen * (6 * self.hidden + 2) * self.width
        return len(self.blocks) * (attention + experts)
