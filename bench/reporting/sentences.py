"""Sentences of templates/sentences.txt: a macro writes them, an empty line is between two."""

import math
import re
from functools import cache
from typing import Any

from bench.analysis import formatting as fmt
from bench.analysis import scaling as laws
from bench.analysis import verdicts
from bench.analysis.badges import MAX_NAMED, name_some
from bench.reporting.section import TEMPLATES
from bench.stats import scaling_laws

FILTERS = {
    "fixed": fmt.format_fixed, "large": fmt.format_large, "number": fmt.format_number,
    "percent": fmt.format_percent, "words": fmt.join_words, "plural": fmt.plural,
    "some": name_some, "finite": math.isfinite, "difference": verdicts.difference_text,
    "power": verdicts.power_text, "wins": verdicts.wins_text,
}  # fmt: skip
NAMES = {
    "MAX_NAMED": MAX_NAMED, "MAX_MISFIT": laws.MAX_MISFIT, "MIN_SHARE": laws.MIN_SHARE,
    "HORIZON": scaling_laws.HORIZON, "SIZE": scaling_laws.SIZE, "DATA": scaling_laws.DATA,
}  # fmt: skip


@cache
def _macros() -> Any:
    plain = TEMPLATES.overlay(autoescape=False)  # the page escapes them, a terminal does not
    plain.filters = {**plain.filters, **FILTERS}
    return plain.get_template("sentences.txt", globals=NAMES).module


def say(macro: str, *values: Any, **named: Any) -> list[str]:
    """Return the sentences that a macro makes of the values."""
    text: str = getattr(_macros(), macro)(*values, **named)
    lines = (" ".join(own.split()) for own in re.split(r"\n\s*\n", text))
    return [line for line in lines if line]
