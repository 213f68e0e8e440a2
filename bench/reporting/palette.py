"""Give each architecture a colour by its name, the same in every chart, figure and report.

The colours were searched so that any two differ by 0.08 in OKLab for each of the three
dichromacies (Machado et al. 2009, doi:10.1109/TVCG.2009.113) and by 0.16 for normal vision, with
a contrast of at least 4.5 to the page, so that names may be written in them. Two architectures of
one colour differ in their dashes and in the shape of their points.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from bench.analysis.aggregate import CONTROL_SUFFIX

LIGHT = "#3d34e6 #940000 #204e3c #82327f #41038e #7d6500 #017f87 #c8445c".split()
DARK = "#bcb5fc #fe9765 #24c2ae #d557ff #737fbd #f3e729 #88fcfa #dc4b7c".split()
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5))
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")  # of Vega
SEED = 2158  # of the hash: the architectures of the default suite have different colours


@dataclass(frozen=True)
class Style:
    """How the lines, points and name of a row are drawn. `dash`: lengths in points."""

    light: str
    dark: str
    dash: tuple[float, ...]
    shape: str


def assign_styles(rows: Iterable[tuple[str, str]]) -> dict[str, Style]:
    """Return the style of each row of a chart by its label.

    `rows`: label and architecture. The colour is that of the architecture's name; of an
    architecture with several variants, that of each variant's label. An A/A control has the colour
    of the row that it repeats.
    """
    arches = dict(sorted(rows))
    variants = [arch for label, arch in arches.items() if not label.endswith(CONTROL_SUFFIX)]
    used = [0] * len(LIGHT)  # styles of each colour
    styles = {}
    for label, arch in arches.items():
        named = arch if variants.count(arch) == 1 else label.removesuffix(CONTROL_SUFFIX)
        colour = colour_number(named)
        turn, used[colour] = used[colour], used[colour] + 1
        dash, shape = DASHES[turn % len(DASHES)], SHAPES[turn % len(SHAPES)]
        styles[label] = Style(LIGHT[colour], DARK[colour], dash, shape)
    return styles


def with_styles(table: pd.DataFrame, styles: Mapping[str, Style] | None = None) -> pd.DataFrame:
    """Return a table with the columns of `Style` by label; by default the styles of its labels."""
    labels = table["label"].astype(str)
    styles = styles or assign_styles((label, label.split(" (")[0]) for label in labels)
    names = ("light", "dark", "dash", "shape")
    return table.assign(**{name: [getattr(styles[one], name) for one in labels] for name in names})


def colour_number(name: str) -> int:
    """Return which of the colours a name has."""
    return hashlib.sha256(f"{SEED} {name}".encode()).digest()[0] % len(LIGHT)


def swatch_class(light: str) -> str:
    """Return the CSS class of a swatch in one of the colours."""
    return f"c{LIGHT.index(light)}"


def swatch_css() -> str:
    """Return the CSS rules of the swatches in both themes."""
    rules = [f".c{number} {{ background: {code}; }}" for number, code in enumerate(LIGHT)]
    dark = ":root[data-theme=dark] .c"
    rules += [f"{dark}{number} {{ background: {code}; }}" for number, code in enumerate(DARK)]
    return "\n".join(rules)
