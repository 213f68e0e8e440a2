"""The rows of a small table one at a time; large ones are never walked through."""

from collections.abc import Iterator
from typing import Any

import pandas as pd


def each(table: pd.DataFrame) -> Iterator[Any]:
    """Named tuples whose fields are the columns and `Index`; what a column holds, only its writer knows."""
    yield from table.itertuples()
