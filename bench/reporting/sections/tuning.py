"""The learning-rate searches: a table and two figures for each set that may share an axis."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bench.analysis.formatting import format_fixed, format_number
from bench.analysis.searches import Search, SearchGroup
from bench.reporting.html_table import Cell, Column, Table, build_table, name_column, value_cell
from bench.reporting.plots import tuning_plots

UNITS = {
    "bits_per_byte": "bits per byte",
    "pseudo_perplexity": "pseudo-perplexity",
    "regret": "regret (nats per token)",
    "nats_per_token": "nats per token",
}


def tuning_sections(groups: Sequence[SearchGroup]) -> list[dict[str, Any]]:
    """Return the title, the table and the figures of each group of searches."""
    return [_section(f"tuning-{n}", group) for n, group in enumerate(groups)]


def _section(name: str, group: SearchGroup) -> dict[str, Any]:
    metric = str(group.facts["metric"])
    unit = UNITS.get(metric, metric)
    return {
        "title": f"{unit.capitalize()}, {group.facts['data']}",
        "table": _table(f"{name}-table", group, unit),
        "plots": tuning_plots.tuning_plots(name, group.searches, unit),
    }


def _table(name: str, group: SearchGroup, unit: str) -> Table:
    columns = [
        name_column(_name, "UNTUNED: no trial shows that a rate beyond the best one is worse"),
        Column("learning rate", "of the best trial", _rate),
        Column("searched", "the ends of the range; rates are drawn log-uniformly", _space),
        Column("trials", "how many were made, and how many of them diverged", _trials),
        Column(f"best {unit}", "of all trials", partial(_expected, 1.0)),
        Column("of 1 trial", "expected best of one", partial(_expected, 0.0)),
        Column("of half", "expected best of half the trials", partial(_expected, 0.5)),
    ]
    return build_table(name, columns, group.searches, caption=_caption(group.facts))


def _caption(facts: Mapping[str, Any]) -> str:
    steps = f"{facts['steps']:,} steps of {facts['batch']} × {facts['context']} tokens per trial"
    return f"{steps}; scored on the {facts['part'] or 'validation'} part of {facts['data']}."


def _name(search: Search) -> Cell:
    small = f"the {search.edge} rate tried" if search.edge else ""
    badges = ("UNTUNED",) if search.edge else ()
    return Cell(search.arch, search.arch, small, colour=search.colour, badges=badges)


def _rate(search: Search) -> Cell:
    rate = search.rates[search.best]
    return Cell(format_number(rate), rate, mark="bad" if search.edge else "")


def _space(search: Search) -> Cell:
    space = search.space
    return Cell(f"{space[0]:g} to {space[1]:g}" if isinstance(space, list) else str(space))


def _trials(search: Search) -> Cell:
    count, diverged = len(search.scores), search.scores.count(float("inf"))
    return Cell(str(count), float(count), f"{diverged} diverged" if diverged else "")


def _expected(share: float, search: Search) -> Cell:
    """Return the expected best of a share of the trials; of 0, of one trial."""
    trials = max(1, int(share * len(search.scores) + 0.5))
    return value_cell(search.expected[trials - 1], format_fixed)
