# run: no-width · score: none · check: not-built
"""Have a name that would write a line of its own, and move the cursor."""

from typing import Any

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int, **options: Any) -> None:
        raise ValueError("first line\nerror: second line \x1b[2J" + "x" * 1_000_000)


Plugin.__name__ = "Evil\nerror: forged\x1b[31m"
