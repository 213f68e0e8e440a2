"""A mixture of experts: the modern decoder, each token passing through a few of many small feed-forward networks."""

from typing import Any

import torch
from torch import Tensor, nn

from architectures.layers import attention_flops, require_positive
from architectures.transformer import SwiGLU, Transformer


class Experts(nn.Module):
    """Token-choice routing: each token goes to the `chosen` experts that it gives the highest probability, and none is dropped.

    With several chosen their probabilities are made to sum to one (as in Mixtral); a single one is scaled by its own
    probability (as in Switch), or the router would learn nothing from the text.
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
        order = choices.flatten().argsort(
            stable=True
        )  # (B·T·chosen): token after token, expert by expert
        counts = choices.flatten().bincount(minlength=len(self.experts))  # (experts)
        self.balance = len(self.experts) * (counts / counts.sum() * probabilities.mean(dim=0)).sum()
        pieces = tokens.index_select(0, order // self.chosen).split(counts.tolist())
        mixed = torch.cat(
            [expert(piece) for expert, piece in zip(self.experts, pieces, strict=True)]
        )  # (B·T·chosen, D)
        back = mixed.index_select(0, order.argsort()).view(B, T, self.chosen, D)
        return (weights.view(B, T, 1, self.chosen).to(back.dtype) @ back).squeeze(2)  # (B, T, D)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {
            "balance": None
        }  # it hangs on the graph of a forward, which no copy has


class MoE(Transformer):
    """Shazeer et al. 2017, arXiv:1701.06538; the balance loss of Switch (Fedus et al. 2021, arXiv:2101.03961, equation 4).

    An expert is 1/chosen as wide as the dense feed-forward network, so that a token costs what it costs in the dense decoder
    of this width (finer experts: DeepSeekMoE, Dai et al. 2024, arXiv:2401.06066).
    """

    def __init__(
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
        """`balance` times the mean over layers of E·Σ (share of the choices)·(mean probability): 1 where all experts are even."""
        losses = [
            part.balance
            for part in self.modules()
            if isinstance(part, Experts) and part.balance is not None
        ]
        return self.balance * torch.stack(losses).mean() if losses else None

    def active_parameters(self) -> int:
        unused = self.experts - self.chosen
        return (
            super().active_parameters() - len(self.blocks) * unused * 3 * self.width * self.hidden
        )

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: attention as in the dense decoder, 2·D·experts for the router, and chosen·(6·D·hidden + 2·D) ≈ 16·D²."""
        attention = attention_flops(self.width, self.heads, length, full_mask)
        experts = 2 * self.width * self.experts + self.chosen * (6 * self.hidden + 2) * self.width
        return len(self.blocks) * (attention + experts)
