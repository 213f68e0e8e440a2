"""Reward single tokens: by a potential, which keeps the optimum, or by a bonus, which moves it."""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.tasks.preferences.rollouts import Responses
from bench.tasks.preferences.worlds import World, token_rows

Shape = Callable[[Responses], Tensor]  # (B, R) rewards of each token


def potential_shaping(potentials: Tensor, mask: Tensor) -> Tensor:
    """Return Φ(after a token) - Φ(before it), (B, R), of potentials (B, R + 1) of prefixes.

    Φ after the last token counts as zero, so that every response earns -Φ(prompt) in all and the
    optimum stays (Ng, Harada & Russell 1999).
    """
    going_on = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    return (potentials[:, 1:] * going_on - potentials[:, :-1]) * mask


def by_prefix(responses: Responses, world: World, function: Callable[[bytes], float]) -> Tensor:
    """Return a function of the text of every prefix of every response, (B, R + 1)."""
    table = torch.zeros(len(responses), responses.response_mask.shape[1] + 1)
    for row, tokens in enumerate(token_rows(responses)):
        for end in range(len(tokens) + 1):
            table[row, end] = function(world.vocabulary.decode_bytes(tokens[:end]))
    return table


def gold_shape(name: str, world: World) -> Shape:
    """Return the rewards of a gold potential in log-odds, or of a bonus for each completed word."""
    gold, options = world.gold, world.options
    assert gold is not None  # checked with the options

    def potential(responses: Responses) -> Tensor:
        values = by_prefix(
            responses, world, lambda text: gold.score(text, False) / options.temperature
        )
        return potential_shaping(values, responses.response_mask)

    def bonus(responses: Responses) -> Tensor:
        counts = by_prefix(responses, world, lambda text: float(gold.words(text)))
        return options.extras.bonus * counts.diff(dim=1) * responses.response_mask

    return {"potential": potential, "bonus": bonus}[name]
