"""The section of one comparison: what the template needs."""

from typing import Any

import pandas as pd

from bench.analysis.build import Analysis
from bench.analysis.comparisons import TABLE_KEY, Comparison, explain_split
from bench.analysis.infilling import infilling_scores
from bench.analysis.protocols import protocol_scores
from bench.analysis.windows import window_scores
from bench.reporting.html_table import Table
from bench.reporting.plots.protocol_plots import protocol_plots
from bench.reporting.sections import facts
from bench.reporting.sections.fairness import fairness_sheet
from bench.reporting.sections.infilling import infilling_table
from bench.reporting.sections.model_cards import legend
from bench.reporting.sections.protocols import protocol_table
from bench.reporting.sections.quality import encoder_table
from bench.reporting.sections.regrets import regret_table
from bench.reporting.sections.targets import target_table
from bench.reporting.sections.windows import window_table


def comparison_section(part: Comparison, analysis: Analysis, has_overview: bool) -> dict[str, Any]:
    """Return what the template needs; `has_overview`: a table over all sources comes first."""
    return {
        "facts": facts.comparison_facts(part),
        "fairness": fairness_sheet(part, f"{part.name}-fairness"),
        "apart": explain_split(list(part.likelihoods), TABLE_KEY),
        "orders": part.orders.to_dict("records"),
        "equal_order": part.equal_order,
        "plots": list(protocol_plots(part, analysis.records, analysis.variants)),
        "legend": legend(part),
        "texts": facts.generated_texts(part),
        **_quality_tables(part, analysis.variants.means, has_overview),
        "targets": _target_tables(part),
        **_scoring_tables(part, analysis),
    }


def _quality_tables(
    part: Comparison, means: pd.DataFrame, has_overview: bool
) -> dict[str, list[Table]]:
    """Return the tables of regrets and pseudo-likelihoods."""
    return {
        "regrets": [
            regret_table(f"{part.name}-regret-{n}", rows, means, has_overview)
            for n, rows in enumerate(part.regrets)
        ],
        "pseudo": [
            encoder_table(f"{part.name}-pseudo-{n}", rows, means)
            for n, rows in enumerate(part.pseudo)
        ],
    }


def _target_tables(part: Comparison) -> list[Table]:
    """Return a table of the time to a target for each table that has one."""
    return [
        target_table(f"{part.name}-target-{n}", target)
        for n, target in enumerate(part.targets)
        if target is not None
    ]


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
