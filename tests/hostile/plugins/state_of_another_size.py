# run: invalid-architecture · score: none · check: pieces
"""Say that the state has no bytes."""

from typing import Any

from tests.fake_architectures import Valid


class Plugin(Valid):
    def state_bytes(self, state: Any) -> int:
        return 4
