"""Everything into one file: the template, its style and script, the figures and the tables."""

from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from bench.analysis import baselines, families, time_to_target, verdicts
from bench.analysis.aggregate import VariantTables
from bench.analysis.comparisons import COMPARISON_KEY, TABLE_KEY, Comparison, explain_split
from bench.analysis.crossovers import SpeedPair
from bench.analysis.scaling import ScalingStudy
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.time_to_target import Target
from bench.records.tables import Records
from bench.reporting import html_table, summary_text
from bench.reporting.html_table import Table
from bench.reporting.plots import pictures, regret_figures, scaling_figures
from bench.reporting.sections import (
    facts,
    fairness,
    infilling,
    model_cards,
    protocols,
    regrets,
    same_windows,
    scaling_tables,
    sections,
    tuning,
)

HERE = Path(__file__).parent


class CurveResults(NamedTuple):
    """What is read off curves and off sweeps of size and data."""

    aims: list[list[Target | None]]  # for each comparison and each of its tables
    scales: list[ScalingStudy]


def render_page(
    name: str,
    records: Records,
    tables: VariantTables,
    sittings: list[MeasuredSession],
    parts: list[Comparison],
    measured: list[tuple[SpeedGroup, list[SpeedPair]]],
    stale: frozenset[int],
    laws: CurveResults,
) -> str:
    """The page as text. `stale`: rows that other sources than today's made."""
    overview = regrets.regret_overview(parts)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html").render(
        name=name,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8") + families.palette_css()),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        palette=len(families.PALETTE),
        apart=explain_split([part.rows for part in parts], COMPARISON_KEY),
        comparisons=[
            _comparison(part, records, tables, sittings, stale, bool(overview))
            | {"targets": _targets(part, aim)}
            for part, aim in zip(parts, laws.aims, strict=True)
        ],
        scales=[_scale(scale) for scale in laws.scales],
        answers=summary_text.measurement_sentences([group for group, _ in measured])
        if not len(tables.runs)
        else [],
        floors={
            "table": overview,
            "panels": regret_figures.regret_plots(parts),
            "legend": regret_figures.legend(parts),
        },
        sittings=sections.sections(sittings, measured),
        searches=tuning.sections(records.searches, parts),
        families=model_cards.by_family(parts, [group for group, _ in measured], records.checks),
        machines=len({sitting.machine for sitting in sittings}),
        failures=facts.failures(tables.runs, records.aside, records.measures),
        environments=facts.distinct(tables.runs["environment"]),
        commits=facts.commits(tables.runs["provenance"]),
        stale=len(stale),
        unfinished=int((tables.runs["status"] != "done").sum()),
        aside=len(records.aside),
    )


def stale_rows(tables: VariantTables, source: str) -> frozenset[int]:
    """Rows with a finished run that was made by other sources than today's."""
    runs = tables.runs[tables.runs["status"] == "done"]
    said = [(p.get("digests") or {}).get("source", "") for p in runs["provenance"]]
    return frozenset(
        int(row)
        for row, digest in zip(runs["row"], said, strict=True)
        if source and digest and digest != source
    )


def _targets(part: Comparison, aims: list[Target | None]) -> list[Table]:
    return [
        time_to_target.target_table(f"{part.name}-target-{n}", aim)
        for n, aim in enumerate(aims)
        if aim is not None
    ]


def _scale(scale: ScalingStudy) -> dict[str, Any]:
    return {
        "name": scale.name,
        "title": f"{scale.data}, a context of {scale.context} tokens",
        "sentences": scaling_tables.scaling_sentences(scale),
        "tables": scaling_tables.scaling_tables(scale),
        "figures": scaling_figures.scaling_plots(scale),
    }


def _comparison(
    part: Comparison,
    records: Records,
    tables: VariantTables,
    sittings: list[MeasuredSession],
    stale: frozenset[int],
    several: bool,
) -> dict[str, Any]:
    """What the template needs for one comparison. `several`: it is one of several known floors, and stands in their table."""
    machines = {sitting.machine for sitting in sittings}
    measured = [
        sitting for sitting in sittings if sitting.medians.index.isin(part.rows["subject"]).any()
    ]
    one = measured[0] if len(machines) == 1 and len(measured) == 1 else None
    lines = [baselines.select_baselines(records, rows) for rows in part.likelihoods]
    picture, drawings = pictures.pictures(part, records, measured, lines)
    drawings[0][1].extend(protocols.drawings(part, records, tables))
    return {
        "name": part.name,
        "title": part.title,
        "sentences": regrets.regret_sentences(part)
        if several and part.regrets
        else summary_text.summary_sentences(part, sittings, lines),
        "picture": picture,
        "facts": facts.facts(part),
        "fairness": fairness.fairness_sheet(part, f"{part.name}-fairness", stale),
        "apart": explain_split(list(part.likelihoods), TABLE_KEY),
        "likelihoods": [
            html_table.likelihood_table(f"{part.name}-quality-{n}", rows, one, stale, lines[n])
            for n, rows in enumerate(part.likelihoods)
        ],
        "regrets": [
            regrets.regret_table(f"{part.name}-regret-{n}", rows, stale, several)
            for n, rows in enumerate(part.regrets)
        ],
        "verdicts": [
            verdicts.verdict_table(f"{part.name}-verdicts-{n}", found)
            for n, found in enumerate(part.verdicts)
            if len(found.pairs)
        ],
        "pseudo": [
            html_table.encoder_table(f"{part.name}-pseudo-{n}", rows, stale)
            for n, rows in enumerate(part.pseudo)
        ],
        "windows": same_windows.tabulate(part, tables, stale),
        "fillings": infilling.tabulate(part, tables, stale),
        "protocols": protocols.tabulate(part, records, tables, stale),
        "orders": part.orders.to_dict("records"),
        "equal_order": part.equal_order,
        "figures": drawings,
        "legend": model_cards.legend(part),
        "glance": facts.glance(part, measured),
        "texts": facts.texts(part),
    }
