"""Reward the tokens of responses by the gold of each prefix: as a person who watches would."""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.config.errors import UserError
from bench.tasks.preferences.rollouts import Responses
from bench.tasks.preferences.shaping import naive_bonus, potential_shaping
from bench.tasks.preferences.worlds import World, token_rows

Shape = Callable[[Responses], Tensor]  # (B, R) rewards of each token


def by_prefix(responses: Responses, world: World, function: Callable[[bytes], float]) -> Tensor:
    """Return a function of the text of every prefix of every response, (B, R + 1)."""
    table = torch.zeros(len(responses), responses.response_mask.shape[1] + 1)
    for row, tokens in enumerate(token_rows(responses)):
        for end in range(len(tokens) + 1):
            table[row, end] = function(world.vocabulary.decode_bytes(tokens[:end]))
    return table


def potential_rewards(world: World) -> Shape:
    """Return the rewards of a potential: the gold of the prefix, in log-odds."""
    gold, temperature = world.gold, world.options.temperature
    if gold is None:
        raise UserError("preference.extras.shaping needs a gold reward: omit preference.path")

    def shape(responses: Responses) -> Tensor:
        values = by_prefix(responses, world, lambda text: gold.score(text, False) / temperature)
        return potential_shaping(values, responses.response_mask)

    return shape


def bonus_rewards(world: World) -> Shape:
    """Return the rewards of a naive bonus: so much for every word that is completed."""
    gold, weight = world.gold, world.options.extras.bonus
    if gold is None:
        raise UserError("preference.extras.shaping needs a gold reward: omit preference.path")

    def shape(responses: Responses) -> Tensor:
        counts = by_prefix(responses, world, lambda text: float(gold.words(text)))
        return naive_bonus(counts.diff(dim=1), responses.response_mask, weight)

    return shape


SHAPES: dict[str, Callable[[World], Shape]] = {
    "potential": potential_rewards,
    "bonus": bonus_rewards,
}
