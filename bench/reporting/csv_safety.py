"""Keep spreadsheets from taking text of a CSV file for a formula: `csv.safe=true`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.config.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SAFE_KEY = "csv.safe="
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def parse_safe(words: Sequence[str]) -> bool:
    """Return the value of the last `csv.safe=…`, false by default; raise UserError for others."""
    value = words[-1].removeprefix(SAFE_KEY).lower() if words else "false"
    if value not in ("true", "false"):
        raise UserError(f"{words[-1]} is neither true nor false: give {SAFE_KEY}true")
    return value == "true"


def quote_formulas(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return the table with a single quote mark before text that would be taken for a formula."""

    def quote(value: Any) -> Any:
        is_formula = isinstance(value, str) and value.startswith(FORMULA_STARTS)
        return f"'{value}" if is_formula else value

    texts = table.select_dtypes(include=["object", "string"])
    return table.assign(**{str(name): texts[name].map(quote) for name in texts})
