"""Made-up texts for the tests of the data package."""

from pathlib import Path

import numpy as np


def words(number: int, seed: int = 0) -> str:
    """Lines of made-up words."""
    random = np.random.default_rng(seed)
    alphabet = np.array(list("etaoinshrdlu"))
    return "".join(
        "".join(random.choice(alphabet, 5)) + (" " if at % 8 else "\n") for at in range(number)
    )


def library(folder: Path, documents: int) -> Path:
    """A folder of small texts of different lengths."""
    folder.mkdir()
    for number in range(documents):
        (folder / f"{number:03}.txt").write_text(words(2 + number % 97, seed=number))
    return folder
