# run: invalid-architecture · score: none · check: not-built
"""Pass for Ctrl-C where it is imported."""

from tests.fake_architectures import Valid


class Plugin(Valid):
    pass


raise KeyboardInterrupt
