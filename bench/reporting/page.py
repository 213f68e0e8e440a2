"""The page: one file with its style, its script, the plots and the tables."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bench.analysis.build import Analysis
from bench.analysis.comparisons import COMPARISON_KEY, explain_split
from bench.analysis.families import DARK_PALETTE, PALETTE
from bench.analysis.scaling import ScalingStudy
from bench.analysis.searches import group_searches
from bench.reporting.comparison import comparison_section
from bench.reporting.plots.regret_plots import regret_legend, regret_plots
from bench.reporting.plots.scaling_plots import scaling_plots
from bench.reporting.sections import facts
from bench.reporting.sections.model_cards import cards_by_family
from bench.reporting.sections.regrets import regret_overview
from bench.reporting.sections.scaling import scaling_tables
from bench.reporting.sections.scaling_text import scaling_sentences
from bench.reporting.sections.sessions import session_sections
from bench.reporting.sections.tuning import tuning_sections
from bench.reporting.summary_text import measurement_sentences

HERE = Path(__file__).parent


def render_page(name: str, analysis: Analysis) -> str:
    """Return the page of a suite as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    parts = analysis.comparisons
    overview = regret_overview(parts)
    return environment.get_template("page.html").render(
        name=name,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8") + _palette_css()),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        palette=len(PALETTE),
        apart=explain_split([part.rows for part in parts], COMPARISON_KEY),
        comparisons=[comparison_section(part, analysis, bool(overview)) for part in parts],
        studies=[_study_section(study) for study in analysis.studies],
        answers=[] if len(analysis.variants.runs) else measurement_sentences(analysis.groups),
        regrets={
            "table": overview,
            "plots": regret_plots(parts),
            "legend": regret_legend(parts),
        },
        sessions=session_sections(analysis.sessions, analysis.groups),
        searches=tuning_sections(group_searches(analysis.records.searches, parts)),
        **_provenance(analysis),
        families=cards_by_family(parts, analysis.groups, analysis.records.checks),
    )


def _study_section(study: ScalingStudy) -> dict[str, Any]:
    """Return what the template needs of one scaling study."""
    return {
        "title": f"{study.data}, a context of {study.context} tokens",
        "sentences": scaling_sentences(study),
        "tables": scaling_tables(study),
        "plots": scaling_plots(study),
    }


def _provenance(analysis: Analysis) -> dict[str, Any]:
    """Return what the runs came from, and what has no result."""
    runs, excluded = analysis.variants.runs, analysis.records.excluded
    return {
        "machines": len({session.machine for session in analysis.sessions}),
        "failures": facts.failures(runs, excluded, analysis.records.measures),
        "environments": facts.distinct_environments(runs["environment"]),
        "commits": facts.source_commits(runs["provenance"]),
        "stale": int(analysis.variants.summary["stale"].sum()),
        "unfinished": int((runs["status"] != "done").sum()),
        "excluded": len(excluded),
    }


def _palette_css() -> str:
    """Return the colours of all shades on light and on dark paper, and their swatches."""

    def block(palette: Collection[str]) -> str:
        colours = " ".join(f"--s{number}: {code};" for number, code in enumerate(palette))
        return f":root {{ {colours} }}"

    swatches = "".join(f".s{n} {{ background: var(--s{n}); }}\n" for n in range(len(PALETTE)))
    dark = f"@media (prefers-color-scheme: dark) {{ {block(DARK_PALETTE)} }}"
    return f"{block(PALETTE)}\n{dark}\n{swatches}"
