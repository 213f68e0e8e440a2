"""Two known scaling laws, and losses that follow them."""

import numpy as np

from bench.stats import ScalingLaw

SIZES, STEPS = (25_000, 60_000, 140_000, 320_000), (100, 300, 900)
A_STEP = 1024  # tokens
CENTER = (100_000.0, 300_000.0)
TRUTH = {  # E, A, a, B, b: the first leads with little data, the second overtakes it
    "lstm": np.array([1.2, 0.30, 0.35, 0.50, 0.25]),
    "decoder": np.array([1.2, 0.30, 0.35, 0.55, 0.45]),
}


def loss(law: np.ndarray, size: float, tokens: float) -> float:
    floor, of_size, a, of_data, b = law
    return float(floor + of_size * (size / CENTER[0]) ** -a + of_data * (tokens / CENTER[1]) ** -b)


def grid(
    law: np.ndarray, noise: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    cells = np.array([(size, steps * A_STEP) for size in SIZES for steps in STEPS], dtype=float)
    losses = np.array([loss(law, *cell) for cell in cells]) * np.exp(
        draw.normal(0, noise, len(cells))
    )
    return cells[:, 0], cells[:, 1], losses


def exact(law: np.ndarray) -> ScalingLaw:
    return ScalingLaw(law, law[None], CENTER, floor_given=True, spread=0.0, cells=12, cost=6.0)
