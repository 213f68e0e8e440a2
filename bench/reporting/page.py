"""The page: one file with its style, its scripts, its data and its sections."""

import base64
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.analysis.build import Analysis
from bench.analysis.families import CONTROL
from bench.analysis.sessions import DECODE_RATE, TRAIN_RATE, TRAINING_MEMORY
from bench.reporting import header, page_data
from bench.reporting.charts.main import loss_curves, side_by_side, tradeoff, verdict_matrix
from bench.reporting.figures.files import EMBEDDED
from bench.reporting.folds import folded_sections
from bench.reporting.listed import LISTS
from bench.reporting.main_table import GROUPS, TERMS, main_table
from bench.reporting.palette import swatch_css
from bench.reporting.section import HERE, Chart, Section, render
from bench.reporting.views import View, build_views

LIBRARIES = "vega vega-lite vega-interpreter vega-embed".split()  # see static/README.md
SELECTORS = ("source", "size", "training", "scoring")
PANELS = (  # measure, title, whether it starts at zero
    ("quality", "quality", False),
    (TRAIN_RATE, "training, tokens/s", True),
    (DECODE_RATE, "decoding, tokens/s", True),
    (page_data.BATCHED, "decoding batched, tokens/s", True),
    (TRAINING_MEMORY, "training memory, bytes", True),
    ("state_bytes", "state, bytes", True),
)
NO_DATA = {
    **{key: {} for key in "rows measures levels verdicts metrics datasets specs".split()},
    "views": [],
    "curves": {"grids": [], "lines": {}},
}
NOTHING = dict.fromkeys("facts commands apart unfinished excluded stale view figures".split(), ())
LONG_NUMBER = re.compile(r"(\.\d\d)\d+")  # of a drawing: hundredths of a point are enough
ABOUT_ZOOM = "Ctrl and wheel zoom, dragging pans, a double-click resets."
ABOUT_INTERVALS = "Bars: 95 % intervals."
ABOUT_FRONT = "Dashed: the Pareto front. Dotted: baselines. Bars: 95 % intervals."


def render_page(
    name: str,
    analysis: Analysis,
    figures: Mapping[str, Path] | None = None,
    files: Collection[str] = (),
) -> str:
    """Return the page of a suite as text.

    `figures`: SVG files by name; where no script runs some are shown and the others linked.
    `files`: CSV files that have rows, to be linked.
    """
    views = build_views(analysis)
    sections = _main_sections(views, analysis) if views else []
    sections += folded_sections(analysis, views)
    data = _data(views, analysis, sections)
    return render_document(
        header.page_title(analysis),
        [*sections, glossary(data["metrics"])],
        data,
        facts=header.page_facts(name, analysis),
        commands=header.commands(analysis),
        answers=list(header.answers(analysis)),
        **header.notes(analysis),
        **_filter(views, data["rows"]),
        files=[*files, "columns.csv", "report.md"],
        figures=[_figure(name, path) for name, path in (figures or {}).items()],
    )


def render_document(
    title: str, sections: Sequence[Section], data: Mapping[str, Any] | None = None, **content: Any
) -> str:
    """Return a page of sections; `data`: of the page's charts and filter, if it has any.

    `content`: what page.html shows around the sections.
    """
    data = data or NO_DATA
    libraries = [f"{one}.min.js" for one in LIBRARIES if data["specs"]]  # they draw charts
    scripts = [_static(library) for library in (*libraries, "report.js")]
    return render(
        "page.html",
        title=title,
        sections=sections,
        charts=bool(libraries),
        policy=_policy(scripts),
        style=Markup(_static("report.css") + swatch_css()),
        scripts=[Markup(script) for script in scripts],
        data=Markup(page_data.as_json(data)),
        **NOTHING | content,
    )


