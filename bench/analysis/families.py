"""Families of architectures: their order and titles, and which rows may win."""

import pandas as pd

CONTROL = "control"  # the family of architectures that no comparison is about
TITLES = {
    "attention": "Attention",
    "recurrent": "Recurrent",
    "linear": "Linear attention and state space",
    "convolution": "Convolution",
    "encoder": "Encoders",
    "hybrid": "Hybrids",
    "control": "Control",
}


def contenders(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that may win: neither an A/A control nor of the family of controls."""
    return rows[~rows["control"].astype(bool) & rows["family"].ne(CONTROL)]


def family_title(family: str) -> str:
    """Return the title of a family on the page."""
    return TITLES.get(family, family.capitalize() or "Of no family")


def family_rank(family: str) -> int:
    """Return the position of a family on the page; unlisted ones come last."""
    return list(TITLES).index(family) if family in TITLES else len(TITLES)
