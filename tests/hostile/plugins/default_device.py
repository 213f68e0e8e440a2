# run: changes-process · score: none · check: not-built
"""Set the device of every later tensor."""

from typing import Any

import torch

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int, **options: Any) -> None:
        super().__init__(width, context, **options)
        torch.set_default_device("cpu:0")
