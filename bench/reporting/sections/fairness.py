"""What each row was given, red where rows differ in what was not compared; and the searches."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from bench.analysis import budgets
from bench.analysis import formatting as fmt
from bench.analysis.comparisons import Comparison
from bench.analysis.fairness import (
    MAX_UNUSED_BUDGET,
    differing_places,
    fairness_rows,
    unused_budgets,
)
from bench.analysis.searches import Search, SearchGroup
from bench.reporting import html_table as ht
from bench.reporting.listed import listed_columns
from bench.reporting.section import RowText
from bench.reporting.sections.facts import comparison_facts
from bench.reporting.sentences import say

Row = tuple[Any, str]  # a run and the label of its row
UNITS = {
    "bits_per_byte": "bits per byte",
    "pseudo_perplexity": "pseudo-perplexity",
    "regret": "regret (nats per token)",
    "nats_per_token": "nats per token",
}


def _metric(run: Any, name: str) -> float:
    return float(getattr(run, name, math.nan))


def _setting(run: Any, name: str) -> str:
    return str(getattr(run, name))


def _share_with_loss(run: Any) -> float:
    return round(_metric(run, "tokens_with_loss") / _metric(run, "tokens_seen"), 2)


def _trials(run: Any) -> int:
    return budgets.search_trials(run.config)


def _trials_cell(run: Any) -> ht.Cell:
    texts = [str(_trials(run) or "by hand"), budgets.search_settings_text(run.config)]
    return ht.Cell(", ".join(filter(None, texts)), _trials(run))


def _batch(run: Any) -> str:
    optimizer = run.config.get("optimizer", {}).get("kind", "adamw")
    return f"{run.config['train']['batch']}, {optimizer}"


EQUAL: dict[str, Callable[[Any], Any]] = {  # what every row should have alike, by its column
    "context": lambda run: f"{run.config['size']['context']:,}",
    "batch": _batch,
    "kernels": lambda run: str(run.facts.get("kernels", "")),
    **{name: partial(_setting, name=name) for name in ("objective", "protocol", "precision")},
}
AMOUNTS = (
    "parameters", "parameters_without_embedding", "parameters_in_products",
    "train_flops_per_token", "train_flops", "tokens_seen", "tokens_with_loss",
)  # fmt: skip


def _columns() -> list[ht.Column]:
    amounts = {name: partial(_metric, name=name) for name in AMOUNTS}
    rates = {"rate": lambda run: budgets.learning_rate(run.config), "trials": _trials_cell}
    return listed_columns("fairness", **amounts, **EQUAL, **rates)


def fairness_facts(part: Comparison) -> dict[str, Any]:
    """Return what all rows share, in what they differ, the sheet of the rest, and the data."""
    sheet = fairness_sheet(part, f"{part.name}-fairness")
    columns = list(zip(*sheet.rows, strict=True))
    kept = [n for n, own in enumerate(columns) if not n or len({(c.text, c.mark) for c in own}) > 1]
    equal = [n for n in range(len(columns)) if n not in kept]
    rows = [[row[n] for n in kept] for row in sheet.rows] if len(kept) > 1 else []
    return {
        "equal": [f"{sheet.titles[n]} {columns[n][0].text}" for n in equal],
        "unequal": sheet.notes,
        "sheet": replace(sheet, notes=[], columns=[sheet.columns[n] for n in kept], rows=rows),
        "facts": comparison_facts(part),
        "orders": part.orders.to_dict("records"),
        "equal_order": part.equal_order,
    }


def fairness_sheet(part: Comparison, name: str) -> ht.Table:
    """Return a row per variant, from its first finished run."""
    rows, runs = fairness_rows(part)
    columns, unequal, unused = _columns(), _unequal_places(runs), unused_budgets(runs)
    marked, name_cell = {**unequal, **unused}, lambda n: ht.VARIANT.cell(rows[n])
    own = [_marked_column(column, runs, marked.get(column.metric, set())) for column in columns]
    shown = [replace(ht.VARIANT, cell=name_cell), *own]
    table = ht.build_table(name, shown, range(len(rows)), drop_empty=True)
    pairs = list(zip(runs, [str(row.label) for row in rows], strict=True))
    kept = [column for column in columns if column.title in table.titles]
    notes = [*_unused_notes(columns, pairs, unused), *_unequal_notes(kept, pairs, unequal)]
    return replace(table, caption=_caption(runs), notes=notes)


def _caption(runs: Sequence[Any]) -> str:
    readers = (budgets.describe_size_budget, budgets.describe_length)
    return say("matched", *([*{read(run.config) for run in runs}] for read in readers))[0]


def _unequal_places(runs: Sequence[Any]) -> dict[str, set[int]]:
    """Return for each column that has to be equal the places of the runs where it is not."""
    archs, readers = [run.arch for run in runs], {**EQUAL, "trials": _trials}
    readers["tokens_with_loss"] = _share_with_loss
    matches = {run.config["train"].get("match", "tokens") for run in runs}
    if len(matches) > 1 or "tokens" in matches:  # no budget of FLOPs or seconds for all
        readers["tokens_seen"] = partial(_metric, name="tokens_seen")
    return {
        name: differing_places(archs, [read(run) for run in runs]) for name, read in readers.items()
    }


def _marked_column(column: ht.Column, runs: Sequence[Any], places: set[int]) -> ht.Column:
    """Return a column of the table over the places of the runs, red at the given ones."""

    def cell(n: int) -> ht.Cell:
        return replace(column.cell(runs[n]), mark="bad" if n in places else "")

    return ht.Column(column.title, column.help, cell)


def _unused_notes(
    columns: Sequence[ht.Column], rows: Sequence[Row], unused: Mapping[str, set[int]]
) -> Iterator[str]:
    """Yield which budgets are left unused, and whether one rate was given for all rows."""
    titles = {column.metric: column.title for column in columns}
    for metric, places in unused.items():
        names = [rows[n][1] for n in sorted(places)]
        text = f"{titles[metric]}: more than {100 * MAX_UNUSED_BUDGET:g} % unused by"
        yield RowText(f"{text} {fmt.join_words(names)}", names)
    given = {run.config["train"].get("learning_rate") for run, _ in rows}
    if len(rows) > 1 and len(given) == 1 and None not in given:
        yield "One learning rate was given for all: it suits some better than others."


def _unequal_notes(
    columns: Sequence[ht.Column], rows: Sequence[Row], unequal: Mapping[str, set[int]]
) -> Iterator[str]:
    for column in columns:
        labels_of: dict[str, list[str]] = {}
        for run, label in (rows[n] for n in sorted(unequal.get(column.metric, ()))):
            labels_of.setdefault(column.cell(run).text, []).append(label)
        texts = [f"{text}: {fmt.join_words(names)}" for text, names in labels_of.items()]
        if texts:
            yield RowText(f"{column.title}: {'; '.join(texts)}", chain(*labels_of.values()))


def search_titles(groups: Sequence[SearchGroup]) -> list[str]:
    """Return what was scored on which data, numbered where groups share it."""
    titles = [f"{_unit(group).capitalize()}, {group.facts['data']}" for group in groups]
    return [
        f"{title} #{n}" if titles.count(title) > 1 else title for n, title in enumerate(titles, 1)
    ]


def _unit(group: SearchGroup) -> str:
    metric = str(group.facts["metric"])
    return UNITS.get(metric, metric)


def search_table(name: str, group: SearchGroup, title: str) -> ht.Table:
    """Return the best rate of each architecture, and what fewer trials would have given."""
    facts = group.facts
    columns = [
        ht.name_column(
            _search_name, "UNTUNED: no trial shows that a rate beyond the best is worse"
        ),
        *listed_columns("searches", rate=_rate, space=_space, trials=_trial_counts),
        ht.Column(f"best {_unit(group)}", "of all trials", partial(_expected, 1.0)),
        ht.Column("best of 1 trial", "expected best of one", partial(_expected, 0.0)),
        ht.Column("best of half", "expected best of half the trials", partial(_expected, 0.5)),
    ]
    caption = (
        f"{facts['steps']:,} steps of {facts['batch']} × {facts['context']} tokens per trial; "
        f"scored on the {facts['part'] or 'validation'} part of {facts['data']}."
    )
    heading = f"Search: {title}"
    return ht.build_table(name, columns, group.searches, caption=caption, heading=heading)


def _search_name(search: Search) -> ht.Cell:
    small = f"the {search.edge} rate tried" if search.edge else ""
    return ht.Cell(search.arch, search.arch, small, badges=("UNTUNED",) * bool(search.edge))


def _rate(search: Search) -> ht.Cell:
    rate = search.rates[search.best]
    return ht.Cell(fmt.format_number(rate), rate, mark="bad" if search.edge else "")


def _space(search: Search) -> str:
    space = search.space
    return f"{space[0]:g} to {space[1]:g}" if isinstance(space, list) else str(space)


def _trial_counts(search: Search) -> ht.Cell:
    count, diverged = len(search.scores), search.scores.count(float("inf"))
    return ht.Cell(str(count), float(count), f"{diverged} diverged" if diverged else "")


def _expected(share: float, search: Search) -> ht.Cell:
    """Return the expected best of a share of the trials; of 0, of one trial."""
    trials = max(1, int(share * len(search.scores) + 0.5))
    return ht.value_cell(search.expected[trials - 1], fmt.format_fixed)
