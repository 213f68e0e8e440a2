# run: changes-process · score: none · check: not-built
"""Change the working folder, in which relative results are written."""

import os
import tempfile
from typing import Any

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int, **options: Any) -> None:
        super().__init__(width, context, **options)
        os.chdir(tempfile.gettempdir())
