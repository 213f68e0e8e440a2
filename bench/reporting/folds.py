"""The folded sections of the page, in their order."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from bench.analysis.build import Analysis
from bench.analysis.comparisons import TABLE_KEY, Comparison, explain_split
from bench.analysis.protocols import curve_gaps, protocol_scores
from bench.analysis.searches import group_searches, shipped_searches
from bench.analysis.windows import infilling_scores, window_scores
from bench.reporting import panel_data
from bench.reporting.charts.memory_bars import memory_bars
from bench.reporting.charts.panels import panels
from bench.reporting.html_table import Table
from bench.reporting.section import TEMPLATES, Chart, Section
from bench.reporting.sections import cost_tables, facts
from bench.reporting.sections.crossings import crossing_blocks
from bench.reporting.sections.fairness import fairness_facts
from bench.reporting.sections.fine_tuning import fine_tuning_section
from bench.reporting.sections.infilling import infilling_table
from bench.reporting.sections.lookback import lookback_section
from bench.reporting.sections.model_cards import cards_by_family
from bench.reporting.sections.preferences import preferences
from bench.reporting.sections.protocols import protocol_table
from bench.reporting.sections.quality import encoder_table
from bench.reporting.sections.regrets import regret_overview, regret_table
from bench.reporting.sections.scaling import scaling_tables
from bench.reporting.sections.sessions import session_blocks
from bench.reporting.sections.settings import row_settings
from bench.reporting.sections.targets import target_table
from bench.reporting.sections.tuning import search_table, search_titles
from bench.reporting.sections.windows import window_table
from bench.reporting.views import View

MakeFold = Callable[[Analysis, Sequence[View]], Section | None]  # None: there is nothing to show


def folded_sections(analysis: Analysis, views: Sequence[View]) -> list[Section]:
    """Return the sections that have something to show."""
    return [section for make in FOLDS if (section := make(analysis, views))]


def _write(macro: str, *values: Any) -> Markup:
    template: Any = TEMPLATES.get_template("folds.html").make_module()
    return Markup(getattr(template, macro)(*values))


def _with_charts(
    anchor: str, title: str, charts: Sequence[tuple[Chart, pd.DataFrame]], rest: Markup
) -> Section | None:
    """Return a section of charts, each with its dataset, over the rest; None of empty ones."""
    drawn = [(chart, table) for chart, table in charts if len(table)]
    if not drawn and not rest.strip():
        return None
    html = _write("charts", [chart for chart, _ in drawn], []) + rest
    datasets = {chart.name: table for chart, table in drawn}
    return Section(anchor, title, html, tuple(chart for chart, _ in drawn), datasets)


def _panels(
    about: tuple[str, str, str], table: pd.DataFrame, log: str = "xy", base: int = 10
) -> tuple[Chart, pd.DataFrame]:
    """Return small multiples with their dataset. `about`: name, title and caption."""
    name, title, caption = about
    order = tuple(dict.fromkeys(table["panel"]))
    return Chart(name, title, panels(name, order, log, base), caption), table


def _by_comparison(
    parts: Iterable[Comparison], write: Callable[[Comparison], Markup | None]
) -> Markup:
    """Return what each comparison has to show; the script shows that of the current view."""
    blocks = [(part, html) for part in parts if (html := write(part)) and html.strip()]
    shown = [{"name": part.name, "title": part.title, "html": html} for part, html in blocks]
    return _write("blocks", shown) if shown else Markup("")


def synthetic(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return regret on synthetic sources: a matrix, small multiples, and a table of each source."""
    parts, means = analysis.comparisons, analysis.variants.means
    overview = regret_overview(parts)
    tables = [
        regret_table(f"{part.name}-regret-{n}", rows, means, overview is not None)
        for part in parts
        for n, rows in enumerate(part.regrets)
    ]
    caption = panel_data.undrawn_regrets(views)
    about = ("regrets", "Regret, nats per token, against bytes of state", caption)
    chart = _panels(about, panel_data.regret_data(views, parts))
    rest = _write("tables", [*([overview] if overview else []), *tables])
    return _with_charts("floors", "Synthetic tasks", [chart], rest)


