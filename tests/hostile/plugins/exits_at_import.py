# run: invalid-architecture · score: none · check: not-built
"""End the process with success where it is imported."""

import os

from tests.fake_architectures import Valid


class Plugin(Valid):
    pass


os._exit(0)
