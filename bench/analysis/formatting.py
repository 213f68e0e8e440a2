"""Numbers as people read them."""

import math
from collections.abc import Sequence

MINUS, NONE = "−", "—"


def number(value: float, digits: int = 3) -> str:
    """Three significant digits, thousands grouped; a dash for nothing."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, places):,.{min(places, 8)}f}".replace("-", MINUS)


def count(value: float) -> str:
    """A whole number."""
    return (
        NONE if value is None or not math.isfinite(value) else f"{value:,.0f}".replace("-", MINUS)
    )


def fixed(value: float, places: int = 3) -> str:
    return (
        NONE
        if value is None or not math.isfinite(value)
        else f"{value:.{places}f}".replace("-", MINUS)
    )


def size(value: float) -> str:
    """Bytes in decimal units."""
    if value is None or not math.isfinite(value):
        return NONE
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= scale:
            return f"{number(value / scale)} {unit}"
    return f"{value:.0f} B"


def large(value: float) -> str:
    """A count in words of thousands: 1.02 M."""
    if value is None or not math.isfinite(value):
        return NONE
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{number(value / scale)} {unit}"
    return number(value)


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def plural(amount: int, noun: str) -> str:
    return f"{amount:,} {noun}" + ("" if amount == 1 else "s")


def seconds(value: float) -> str:
    """A time in the unit that suits it: 3.21 ms."""
    if value is None or not math.isfinite(value):
        return NONE
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(value) >= scale:
            return f"{number(value / scale)} {unit}"
    return f"{number(value / 1e-9)} ns" if value else "0 s"


def percent(value: float) -> str:
    """A share: 12.3 %."""
    return (
        NONE
        if value is None or not math.isfinite(value)
        else f"{number(100 * value, 2 if value < 0.1 else 3)} %"
    )
