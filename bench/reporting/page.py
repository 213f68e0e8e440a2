"""Everything into one file: the template, its style and script, the figures and the tables."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bench.analysis import families, time_to_target, verdicts
from bench.analysis.build import Analysis
from bench.analysis.comparisons import COMPARISON_KEY, TABLE_KEY, Comparison, explain_split
from bench.analysis.scaling import ScalingStudy
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


def render_page(name: str, results: Analysis) -> str:
    """Return the page as text."""
    records, tables, parts = results.records, results.variants, results.comparisons
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
        comparisons=[_comparison(part, results, bool(overview)) for part in parts],
        scales=[_scale(scale) for scale in results.studies],
        answers=summary_text.measurement_sentences(results.groups) if not len(tables.runs) else [],
        floors={
            "table": overview,
            "panels": regret_figures.regret_plots(parts),
            "legend": regret_figures.legend(parts),
        },
        sittings=sections.sections(results.sessions, results.groups),
        searches=tuning.sections(records.searches, parts),
        families=model_cards.by_family(parts, results.groups, records.checks),
        machines=len({one.machine for one in results.sessions}),
        failures=facts.failures(tables.runs, records.excluded, records.measures),
        environments=facts.distinct(tables.runs["environment"]),
        commits=facts.commits(tables.runs["provenance"]),
        stale=int(tables.summary["stale"].sum()),
        unfinished=int((tables.runs["status"] != "done").sum()),
        aside=len(records.excluded),
    )


def _targets(part: Comparison) -> list[Table]:
    return [
        time_to_target.target_table(f"{part.name}-target-{n}", aim)
        for n, aim in enumerate(part.targets)
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


def _comparison(part: Comparison, results: Analysis, several: bool) -> dict[str, Any]:
    """What the template needs for one comparison. `several`: it is one of several known floors, and stands in their table."""
    records, tables = results.records, results.variants
    machines = {one.machine for one in results.sessions}
    one = part.sessions[0] if len(machines) == 1 and len(part.sessions) == 1 else None
    picture, drawings = pictures.pictures(part, records)
    drawings[0][1].extend(protocols.drawings(part, records, tables))
    return {
        "name": part.name,
        "title": part.title,
        "sentences": regrets.regret_sentences(part)
        if several and part.regrets
        else summary_text.summary_sentences(part, results.sessions),
        "picture": picture,
        "facts": facts.facts(part),
        "fairness": fairness.fairness_sheet(part, f"{part.name}-fairness"),
        "apart": explain_split(list(part.likelihoods), TABLE_KEY),
        "likelihoods": [
            html_table.likelihood_table(f"{part.name}-quality-{n}", rows, one, part.baselines[n])
            for n, rows in enumerate(part.likelihoods)
        ],
        "regrets": [
            regrets.regret_table(f"{part.name}-regret-{n}", rows, several)
            for n, rows in enumerate(part.regrets)
        ],
        "targets": _targets(part),
        "verdicts": [
            verdicts.verdict_table(f"{part.name}-verdicts-{n}", found)
            for n, found in enumerate(part.verdicts)
            if len(found.pairs)
        ],
        "pseudo": [
            html_table.encoder_table(f"{part.name}-pseudo-{n}", rows)
            for n, rows in enumerate(part.pseudo)
        ],
        "windows": same_windows.tabulate(part, tables),
        "fillings": infilling.tabulate(part, tables),
        "protocols": protocols.tabulate(part, records, tables),
        "orders": part.orders.to_dict("records"),
        "equal_order": part.equal_order,
        "figures": drawings,
        "legend": model_cards.legend(part),
        "glance": facts.glance(part, part.sessions),
        "texts": facts.texts(part),
    }
