"""Families of architectures: their order, titles and colours.

Hues and their lightness were searched so that any two families differ by 0.09 in OKLab for normal
vision and for each of the three dichromacies (Machado et al. 2009, doi:10.1109/TVCG.2009.113), on
light and on dark backgrounds; every shade has a contrast of 3 to its background. Within a family
shades and dashes differ together, and every line and point has its name beside it.
"""

from collections.abc import Collection, Mapping

import pandas as pd

CONTROL = "control"  # the family of architectures that no comparison is about
SHADES = 4
OWN = "own"  # for families that have no hue here
TITLES = {
    "attention": "Attention",
    "recurrent": "Recurrent",
    "linear": "Linear attention and state space",
    "convolution": "Convolution",
    "encoder": "Encoders",
    "hybrid": "Hybrids",
    "control": "Control",
    OWN: "Of your own",
}
LIGHT = {
    "attention": "#3072d0 #003478 #034da8 #498beb",
    "recurrent": "#de6420 #5f2200 #883500 #b44901",
    "linear": "#006940 #33a36d #004427 #018451",
    "convolution": "#730052 #d15aa3 #af3b85 #8d1767",
    "encoder": "#473500 #ad8604 #896a01 #674f00",
    "hybrid": "#009eb9 #003f4b #005d6d #077c91",
    "control": "#7a7a7a #383838 #525252 #8c8c8c",
    OWN: "#682dac #a06aec #4a0085 #824aca",
}
DARK = {
    "attention": "#6aa2f5 #cbe0fe #4980d0 #96c0fe",
    "recurrent": "#ff9f73 #c45f2b #fed3c1 #e77e4c",
    "linear": "#3b9466 #9df5c2 #7cd4a2 #5cb384",
    "convolution": "#d26da9 #ffcee8 #ff96d3 #ba5894",
    "encoder": "#f9d783 #9c7c22 #bb9a45 #dbba66",
    "hybrid": "#a1ecfe #158fa6 #43aec6 #66cfe7",
    "control": "#bebebe #808080 #9e9e9e #dedede",
    OWN: "#9065d1 #e3d6fe #c9acfe #af84f3",
}
PALETTE = tuple(shade for shades in LIGHT.values() for shade in shades.split())
DARK_PALETTE = tuple(shade for shades in DARK.values() for shade in shades.split())


def contenders(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that may win: neither an A/A control nor of the family of controls."""
    return rows[~rows["control"].astype(bool) & rows["family"].ne(CONTROL)]


def family_title(family: str) -> str:
    """Return the title of a family on the page."""
    return TITLES.get(family, family.capitalize() or "Of no family")


def family_rank(family: str) -> int:
    """Return the position of a family on the page; unlisted ones come last."""
    return list(TITLES).index(family) if family in TITLES else len(TITLES)


def assign_colours(families: Mapping[str, str], taken: Collection[int] = ()) -> dict[str, int]:
    """Return a free colour number for each name, of its family's hue.

    A number gives one of four shades, and further dashes after those. None of `taken` is used.
    """
    used, numbers = set(taken), {}
    for name, family in families.items():
        first = list(TITLES).index(family if family in TITLES else OWN) * SHADES
        turn = 0
        while (number := turn // SHADES * len(PALETTE) + first + turn % SHADES) in used:
            turn += 1
        used.add(number)
        numbers[name] = number
    return numbers
