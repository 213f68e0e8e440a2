"""Numbers as people read them."""

import math
from collections.abc import Sequence

MINUS, NO_VALUE = "−", "—"


def format_number(value: float, digits: int = 3) -> str:
    """Three significant digits, thousands grouped; a dash for nothing."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, places):,.{min(places, 8)}f}".replace("-", MINUS)


def format_count(value: float) -> str:
    """A whole number."""
    return (
        NO_VALUE
        if value is None or not math.isfinite(value)
        else f"{value:,.0f}".replace("-", MINUS)
    )


def format_fixed(value: float, places: int = 3) -> str:
    return (
        NO_VALUE
        if value is None or not math.isfinite(value)
        else f"{value:.{places}f}".replace("-", MINUS)
    )


def format_bytes(value: float) -> str:
    """Bytes in decimal units."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= scale:
            return f"{format_number(value / scale)} {unit}"
    return f"{value:.0f} B"


def format_large(value: float) -> str:
    """A count in words of thousands: 1.02 M."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{format_number(value / scale)} {unit}"
    return format_number(value)


def join_words(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def plural(amount: int, noun: str) -> str:
    return f"{amount:,} {noun}" + ("" if amount == 1 else "s")


def format_seconds(value: float) -> str:
    """A time in the unit that suits it: 3.21 ms."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(value) >= scale:
            return f"{format_number(value / scale)} {unit}"
    return f"{format_number(value / 1e-9)} ns" if value else "0 s"


def format_percent(value: float) -> str:
    """A share: 12.3 %."""
    return (
        NO_VALUE
        if value is None or not math.isfinite(value)
        else f"{format_number(100 * value, 2 if value < 0.1 else 3)} %"
    )


def format_joules(value: float) -> str:
    """Return an energy in a suitable unit: 3.21 mJ."""
    for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)):
        if value >= scale:
            return f"{format_number(value / scale)} {unit}"
    return f"{format_number(value / 1e-9)} nJ"
