"""The page: one file with its style, its scripts, its data and its sections."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.analysis.build import Analysis
from bench.analysis.families import CONTROL
from bench.reporting import header, page_data
from bench.reporting.charts.verdict_matrix import verdict_matrix
from bench.reporting.csv_columns import FILES
from bench.reporting.curve_data import curve_data
from bench.reporting.figures.files import EMBEDDED
from bench.reporting.folds import folded_sections
from bench.reporting.main_sections import chart_sections, glossary
from bench.reporting.main_table import GROUPS, main_table
from bench.reporting.palette import swatch_css
from bench.reporting.section import HERE, Chart, Section, render
from bench.reporting.views import View, build_views

LIBRARIES = (  # vendored, see static/README.md
    "vega.min.js",
    "vega-lite.min.js",
    "vega-interpreter.min.js",
    "vega-embed.min.js",
)
SELECTORS = ("source", "size", "training", "scoring")


def render_page(name: str, analysis: Analysis, figures: Mapping[str, Path] | None = None) -> str:
    """Return the page of a suite as text.

    `figures`: SVG files by name; where no script runs some are shown and the others linked.
    """
    views = build_views(analysis)
    sections = [*_main_sections(analysis, views), *folded_sections(analysis, views)]
    data = _data(views, analysis, sections)
    scripts = [_static(library) for library in LIBRARIES] + [_static("report.js")]
    return render(
        "page.html",
        name=name,
        title=header.page_title(analysis),
        facts=header.page_facts(name, analysis),
        commands=header.commands(analysis),
        answers=header.answers(analysis),
        **header.notes(analysis),
        **_filter(views, data["rows"]),
        sections=[*sections, glossary(data["metrics"])],
        files=[name for name in FILES if name != "columns.csv"],
        figures=[_figure(name, path) for name, path in (figures or {}).items()],
        policy=_policy(scripts),
        style=Markup(_static("report.css") + swatch_css()),
        scripts=[Markup(script) for script in scripts],
        data=Markup(page_data.as_json(data)),
    )


def _main_sections(analysis: Analysis, views: Sequence[View]) -> list[Section]:
    return [*chart_sections(views), _table_section(views, analysis)] if views else []


def _table_section(views: Sequence[View], analysis: Analysis) -> Section:
    """Return the table of each view, and the matrix of verdicts."""
    matrix = Chart("matrix", "Verdict on each pair", verdict_matrix())
    tables = [(view, main_table(view, analysis.variants.means)) for view in views]
    tested = any(view.verdicts is not None and len(view.verdicts.pairs) for view in views)
    html = render("table.html", tables=tables, groups=GROUPS, matrix=matrix if tested else None)
    return Section("table", "Table", html, (matrix,) if tested else (), folded=False)


def _static(name: str) -> str:
    """Return a file of static/ with its comment on a source map left out."""
    text = (HERE / "static" / name).read_text(encoding="utf-8")
    return "\n".join(line for line in text.split("\n") if not line.startswith("//# sourceMap"))


def _figure(name: str, path: Path) -> dict[str, str]:
    """Return the title of an SVG file, its address and, of those in the page, its contents."""
    picture = f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
    title, address = name.replace("_", " "), f"{path.parent.name}/{path.name}"
    return {"title": title, "address": address, "picture": picture if name in EMBEDDED else ""}


def _policy(scripts: Sequence[str]) -> str:
    """Return a content security policy: these scripts alone may run, and nothing is requested."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    hashes = " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    )


def _data(views: Sequence[View], analysis: Analysis, sections: Sequence[Section]) -> dict[str, Any]:
    """Return all data of the page."""
    measures = page_data.measure_table(views, analysis.variants.means)
    rows = page_data.row_table(views, analysis)
    own = {name: table for section in sections for name, table in section.datasets.items()}
    charts = chain.from_iterable(section.charts for section in sections)
    return {
        "views": page_data.view_facts(views),
        "rows": page_data.encode_table(rows),
        "measures": page_data.encode_table(measures),
        "curves": curve_data(views, analysis.records.curves),
        "levels": page_data.encode_table(page_data.level_table(views)),
        "verdicts": page_data.encode_table(page_data.verdict_data(views)),
        "metrics": page_data.metric_facts(dict.fromkeys(measures["metric"])),
        "datasets": {name: page_data.encode_table(table) for name, table in own.items()},
        "specs": {chart.name: chart.spec for chart in charts},
    }


def _filter(views: Sequence[View], rows: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the selectors that have more than one value, and the labels by family."""
    values = {name: list(dict.fromkeys(view.choices[name] for view in views)) for name in SELECTORS}
    return {
        "view": views[0] if views else None,
        "choices": {name: own for name, own in values.items() if len(own) > 1},
        "architectures": _architectures(rows),
        "hidden_family": CONTROL,
    }


def _architectures(rows: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """Return by family the labels that can be shown or hidden; controls come last."""
    families: dict[str, dict[str, None]] = {}
    for base, family in zip(rows["base"], rows["family"], strict=True):
        families.setdefault(str(family), {})[str(base)] = None
    ordered = sorted(families, key=lambda family: (family == CONTROL, family))
    return {family: [*families[family]] for family in ordered}