def scaling(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return the laws of loss over size and data."""
    caption = "Points: means over seeds; lines: the fitted laws."
    charts = [
        _panels(
            (
                f"{study.name}-chart",
                f"{study.unit.capitalize()} on {study.data}, a context of {study.context} tokens",
                caption,
            ),
            panel_data.scaling_data(study),
        )
        for study in analysis.studies
    ]
    tables = [table for study in analysis.studies for table in scaling_tables(study)]
    return _with_charts("scaling", "Scaling laws", charts, _write("tables", tables))


def length(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return speeds over length and batch, and where the order changes."""
    about = ("lengths", "Speed over length and batch", "Bands: 95 % intervals.")
    chart = _panels(about, panel_data.length_data(views), base=2)
    rest = _write("crossings", crossing_blocks(analysis.groups))
    return _with_charts("length", "Context length and batch", [chart], rest)


def memory(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return the memory of a training step by content, and why a step is slow."""
    chart = Chart("memory-parts", "Memory of a training step, by what it holds", memory_bars())
    tables = [
        table
        for group in analysis.groups
        for table in (cost_tables.memory_table(group), cost_tables.cost_table(group))
        if table.rows or table.notes
    ]
    data = [(chart, panel_data.memory_data(views))]
    return _with_charts("memory", "Memory and cost of a step", data, _write("tables", tables))


def fairness(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return what the rows of a comparison share, in what they differ, and the searches."""
    parts = analysis.comparisons
    records = analysis.records
    groups = group_searches([*records.searches, *shipped_searches(records.runs)])
    titles = search_titles(groups)
    caption = "Each point is a trial; those that diverged are in the table."
    about = ("searches", "Loss against learning rate", caption)
    chart = _panels(about, panel_data.search_data(groups, titles), "x")
    pairs = enumerate(zip(groups, titles, strict=True))
    searched = _write("tables", [search_table(f"search-{n}", *pair) for n, pair in pairs])
    rest = _by_comparison(parts, lambda part: _write("fairness", fairness_facts(part)))
    return _with_charts("fairness", "Fairness and tuning", [chart], rest + searched)


def texts(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return what each causal model wrote."""

    def write(part: Comparison) -> Markup | None:
        written = facts.generated_texts(part)
        return _write("texts", written) if written else None

    html = _by_comparison(analysis.comparisons, write)
    return Section("texts", "Generated text", html) if html else None


def encoders(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return encoders beside causal models on the same windows, and their own numbers."""
    variants, means = analysis.variants, analysis.variants.means

    def write(part: Comparison) -> Markup | None:
        if not part.pseudo:
            return None
        windows = enumerate(window_scores(part, variants))
        filled, pseudo = enumerate(infilling_scores(part, variants)), enumerate(part.pseudo)
        tables: list[Table] = [
            *(window_table(f"{part.name}-windows-{n}", one, means) for n, one in windows),
            *(infilling_table(f"{part.name}-fillings-{n}", one, means) for n, one in filled),
            *(encoder_table(f"{part.name}-pseudo-{n}", one, means) for n, one in pseudo),
        ]  # fmt: skip
        return _write("encoders", tables)

    html = _by_comparison(analysis.comparisons, write)
    return Section("encoders", "Encoders", html) if html else None


def protocols(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return scores under other protocols, the loss by context, and the cost of a target."""
    caption = "Bands: lowest to highest seed. A line that keeps falling uses the further tokens."
    about = ("contexts", "Loss by context", caption)
    chart = _panels(about, panel_data.context_data(views, analysis.records), "x", base=2)
    rest = _by_comparison(analysis.comparisons, lambda part: _protocols_of(part, analysis))
    return _with_charts("protocols", "Protocols, context and targets", [chart], rest)


def _protocols_of(part: Comparison, analysis: Analysis) -> Markup:
    variants, records = analysis.variants, analysis.records
    notes, tables = explain_split(list(part.likelihoods), TABLE_KEY), []
    for n, rows in enumerate(part.likelihoods):
        notes += curve_gaps(rows[~rows["control"]], records, variants, "context_nats")
        scores = protocol_scores(rows, records, variants)
        if scores is not None:
            tables.append(protocol_table(f"{part.name}-protocols-{n}", scores, variants.means))
    tables += [
        target_table(f"{part.name}-target-{n}", target)
        for n, target in enumerate(part.targets)
        if target is not None
    ]
    return _write("notes", notes) + _write("tables", tables)


def machine(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return how far the measurements may be trusted, and on which machines runs were trained."""
    runs, sessions = analysis.variants.runs, analysis.sessions
    if not sessions and not len(runs):
        return None
    html = _write(
        "machine",
        session_blocks(sessions, analysis.groups),
        len({session.machine for session in sessions}) > 1,
        facts.distinct_environments(runs["environment"]),
        facts.source_commits(runs["provenance"]),
    )
    return Section("machine", "Machine and calibration", html)


def architectures(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return a card per architecture with the settings and the command of each of its rows."""
    parts = analysis.comparisons
    shared, settings = row_settings(parts)
    cards = cards_by_family(parts, analysis.groups, analysis.records.checks, settings)
    return (
        Section("architectures", "Model cards", _write("cards", cards, shared)) if cards else None
    )


def failures(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return what has no result, with its reason and the command that runs it again."""
    records = analysis.records
    rows = facts.failures(analysis.variants.runs, records.excluded, records.measures)
    return Section("failures", "Without a result", _write("failures", rows)) if rows else None


def _without_views(make: Callable[[Analysis], Section | None]) -> MakeFold:
    return lambda analysis, views: make(analysis)


FOLDS: tuple[MakeFold, ...] = (
    _without_views(fine_tuning_section), _without_views(preferences), length, memory,
    lookback_section, fairness, texts, encoders, protocols, synthetic, scaling, machine,
    architectures, failures,
)  # fmt: skip
