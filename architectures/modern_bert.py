"""ModernBERT: the encoder with a modern decoder's parts, most layers of which look only at their neighbourhood."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone, State, Unsupported
from architectures.layers import Attention, attention_flops, head_width, require_positive, rotary

GLOBAL_BASE, LOCAL_BASE = 160_000.0, 10_000.0  # of the rotary positions


class Block(nn.Module):
    """Attention, then a gated GELU (Shazeer 2020, arXiv:2002.05202), a norm without bias before each."""

    def __init__(self, width: int, heads: int, hidden: int, first: bool, dropout: float) -> None:
        super().__init__()
        self.attention_norm = (
            nn.Identity() if first else nn.LayerNorm(width, bias=False)
        )  # the input is normed already
        self.attention = Attention(width, heads, causal=False, dropout=dropout)
        self.feed_norm = nn.LayerNorm(width, bias=False)
        self.feed_in = nn.Linear(width, 2 * hidden, bias=False)
        self.feed_out = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation=rotation, mask=mask))
        value, gate = self.feed_in(self.feed_norm(x)).chunk(
            2, dim=-1
        )  # (B, T, D) -> two of (B, T, hidden)
        return x + self.dropout(
            self.feed_out(functional.gelu(value) * gate)
        )  # (B, T, hidden) -> (B, T, D)


class ModernBert(Backbone):
    """Warner et al. 2024, arXiv:2412.13663.

    Every `every`-th layer, the first among them, looks at the whole text; the others at `local` // 2 tokens to either side.
    The feed-forward network is 1.5·D wide, as in the paper.
    """

    causal = False

    def __init__(
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
        self.heads, self.reach, self.every = (
            heads,
            require_positive("local", local) // 2,
            require_positive("every", every),
        )
        self.hidden = max(1, 3 * width // 2)
        self.input_norm = nn.LayerNorm(width, bias=False)
        blocks = [
            Block(width, heads, self.hidden, layer == 0, dropout)
            for layer in range(require_positive("layers", layers))
        ]
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, None]:
        T, K = x.shape[1], head_width(self.width, self.heads)
        wide, near = self.masks(T, lengths, x.device)
        far_rotation, near_rotation = (
            rotary(0, T, K, x, GLOBAL_BASE),
            rotary(0, T, K, x, LOCAL_BASE),
        )  # each (T, K)
        x = self.dropout(self.input_norm(x))
        for layer, block in enumerate(self.blocks):
            x = (
                block(x, far_rotation, wide)
                if layer % self.every == 0
                else block(x, near_rotation, near)
            )
        return x, None

    def masks(
        self, T: int, lengths: Tensor | None, device: torch.device
    ) -> tuple[Tensor | None, Tensor | None]:
        """Who may be seen by whom, in layers that see far and in those that see near; None where that is everyone."""
        place = torch.arange(T, device=device)
        apart = (place[:, None] - place).abs()  # (T, T)
        near = None if self.reach + 1 >= T else (apart <= self.reach)[None, None]  # (1, 1, T, T)
        if lengths is None:
            return None, near
        real = (place < lengths[:, None])[
            :, None, None, :
        ]  # (B, 1, 1, T): no token looks at padding
        alone = (apart == 0)[
            None, None
        ]  # but padding at itself: a mean over nothing would be no number
        return real, real if near is None else (real & near) | alone

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        raise Unsupported(
            "an encoder reads the whole text at once: each new token changes what it made of the earlier ones"
        )

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: 8·D² + 4·D·(keys a token), and 9·D² for the feed-forward.

        Keys: T where a layer sees far; where it sees R to either side, 2·R + 1 - R·(R + 1)/T (T over the whole square, which is
        what is computed here: the mask hides, it saves no time).
        """
        total, R = 0.0, self.reach
        for layer in range(len(self.blocks)):
            total += (
                attention_flops(self.width, self.heads, length, square=True)
                + 6 * self.width * self.hidden
            )
            if layer % self.every and length > R + 1 and not full_mask:
                unseen = length - (2 * R + 1 - R * (R + 1) / length)
                total -= 4 * self.heads * head_width(self.width, self.heads) * unseen
        return total