def _main_sections(views: Sequence[View], analysis: Analysis) -> list[Section]:
    beside = Chart("side-by-side", "Side by side", side_by_side(PANELS), ABOUT_INTERVALS)
    curves = Chart("curves", "Learning curves", loss_curves(), ABOUT_ZOOM)
    against = Chart("tradeoff", "Quality against a measure", tradeoff(), ABOUT_FRONT)
    matrix = Chart("matrix", "Verdict on each pair", verdict_matrix())
    tested = any(len(view.verdicts.pairs) for view in views if view.verdicts)
    tables = [(view, main_table(view, analysis.variants.means)) for view in views]
    side = render("side_by_side.html", chart=beside, panels=PANELS)
    figures = render("charts.html", curves=curves, tradeoff=against)
    table = render("table.html", tables=tables, groups=GROUPS, matrix=matrix if tested else None)
    drawn = (matrix,) if tested else ()
    sections = [
        Section("side", "Side by side", side, (beside,), folded=False),
        Section("figures", "Curves and trade-offs", figures, (curves, against), folded=False),
        Section("table", "Table", table, drawn, folded=False),
    ]
    return sections if any(view.quality for view in views) else sections[::2]


def glossary(metrics: Mapping[str, Mapping[str, str]]) -> Section:
    """Return what the measures of the page and the columns of its table mean."""
    measures = [(facts["title"], facts["unit"], facts["help"]) for facts in metrics.values()]
    columns = [(title, "", help) for title, help in TERMS.items()]
    listed = {**LISTS["recipe"], **LISTS["tuning"]}
    columns += [(title, "", about[0]) for title, about in listed.items()]
    entries = sorted(entry for entry in [*measures, *columns] if entry[2])
    return Section("glossary", "Glossary", render("glossary.html", entries=entries))


def _static(name: str) -> str:
    """Return a file of static/, without comments that fill a line; ours without indentation."""
    lines = (HERE / "static" / name).read_text(encoding="utf-8").split("\n")
    kept = (line for line in lines if line and not line.lstrip().startswith("//"))
    return "\n".join(kept if ".min." in name else map(str.strip, kept))


def _figure(name: str, path: Path) -> dict[str, str]:
    """Return the title of an SVG file, its address and, of those in the page, its contents."""
    drawing = LONG_NUMBER.sub(r"\1", " ".join(path.read_text(encoding="utf-8").split()))
    picture = f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}"
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
    measures = page_data.measure_table(views, analysis.variants.means)
    own = {name: table for section in sections for name, table in section.datasets.items()}
    tables = {
        "rows": page_data.row_table(views, analysis),
        "measures": measures,
        "levels": page_data.level_table(views),
        "verdicts": page_data.verdict_data(views),
    }
    return {
        "views": page_data.view_facts(views),
        **{name: page_data.encode_table(table) for name, table in tables.items()},
        "curves": page_data.curve_data(views, analysis.records.curves),
        "metrics": {name: _about(name) for name in dict.fromkeys(measures["metric"])},
        "datasets": {name: page_data.encode_table(table) for name, table in own.items()},
        "specs": {chart.name: chart.spec for section in sections for chart in section.charts},
    }


def _about(metric: str) -> dict[str, str]:
    spec = page_data.measure_spec(metric)
    return {one: getattr(spec, one) for one in ("title", "unit", "better", "help")}


def _filter(views: Sequence[View], rows: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    values = {name: list(dict.fromkeys(view.choices[name] for view in views)) for name in SELECTORS}
    families: dict[str, dict[str, None]] = {}  # of the labels that can be shown or hidden
    for base, family in zip(rows["base"], rows["family"], strict=True):
        families.setdefault(str(family), {})[str(base)] = None
    ordered = sorted(families, key=lambda family: (family == CONTROL, family))
    return {
        "view": views[0] if views else None,
        "choices": {name: own for name, own in values.items() if len(own) > 1},
        "architectures": {family: [*families[family]] for family in ordered},
        "hidden_family": CONTROL,
    }
