# run: changes-process · score: none · check: output
"""Draw the initial values from a seed of its own."""

import torch

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int) -> None:
        torch.manual_seed(1234)
        super().__init__(width, context)
