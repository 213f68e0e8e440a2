"""The folded sections of the page, in their order."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pandas as pd
from markupsafe import Markup

from bench.analysis.build import Analysis
from bench.analysis.comparisons import TABLE_KEY, Comparison, explain_split
from bench.analysis.protocols import curve_gaps, protocol_scores
from bench.analysis.searches import group_searches, shipped_searches
from bench.reporting import panel_data
from bench.reporting.charts.folded import memory_bars
from bench.reporting.html_table import shown_tables
from bench.reporting.section import Chart, Section, write
from bench.reporting.sections import facts
from bench.reporting.sections.crossings import crossing_blocks
from bench.reporting.sections.encoders import encoder_tables
from bench.reporting.sections.fairness import fairness_facts, search_table, search_titles
from bench.reporting.sections.fine_tuning import fine_tuning_section
from bench.reporting.sections.lookback import lookback_section
from bench.reporting.sections.machine import machine_facts
from bench.reporting.sections.measured import cost_table, memory_table
from bench.reporting.sections.model_cards import cards_by_family, row_settings
from bench.reporting.sections.preferences import preferences
from bench.reporting.sections.protocols import protocol_table, target_table
from bench.reporting.sections.regrets import regret_overview, regret_table
from bench.reporting.sections.scaling import scaling_tables
from bench.reporting.views import View

MakeFold = Callable[[Analysis, Sequence[View]], Section | None]  # None: there is nothing to show
REGRETS = "Regret, nats per token, against bytes of state"
Drawn = tuple[Chart, pd.DataFrame]  # a chart and its dataset


def folded_sections(analysis: Analysis, views: Sequence[View]) -> list[Section]:
    """Return the sections that have something to show."""
    return [section for make in FOLDS if (section := make(analysis, views))]


def _section(anchor: str, title: str, html: Markup, charts: Sequence[Drawn] = ()) -> Section | None:
    """Return a section of charts over HTML, without those of no data; None of an empty one."""
    drawn = [(chart, table) for chart, table in charts if len(table)]
    if not drawn and not html.strip():
        return None
    shown = tuple(chart for chart, _ in drawn)
    datasets = {chart.name: table for chart, table in drawn}
    return Section(anchor, title, write("charts", shown) + html, shown, datasets)


def _by_comparison(
    parts: Iterable[Comparison], macro: str, make: Callable[[Comparison], Any]
) -> Markup:
    """Return what a macro makes of each comparison; the script shows that of the current view."""
    made = [(part, write(macro, values)) for part in parts if (values := make(part))]
    shown = [(part.name, part.title, html) for part, html in made if html.strip()]
    return write("blocks", shown) if shown else Markup("")


def synthetic(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return regret on synthetic sources: a matrix, small multiples, and a table of each source."""
    parts, means = analysis.comparisons, analysis.variants.means
    overview = regret_overview(parts)
    tables = [
        regret_table(f"{part.name}-regret-{n}", rows, means, overview is not None)
        for part in parts
        for n, rows in enumerate(part.regrets)
    ]
    title, caption = REGRETS, panel_data.undrawn_regrets(views)
    chart = panel_data.panels_of("regrets", title, caption, panel_data.regret_data(views, parts))
    rest = write("tables", [*([overview] if overview else []), *tables])
    return _section("floors", "Synthetic tasks", rest, [chart])


