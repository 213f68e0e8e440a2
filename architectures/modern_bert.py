"""ModernBERT: an encoder of a modern decoder's parts, most layers of which attend locally."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.attention import Attention, attention_flops, head_width, rotary
from architectures.interface import Backbone, State, TransformersForm, Unsupported
from architectures.layers import require_positive

GLOBAL_BASE, LOCAL_BASE = 160_000.0, 10_000.0  # of the rotary positions


class ModernBertBlock(nn.Module):
    """Attention, then a gated GELU (Shazeer 2020, arXiv:2002.05202), each behind a norm."""

    def __init__(self, width: int, heads: int, hidden: int, first: bool, dropout: float) -> None:
        super().__init__()
        # the input of the first block is normed already
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, heads, causal=False, dropout=dropout)
        self.feed_norm = nn.LayerNorm(width, bias=False)
        self.feed_in = nn.Linear(width, 2 * hidden, bias=False)
        self.feed_out = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation=rotation, mask=mask))
        value, gate = self.feed_in(self.feed_norm(x)).chunk(2, dim=-1)  # two of (B, T, hidden)
        return x + self.dropout(self.feed_out(functional.gelu(value) * gate))  # (B, T, D)


class ModernBert(Backbone):
    """Warner et al. 2024, arXiv:2412.13663.

    Every `every`-th layer, beginning with the first, attends to the full text; the others to
    `local` // 2 tokens on either side. The feed-forward network is 1.5·D wide, as in the paper.
    """

    causal = False

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        context: int,
        layers: int = 4,
        heads: int = 4,
        local: int = 32,
        every: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        self.heads, self.every = heads, require_positive("every", every)
        self.reach = require_positive("local", local) // 2
        self.hidden = max(1, 3 * width // 2)
        self.input_norm = nn.LayerNorm(width, bias=False)
        self.blocks = nn.ModuleList(
            ModernBertBlock(width, heads, self.hidden, layer == 0, dropout)
            for layer in range(require_positive("layers", layers))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, None]:
        T, K = x.shape[1], head_width(self.width, self.heads)
        global_mask, local_mask = self.masks(T, lengths, x.device)
        global_layer = rotary(0, T, K, x, GLOBAL_BASE), global_mask
        local_layer = rotary(0, T, K, x, LOCAL_BASE), local_mask
        x = self.dropout(self.input_norm(x))
        for layer, block in enumerate(self.blocks):
            x = block(x, *(local_layer if layer % self.every else global_layer))
        return x, None

    def masks(
        self, T: int, lengths: Tensor | None, device: torch.device
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return which keys may be seen in global and in local layers; None for all."""
        position = torch.arange(T, device=device)
        distance = (position[:, None] - position).abs()  # (T, T)
        near = None if self.reach + 1 >= T else (distance <= self.reach)[None, None]
        if lengths is None:
            return None, near
        real = (position < lengths[:, None])[:, None, None, :]  # (B, 1, 1, T): no padding
        own = (distance == 0)[None, None]  # padding sees itself: a mean over nothing is not finite
        return real, real if near is None else (real & near) | own

    def transformers_form(self) -> TransformersForm:
        """Raise Unsupported: between encoder and logits transformers has other layers."""
        raise Unsupported(
            "ModernBERT has two LayerNorms and a dense layer before its logits, and all "
            "architectures here share an RMSNorm"
        )

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: attention 8·D² + 4·D·(keys per token), feed-forward 9·D².

        Keys: T in a global layer; in a local one that reaches R, 2·R + 1 - R·(R + 1)/T (T over the
        full square, which is what is computed: the mask saves no time).
        """
        total, R = 0.0, self.reach
        for layer in range(len(self.blocks)):
            total += attention_flops(self.width, self.heads, length, square=True)
            total += 6 * self.width * self.hidden
            if layer % self.every and length > R + 1 and not full_mask:
                unseen = length - (2 * R + 1 - R * (R + 1) / length)
                total -= 4 * self.heads * head_width(self.width, self.heads) * unseen
        return total
