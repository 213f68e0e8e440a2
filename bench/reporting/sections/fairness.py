"""The fairness sheet: what each row was given; red where rows differ in what was not compared."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.analysis import budgets
from bench.analysis.comparisons import Comparison
from bench.analysis.fairness import (
    MAX_UNUSED_BUDGET,
    differing_places,
    fairness_rows,
    unused_budgets,
)
from bench.analysis.formatting import format_count, format_large, join_words
from bench.reporting.html_table import Cell, Column, Table, build_table, text_cell, value_cell
from bench.reporting.sections.facts import comparison_facts
from bench.reporting.variant_cells import VARIANT

BY_HAND = "by hand"


@dataclass(frozen=True)
class FairnessColumn:
    """A column of the sheet. `compared` gives what has to be equal in all rows, if anything."""

    name: str
    title: str
    help: str
    cell: Callable[[Any], Cell]
    compared: Callable[[Any], Any] | None = None


def _number(
    name: str,
    title: str,
    help: str,
    show: Callable[[float], str],
    compared: Callable[[Any], Any] | None = None,
) -> FairnessColumn:
    return FairnessColumn(
        name, title, help, lambda run: value_cell(_metric(run, name), show), compared
    )


def _text(title: str, help: str, read: Callable[[Any], str]) -> FairnessColumn:
    return FairnessColumn(title, title, help, lambda run: text_cell(read(run)), read)


def _metric(run: Any, name: str) -> float:
    return float(getattr(run, name, math.nan))


def _loss_share(run: Any) -> float:
    return round(_metric(run, "tokens_with_loss") / _metric(run, "tokens_seen"), 2)


def _trials(run: Any) -> int:
    return budgets.search_trials(run.config)


def _trials_cell(run: Any) -> Cell:
    texts = [str(_trials(run) or BY_HAND), budgets.search_settings_text(run.config)]
    return Cell(", ".join(filter(None, texts)), _trials(run))


def _rate(run: Any) -> float:
    return budgets.learning_rate(run.config)


def _batch(run: Any) -> str:
    optimizer = run.config.get("optimizer", {}).get("kind", "adamw")
    return f"{run.config['train']['batch']}, {optimizer}"


def _columns(match: str) -> list[FairnessColumn]:
    """Return the columns of the sheet for runs whose length was set by `match`."""
    seen = (lambda run: _metric(run, "tokens_seen")) if match == "tokens" else None
    return [
        _number("parameters", "parameters", "all of them, embeddings included", format_count),
        _number("parameters_without_embedding", "without embeddings",
                "of tokens and positions", format_count),
        _number("parameters_in_products", "in products",
                "of what a token is multiplied by, the head included", format_count),
        _number("train_flops_per_token", "FLOPs per token", "training, by formula", format_large),
        _number("train_flops", "training FLOPs", "of the whole training, by formula", format_large),
        _number("tokens_seen", "tokens seen", "in training", format_large, seen),
        _number("tokens_with_loss", "with loss", "training tokens that were predicted",
                format_large, _loss_share),
        _text("context", "tokens that a prediction may use",
              lambda run: f"{run.config['size']['context']:,}"),
        _text("objective", "what was trained", lambda run: str(run.objective)),
        _text("protocol", "how it was scored", lambda run: str(run.protocol)),
        _text("batch", "sequences per step, and the optimizer", _batch),
        _text("precision", "of the forward pass", lambda run: str(run.precision)),
        _text("kernels", "what computes the mixing", lambda run: str(run.facts.get("kernels", ""))),
        FairnessColumn("learning_rate", "learning rate", "given for all, or each its own",
                       lambda run: value_cell(_rate(run), lambda rate: f"{rate:.3g}")),
        FairnessColumn("trials", "trials", "of the learning-rate search; where, if not here",
                       _trials_cell, _trials),
    ]  # fmt: skip


def fairness_facts(part: Comparison) -> dict[str, Any]:
    """Return what all rows share, in what they differ, the sheet of the rest, and the data."""
    sheet = fairness_sheet(part, f"{part.name}-fairness")
    equal, sheet = _without_equal(sheet)
    return {
        "equal": equal,
        "unequal": sheet.notes,
        "sheet": replace(sheet, notes=[]),
        "facts": comparison_facts(part),
        "orders": part.orders.to_dict("records"),
        "equal_order": part.equal_order,
    }


def _without_equal(sheet: Table) -> tuple[list[str], Table]:
    """Return the columns that are equal in all rows as texts, and the sheet without them."""
    columns = [list(cells) for cells in zip(*sheet.rows, strict=True)]
    equal = [
        n > 0 and len({(cell.text, cell.mark) for cell in own}) == 1
        for n, own in enumerate(columns)
    ]
    texts = [
        f"{title} {own[0].text}"
        for title, own, same in zip(sheet.titles, columns, equal, strict=True)
        if same
    ]
    kept = [n for n, same in enumerate(equal) if not same]
    rows = [[row[n] for n in kept] for row in sheet.rows] if len(kept) > 1 else []
    return texts, replace(sheet, columns=[sheet.columns[n] for n in kept], rows=rows)


def fairness_sheet(part: Comparison, name: str) -> Table:
    """Return a row per variant, from its first finished run."""
    rows, runs = fairness_rows(part)
    columns, labels = _columns(_common_match(runs)), [str(row.label) for row in rows]
    unequal = _unequal_places(columns, runs)
    unused = unused_budgets(runs)
    shown = [replace(VARIANT, cell=lambda n: VARIANT.cell(rows[n]))]
    for column in columns:
        places = unequal.get(column.name, set()) | unused.get(column.name, set())
        shown.append(_marked_column(column, runs, places))
    table = build_table(name, shown, range(len(rows)), drop_empty=True)
    visible = [column for column in columns if column.title in table.titles]
    return replace(
        table, caption=_caption(runs), notes=_notes(visible, runs, labels, unequal, unused)
    )


def _common_match(runs: Sequence[Any]) -> str:
    """Return what set the length of all runs; tokens, where that differs."""
    matches = sorted({run.config["train"].get("match", "tokens") for run in runs})
    return matches[0] if len(matches) == 1 else "tokens"


def _unequal_places(columns: Sequence[FairnessColumn], runs: Sequence[Any]) -> dict[str, set[int]]:
    """Return for each column that has to be equal the places of the runs where it is not."""
    archs = [run.arch for run in runs]
    return {
        column.name: differing_places(archs, [column.compared(run) for run in runs])
        for column in columns
        if column.compared
    }


def _marked_column(column: FairnessColumn, runs: Sequence[Any], places: set[int]) -> Column:
    """Return a column of the table over the places of the runs, red at the given ones."""

    def cell(n: int) -> Cell:
        return replace(column.cell(runs[n]), mark="bad" if n in places else "")

    return Column(column.title, column.help, cell)


def _caption(runs: Sequence[Any]) -> str:
    sizes, lengths = (
        sorted({describe(run.config) for run in runs})
        for describe in (budgets.describe_size_budget, budgets.describe_length)
    )
    return (
        f"Matched: the size, {join_words(sizes)} at most; the length, {join_words(lengths)}. The "
        "rest should be equal; red: it is not."
    )


def _notes(
    columns: Sequence[FairnessColumn],
    runs: Sequence[Any],
    labels: Sequence[str],
    unequal: dict[str, set[int]],
    unused: dict[str, set[int]],
) -> list[str]:
    """Return what is unused and unequal, and whether one learning rate was given for all."""
    titles = {column.name: column.title for column in columns}
    notes = [
        f"{titles[metric]}: more than {100 * MAX_UNUSED_BUDGET:g} % unused by "
        f"{join_words([labels[n] for n in sorted(places)])}"
        for metric, places in unused.items()
    ]
    given = {run.config["train"].get("learning_rate") for run in runs}
    if len(runs) > 1 and len(given) == 1 and None not in given:
        notes.append("One learning rate was given for all: it suits some better than others.")
    for column in columns:
        places = sorted(unequal.get(column.name, ()))
        notes += _unequal_notes(column, [(runs[n], labels[n]) for n in places])
    return notes


def _unequal_notes(column: FairnessColumn, rows: Sequence[tuple[Any, str]]) -> list[str]:
    """Return which marked rows have which value."""
    labels_of: dict[str, list[str]] = {}
    for run, label in rows:
        labels_of.setdefault(column.cell(run).text, []).append(label)
    texts = [f"{text}: {join_words(names)}" for text, names in labels_of.items()]
    return [f"{column.title}: {'; '.join(texts)}"] if texts else []