def scaling(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return the laws of loss over size and data."""
    caption, charts, tables = "Points: means over seeds; lines: the fitted laws.", [], []
    for study in analysis.studies:
        title = f"{study.unit.capitalize()} on {study.data}, a context of {study.context} tokens"
        data = panel_data.scaling_data(study)
        charts.append(panel_data.panels_of(f"{study.name}-chart", title, caption, data))
        tables += scaling_tables(study)
    return _section("scaling", "Scaling laws", write("tables", tables), charts)


def length(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return speeds over length and batch, and where the order changes."""
    data, caption = panel_data.length_data(views), "Bands: 95 % intervals."
    chart = panel_data.panels_of("lengths", "Speed over length and batch", caption, data, base=2)
    rest = write("crossings", crossing_blocks(analysis.groups))
    return _section("length", "Context length and batch", rest, [chart])


def memory(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return the memory of a training step by content, and why a step is slow."""
    chart = Chart(
        "memory-parts", "Memory of a training step, by what it holds", memory_bars(),
        "Tensors at the peak. Training memory in the table is the allocator's peak where that is "
        "larger: buffers inside operators, of fused recurrences for example, are no tensors.",
    )  # fmt: skip
    tables = [make(group) for group in analysis.groups for make in (memory_table, cost_table)]
    charts = [(chart, panel_data.memory_data(views))]
    rest = write("tables", shown_tables(tables))
    return _section("memory", "Memory and cost of a step", rest, charts)


def fairness(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return what the rows of a comparison share, in what they differ, and the searches."""
    records = analysis.records
    groups = group_searches([*records.searches, *shipped_searches(records.runs)])
    titles = search_titles(groups)
    caption = "Each point is a trial; those that diverged are in the table."
    data = panel_data.search_data(groups, titles)
    chart = panel_data.panels_of("searches", "Loss against learning rate", caption, data, "x")
    pairs = enumerate(zip(groups, titles, strict=True))
    searched = write("tables", [search_table(f"search-{n}", *pair) for n, pair in pairs])
    rest = _by_comparison(analysis.comparisons, "fairness", fairness_facts)
    return _section("fairness", "Fairness and tuning", rest + searched, [chart])


def texts(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return what each causal model wrote."""
    html = _by_comparison(analysis.comparisons, "texts", facts.generated_texts)
    return _section("texts", "Generated text", html)


def encoders(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return encoders beside causal models on the same windows, and their own numbers."""
    make = partial(encoder_tables, analysis=analysis)
    return _section("encoders", "Encoders", _by_comparison(analysis.comparisons, "encoders", make))


def protocols(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return scores under other protocols, the loss by context, and the cost of a target."""
    caption = "Bands: lowest to highest seed. A line that keeps falling uses the further tokens."
    data = panel_data.context_data(views, analysis.records)
    chart = panel_data.panels_of("contexts", "Loss by context", caption, data, "x", base=2)
    make = partial(_protocols_of, analysis=analysis)
    rest = _by_comparison(analysis.comparisons, "protocols", make)
    return _section("protocols", "Protocols, context and targets", rest, [chart])


def _protocols_of(part: Comparison, analysis: Analysis) -> tuple[list[str], list[Any]]:
    variants, records = analysis.variants, analysis.records
    notes, tables = explain_split(list(part.likelihoods), TABLE_KEY), []
    for n, rows in enumerate(part.likelihoods):
        notes += curve_gaps(rows[~rows["control"]], records, variants, "context_nats")
        scores = protocol_scores(rows, records, variants)
        if scores is not None:
            tables.append(protocol_table(f"{part.name}-protocols-{n}", scores, variants.means))
    targets = enumerate(part.targets)
    tables += [target_table(f"{part.name}-target-{n}", one) for n, one in targets if one]
    return notes, tables


def machine(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return how far the measurements may be trusted, and on which machines runs were trained."""
    has_records = analysis.sessions or len(analysis.variants.runs)
    html = write("machine", machine_facts(analysis)) if has_records else Markup("")
    return _section("machine", "Machine and calibration", html)


def architectures(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return a card per architecture with the settings and the command of each of its rows."""
    shared, settings = row_settings(analysis.comparisons)
    cards = cards_by_family(analysis, settings)
    html = write("cards", cards, shared)
    return Section("architectures", "Model cards", html) if cards else None


def failures(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return what has no result, with its reason and the command that runs it again."""
    records = analysis.records
    rows = facts.failures(analysis.variants.runs, records.excluded, records.measures)
    return Section("failures", "Without a result", write("failures", rows)) if rows else None


FOLDS: tuple[MakeFold, ...] = (
    fine_tuning_section, preferences, length, memory, lookback_section, fairness, texts, encoders,
    protocols, synthetic, scaling, machine, architectures, failures,
)  # fmt: skip
