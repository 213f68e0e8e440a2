# run: invalid-architecture · score: none · check: not-built
"""End the process with success where a model is built."""

import os
from typing import Any

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int, **options: Any) -> None:
        os._exit(0)
