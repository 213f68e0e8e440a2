# run: changes-process · score: none · check: not-built
"""Have numpy raise where others round."""

from typing import Any

import numpy as np

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int, **options: Any) -> None:
        super().__init__(width, context, **options)
        np.seterr(all="raise")
