"""The section of one comparison: what the template needs."""

from typing import Any

import pandas as pd

from bench.analysis.build import Analysis
from bench.analysis.comparisons import TABLE_KEY, Comparison, explain_split
from bench.analysis.infilling import infilling_scores
from bench.analysis.protocols import protocol_scores
from bench.analysis.sessions import MeasuredSession
from bench.analysis.windows import window_scores
from bench.reporting.html_table import Table
from bench.reporting.plots.protocol_plots import protocol_plots
from bench.reporting.plots.quality_plots import quality_plots
from bench.reporting.sections import facts
from bench.reporting.sections.fairness import fairness_sheet
from bench.reporting.sections.infilling import infilling_table
from bench.reporting.sections.model_cards import legend
from bench.reporting.sections.protocols import protocol_table
from bench.reporting.sections.quality import encoder_table, likelihood_table
from bench.reporting.sections.regrets import regret_sentences, regret_table
from bench.reporting.sections.targets import target_table
from bench.reporting.sections.verdicts import verdict_table
from bench.reporting.sections.windows import window_table
from bench.reporting.summary_text import summary_sentences


def comparison_section(part: Comparison, analysis: Analysis, has_overview: bool) -> dict[str, Any]:
    """Return what the template needs; `has_overview`: a table over all sources comes first."""
    subjects = part.rows["subject"]
    sessions = [one for one in analysis.sessions if one.medians.index.isin(subjects).any()]
    main, plots = quality_plots(part, analysis.records, sessions)
    plots[0][1].extend(protocol_plots(part, analysis.records, analysis.variants))
    short = has_overview and bool(part.regrets)
    return {
        "name": part.name,
        "title": part.title,
        "sentences": regret_sentences(part)
        if short
        else summary_sentences(part, analysis.sessions),
        "plot": main,
        "facts": facts.comparison_facts(part),
        "fairness": fairness_sheet(part, f"{part.name}-fairness"),
        "apart": explain_split(list(part.likelihoods), TABLE_KEY),
        "orders": part.orders.to_dict("records"),
        "equal_order": part.equal_order,
        "plots": plots,
        "legend": legend(part),
        "key_facts": facts.key_facts(part, sessions),
        "texts": facts.generated_texts(part),
        **_tables(part, analysis, sessions, has_overview),
    }


def _tables(
    part: Comparison, analysis: Analysis, sessions: list[MeasuredSession], has_overview: bool
) -> dict[str, list[Table]]:
    """Return the tables by their place on the page."""
    machines = {session.machine for session in analysis.sessions}
    session = sessions[0] if len(machines) == 1 and len(sessions) == 1 else None
    return {
        **_quality_tables(part, analysis.variants.means, session, has_overview),
        **_outcome_tables(part),
        **_scoring_tables(part, analysis),
    }


def _quality_tables(
    part: Comparison, means: pd.DataFrame, session: MeasuredSession | None, has_overview: bool
) -> dict[str, list[Table]]:
    """Return the tables of likelihoods, regrets and pseudo-likelihoods."""
    return {
        "likelihoods": [
            likelihood_table(f"{part.name}-quality-{n}", rows, session, part.baselines[n], means)
            for n, rows in enumerate(part.likelihoods)
        ],
        "regrets": [
            regret_table(f"{part.name}-regret-{n}", rows, means, has_overview)
            for n, rows in enumerate(part.regrets)
        ],
        "pseudo": [
            encoder_table(f"{part.name}-pseudo-{n}", rows, means)
            for n, rows in enumerate(part.pseudo)
        ],
    }


def _outcome_tables(part: Comparison) -> dict[str, list[Table]]:
    """Return the tables of verdicts and of the time to a target, where there are any."""
    return {
        "verdicts": [
            verdict_table(f"{part.name}-verdicts-{n}", verdicts)
            for n, verdicts in enumerate(part.verdicts)
            if len(verdicts.pairs)
        ],
        "targets": [
            target_table(f"{part.name}-target-{n}", target)
            for n, target in enumerate(part.targets)
            if target is not None
        ],
    }


def _scoring_tables(part: Comparison, analysis: Analysis) -> dict[str, list[Table]]:
    """Return the tables of other protocols, windows and infilling."""
    variants, means = analysis.variants, analysis.variants.means
    protocols = [protocol_scores(rows, analysis.records, variants) for rows in part.likelihoods]
    return {
        "protocols": [
            protocol_table(f"{part.name}-protocols-{n}", scores, means)
            for n, scores in enumerate(protocols)
            if scores is not None
        ],
        "windows": [
            window_table(f"{part.name}-windows-{n}", scores, means)
            for n, scores in enumerate(window_scores(part, variants))
        ],
        "infilling": [
            infilling_table(f"{part.name}-fillings-{n}", rows, means)
            for n, rows in enumerate(infilling_scores(part, variants))
        ],
    }
