"""The folded sections of the page, in their order."""

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from bench.analysis.build import Analysis
from bench.analysis.families import PALETTE
from bench.analysis.searches import group_searches
from bench.reporting.comparison import comparison_section
from bench.reporting.plots.regret_plots import regret_legend, regret_plots
from bench.reporting.plots.scaling_plots import scaling_plots
from bench.reporting.section import TEMPLATES, MakeSection, Section
from bench.reporting.sections import facts
from bench.reporting.sections.fine_tuning import fine_tuning_section
from bench.reporting.sections.lookback import lookback_section
from bench.reporting.sections.model_cards import cards_by_family
from bench.reporting.sections.preferences import preferences
from bench.reporting.sections.regrets import regret_overview
from bench.reporting.sections.scaling import scaling_tables
from bench.reporting.sections.sessions import session_sections
from bench.reporting.sections.tuning import tuning_sections


def _legacy(macro: str, *values: Any) -> Markup:
    template = TEMPLATES.get_template("legacy.html").make_module()
    write: Callable[..., Markup] = getattr(template, macro)
    return Markup(write(*values))


def regrets(analysis: Analysis) -> Section | None:
    """Return regret on synthetic sources, against bytes of state."""
    parts = analysis.comparisons
    plots = regret_plots(parts)
    content = {"table": regret_overview(parts), "plots": plots, "legend": regret_legend(parts)}
    html = _legacy("floors", content, len(PALETTE))
    return Section("floors", "Regret on synthetic sources", html) if plots else None


def scaling(analysis: Analysis) -> Section | None:
    """Return the fits of loss against size and data."""
    studies = [
        {
            "title": f"{study.data}, a context of {study.context} tokens",
            "tables": scaling_tables(study),
            "plots": scaling_plots(study),
        }
        for study in analysis.studies
    ]
    html = _legacy("scaling", studies)
    return Section("scaling", "Loss against size and data", html) if studies else None


def comparisons(analysis: Analysis) -> Section | None:
    """Return quality, protocols, encoders, texts and fairness of each comparison."""
    parts = analysis.comparisons
    overview = bool(regret_overview(parts))
    html = Markup("")
    for part in parts:
        content = comparison_section(part, analysis, overview)
        title = Markup('<h3 id="{}">{}</h3>').format(part.name, part.title)
        html += title + _legacy("comparison", content, len(PALETTE))
    return Section("comparisons", "What was compared, and on what", html) if parts else None


def tuning(analysis: Analysis) -> Section | None:
    """Return the learning-rate searches."""
    groups = tuning_sections(group_searches(analysis.records.searches, analysis.comparisons))
    return Section("tuning", "Learning-rate search", _legacy("tuning", groups)) if groups else None


def speed(analysis: Analysis) -> Section | None:
    """Return all measurements of each session."""
    sessions = session_sections(analysis.sessions, analysis.groups)
    machines = len({session.machine for session in analysis.sessions})
    html = _legacy("speed", sessions, machines)
    return Section("speed", "Speed and memory", html) if sessions else None


def architectures(analysis: Analysis) -> Section | None:
    """Return a card per architecture."""
    cards = cards_by_family(analysis.comparisons, analysis.groups, analysis.records.checks)
    html = _legacy("architectures", cards, len(PALETTE))
    return Section("architectures", "The architectures, by family", html) if cards else None


def failures(analysis: Analysis) -> Section | None:
    """Return what has no result, with its reason and the command that runs it again."""
    records = analysis.records
    rows = facts.failures(analysis.variants.runs, records.excluded, records.measures)
    return Section("failures", "Without a result", _legacy("failures", rows)) if rows else None


def machines(analysis: Analysis) -> Section | None:
    """Return the machines that trained the runs, and the sources of these."""
    runs = analysis.variants.runs
    environments = facts.distinct_environments(runs["environment"])
    html = _legacy("machines", environments, facts.source_commits(runs["provenance"]))
    return Section("machines", "Machines of the training runs", html) if len(runs) else None


FOLDS: tuple[MakeSection, ...] = (
    fine_tuning_section, regrets, preferences, scaling, lookback_section, comparisons, tuning,
    speed, architectures, failures, machines,
)  # fmt: skip
