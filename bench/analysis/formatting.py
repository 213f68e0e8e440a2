"""Format numbers for tables and sentences."""

import math
from collections.abc import Mapping, Sequence

MINUS, NO_VALUE = "−", "—"


def _is_missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def _scaled(value: float, units: Mapping[str, float]) -> str:
    """Return a number in the largest unit that fits; a dash for None, empty below all units."""
    if _is_missing(value):
        return NO_VALUE
    unit = next((unit for unit, scale in units.items() if abs(value) >= scale), "")
    return unit and f"{format_number(value / units[unit])} {unit}"


def format_number(value: float, digits: int = 3) -> str:
    """Return a number with `digits` significant digits and grouped thousands; a dash for None."""
    if _is_missing(value):
        return NO_VALUE
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, places):,.{min(places, 8)}f}".replace("-", MINUS)


def format_count(value: float) -> str:
    """Return an integer with grouped thousands."""
    return NO_VALUE if _is_missing(value) else f"{value:,.0f}".replace("-", MINUS)


def format_fixed(value: float, places: int = 3) -> str:
    return NO_VALUE if _is_missing(value) else f"{value:.{places}f}".replace("-", MINUS)


def format_bytes(value: float) -> str:
    """Return bytes in decimal units: 1.02 MB."""
    scaled = _scaled(value, {"GB": 1e9, "MB": 1e6, "kB": 1e3})
    return scaled or f"{value:.0f} B"


def format_large(value: float) -> str:
    """Return a count with an SI prefix: 1.02 M."""
    return _scaled(value, {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}) or format_number(value)


def join_words(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def plural(amount: int, noun: str) -> str:
    return f"{amount:,} {noun}" + ("" if amount == 1 else "s")


def format_seconds(value: float) -> str:
    """Return a time in a suitable unit: 3.21 ms."""
    scaled = _scaled(value, {"s": 1.0, "ms": 1e-3, "µs": 1e-6})
    return scaled or (f"{format_number(value / 1e-9)} ns" if value else "0 s")


def format_percent(value: float) -> str:
    """Return a share in percent: 12.3 %."""
    if _is_missing(value):
        return NO_VALUE
    return f"{format_number(100 * value, 2 if value < 0.1 else 3)} %"


def format_p(value: float) -> str:
    """Return a p value: 0.031, or <0.001."""
    return "<0.001" if value < 0.001 else format_number(value, 2)


def format_joules(value: float) -> str:
    """Return an energy in a suitable unit: 3.21 mJ."""
    scaled = _scaled(value, {"J": 1.0, "mJ": 1e-3, "µJ": 1e-6})
    return scaled or f"{format_number(value / 1e-9)} nJ"
