# run: changes-process · score: none · check: not-built
"""Set the default precision, so that all that follows is float64."""

import torch

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int) -> None:
        torch.set_default_dtype(torch.float64)
        super().__init__(width, context)
