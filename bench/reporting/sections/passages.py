"""Passages of held-out text, shaded by what a prediction looks at."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.analysis.formatting import format_percent

PIECES = 128  # of a passage
HEAD_PIECES = 64  # of a passage as one attention head reads it
SHADES = 6


class Article(NamedTuple):
    """A shaded text."""

    label: str
    note: str
    pieces: list[tuple[str, int]]  # text and shade
    target: str


def article(label: str, passage: Mapping[str, Any]) -> Article:
    """Return a passage as one row reads it, shaded by saliency."""
    chance = format_percent(passage["probability"])
    note = f"“{passage['target']}” {chance}; most likely “{passage['prediction']}”"
    return Article(
        label, note, _shade(passage["pieces"], passage["shares"], PIECES), passage["target"]
    )


def head_article(passage: Mapping[str, Any], head: Mapping[str, Any]) -> Article:
    """Return the end of a passage as one attention head reads it, shaded by its weights."""
    pieces = _shade(passage["pieces"], head["weights"], HEAD_PIECES)
    return Article(
        f"layer {head['layer'] + 1}, head {head['head'] + 1}", "", pieces, passage["target"]
    )


def _shade(pieces: Sequence[str], shares: Sequence[float], count: int) -> list[tuple[str, int]]:
    """Return the last pieces with a shade of 0 to SHADES, equal neighbours joined.

    The shade is that of the square root of a share over the largest.
    """
    largest = max(shares[-count:], default=0.0) or 1.0
    joined = list[tuple[str, int]]()
    for text, share in zip(pieces[-count:], shares[-count:], strict=True):
        shade = round(SHADES * math.sqrt(max(share, 0.0) / largest))
        if joined and joined[-1][1] == shade:
            joined[-1] = (joined[-1][0] + text, shade)
        else:
            joined.append((text, shade))
    return joined
