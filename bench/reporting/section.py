"""What a section of the page is: its title, its HTML and the charts in it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import jinja2
import pandas as pd
from markupsafe import Markup

from bench.analysis.formatting import format_number

HERE = Path(__file__).parent
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
TEMPLATES.filters["number"] = format_number
TEMPLATES.filters["identifier"] = lambda text: re.sub(r"[^\w-]+", "-", str(text))  # of an element


def read_helps(name: str) -> dict[str, str]:
    """Return the explanations of a file of `static/` by what they explain: a line of each."""
    lines = (HERE / "static" / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


class RowText(str):
    """Text about some rows: the page's filter hides it with all of them, of a pair with one."""

    def __new__(cls, text: str, rows: Iterable[str] = (), is_pair: bool = False) -> Self:
        """Return the text; `rows`: labels or names of architectures."""
        made = super().__new__(cls, text)
        made.rows, made.is_pair = list(rows), is_pair
        return made

    rows: list[str]
    is_pair: bool


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite chart. Its data are datasets of the page, by their names in `spec`."""

    name: str  # the id of its element
    title: str
    spec: Mapping[str, Any]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the page. Its HTML has a place for each chart: the macro `chart`.

    `datasets`: tables for its charts by name. The page's filter drops their rows by the columns
    `key` (of a row of a view) or `base` (what an architecture is called), where they have one, and
    adds the style of that row, or `colour` where a record of no row has `light` and `dark`.
    """

    anchor: str
    title: str
    html: Markup
    charts: tuple[Chart, ...] = ()
    datasets: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    folded: bool = True


def render(template: str, **values: Any) -> Markup:
    """Return a template of `templates/` as HTML; every value that is not Markup is escaped."""
    return Markup(TEMPLATES.get_template(template).render(**values))


def write(macro: str, *values: Any) -> Markup:
    """Return what a macro of folds.html makes of the values."""
    template: Any = TEMPLATES.get_template("folds.html").make_module()
    return Markup(getattr(template, macro)(*values))
