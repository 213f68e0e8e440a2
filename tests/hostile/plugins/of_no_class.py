# run: invalid-architecture · score: none · check: not-built
"""Be a function in place of a class."""

from typing import Any

from tests.fake_architectures import Valid


def Plugin(width: int, context: int, **options: Any) -> Any:
    return Valid(width, context, **options)
