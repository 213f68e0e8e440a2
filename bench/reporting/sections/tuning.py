"""The learning-rate searches: a table for each set that may share an axis."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bench.analysis.formatting import format_fixed, format_number
from bench.analysis.searches import Search, SearchGroup
from bench.reporting.html_table import Cell, Column, Table, build_table, name_column, value_cell

UNITS = {
    "bits_per_byte": "bits per byte",
    "pseudo_perplexity": "pseudo-perplexity",
    "regret": "regret (nats per token)",
    "nats_per_token": "nats per token",
}


def search_titles(groups: Sequence[SearchGroup]) -> list[str]:
    """Return what was scored on which data, numbered where groups share it."""
    titles = [f"{_unit(group).capitalize()}, {group.facts['data']}" for group in groups]
    return [
        f"{title} #{n}" if titles.count(title) > 1 else title for n, title in enumerate(titles, 1)
    ]


def _unit(group: SearchGroup) -> str:
    metric = str(group.facts["metric"])
    return UNITS.get(metric, metric)


def search_table(name: str, group: SearchGroup, title: str) -> Table:
    """Return the best rate of each architecture, and what fewer trials would have given."""
    unit = _unit(group)
    columns = [
        name_column(_name, "UNTUNED: no trial shows that a rate beyond the best one is worse"),
        Column("learning rate", "of the best trial", _rate),
        Column("searched", "the ends of the range; rates are drawn log-uniformly", _space),
        Column("trials", "how many were made, and how many of them diverged", _trials),
        Column(f"best {unit}", "of all trials", partial(_expected, 1.0)),
        Column("of 1 trial", "expected best of one", partial(_expected, 0.0)),
        Column("of half", "expected best of half the trials", partial(_expected, 0.5)),
    ]
    return build_table(
        name, columns, group.searches, caption=_caption(group.facts), heading=f"Search: {title}"
    )


def _caption(facts: Mapping[str, Any]) -> str:
    steps = f"{facts['steps']:,} steps of {facts['batch']} × {facts['context']} tokens per trial"
    return f"{steps}; scored on the {facts['part'] or 'validation'} part of {facts['data']}."


def _name(search: Search) -> Cell:
    small = f"the {search.edge} rate tried" if search.edge else ""
    badges = ("UNTUNED",) if search.edge else ()
    return Cell(search.arch, search.arch, small, badges=badges)


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
