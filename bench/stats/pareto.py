"""Find the Pareto front."""

import numpy as np
from numpy.typing import NDArray

from bench.stats.intervals import Numbers


def pareto_front(cost: Numbers, loss: Numbers) -> NDArray[np.bool_]:
    """Return which points no other beats in both (lower is better); equal points stay."""
    less = (cost[None, :] <= cost[:, None]) & (loss[None, :] <= loss[:, None])
    strictly = (cost[None, :] < cost[:, None]) | (loss[None, :] < loss[:, None])
    return ~np.asarray((less & strictly).any(axis=1), dtype=bool)
