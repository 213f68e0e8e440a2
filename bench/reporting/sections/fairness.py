"""The fairness sheet: what each row was given, and a red mark wherever rows differ in what was not the question."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.analysis import budgets
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import NO_VALUE, format_count, format_large, join_words
from bench.analysis.rows import each
from bench.records.metrics import TRAINING_FLOPS_FACTOR
from bench.reporting.html_table import MAX_UNUSED_BUDGET, Cell, Table, name_cell

BY_HAND = "by hand"


@dataclass(frozen=True)
class FairnessColumn:
    """A column of the sheet. `compared`: what has to be equal in all rows; None where a difference is no matter."""

    title: str
    about: str
    text: Callable[[Any], str]
    value: Callable[[Any], Any]
    compared: Callable[[Any], Any] | None = None


def _metric(name: str) -> Callable[[Any], float]:
    return lambda run: float(getattr(run, name, math.nan))


def _number(
    title: str,
    about: str,
    name: str,
    show: Callable[[float], str],
    compared: Callable[[Any], Any] | None = None,
) -> FairnessColumn:
    read = _metric(name)
    return FairnessColumn(title, about, lambda run: show(read(run)), read, compared)


def _word(title: str, about: str, read: Callable[[Any], str]) -> FairnessColumn:
    return FairnessColumn(title, about, lambda run: read(run) or NO_VALUE, read, read)


def _share(run: Any) -> float:
    """The share of the seen tokens that had a loss."""
    share = _metric("tokens_with_loss")(run) / _metric("tokens_seen")(run)
    return round(share, 2) if math.isfinite(share) else math.nan


def _rate(run: Any) -> float:
    return budgets.learning_rate(run.config)


def _trials(run: Any) -> int:
    return budgets.search_trials(run.config)


def _searched(run: Any) -> str:
    """How many trials, and where they were made if not here."""
    said = [str(_trials(run) or BY_HAND), budgets.search_settings_text(run.config)]
    return ", ".join(filter(None, said))


def columns(match: str) -> list[FairnessColumn]:
    """The sheet's columns, where runs were as long as `match` says."""
    seen = _metric("tokens_seen") if match == "tokens" else None
    return [
        _number("parameters", "all of them, embeddings included", "parameters", format_count),
        _number("without embeddings", "of tokens and of positions", "parameters_without_embedding", format_count),
        _number("in products", "of the matrices and kernels that a token is multiplied with, the head's included",
                "parameters_in_products", format_count),
        _number("FLOPs a token", "of training, by formula", "flops_of_a_token", format_large),
        _number("FLOPs in all", "of the whole training, by formula", "flops_in_all", format_large),
        _number("tokens seen", "in training", "tokens_seen", format_large, seen),
        _number("with loss", "tokens of the training that were predicted", "tokens_with_loss", format_large, _share),
        _word("context", "tokens that a prediction may look back on", lambda run: f"{run.config['size']['context']:,}"),
        _word("objective", "what was trained", lambda run: str(run.objective)),
        _word("protocol", "how it was scored", lambda run: str(run.protocol)),
        _word("batch", "sequences a step, and what turns gradients into steps",
              lambda run: f"{run.config['train']['batch']}, {run.config.get('optimizer', {}).get('kind', 'adamw')}"),
        _word("precision", "of the forward pass", lambda run: str(run.precision)),
        _word("kernels", "what computes the mixing", lambda run: str(run.facts.get("kernels", ""))),
        FairnessColumn("learning rate", "as given for all, or each its own", lambda run: f"{_rate(run):.3g}", _rate),
        FairnessColumn("trials", "of the search for that rate, and where that was made if not here", _searched, _trials, _trials),
    ]  # fmt: skip


def fairness_sheet(part: Comparison, name: str) -> Table:
    """A row an architecture, from records alone."""
    firsts = _with_flops(part.runs.sort_values("seed").drop_duplicates("row").set_index("row"))
    rows = [row for row in each(part.rows) if row.Index in firsts.index and not row.control]
    runs = [next(each(firsts.loc[[row.Index]])) for row in rows]
    matches = sorted({run.config["train"].get("match", "tokens") for run in runs})
    shown = [
        c
        for c in columns(matches[0] if len(matches) == 1 else "tokens")
        if any(c.text(run) not in (NO_VALUE, "nan") for run in runs)
    ]
    unequal = {
        c.title: differing_places([run.arch for run in runs], [c.compared(run) for run in runs])
        for c in shown
        if c.compared
    }
    unspent = _unspent(runs)
    marks = {
        title: unequal.get(title, set()) | unspent.get(title, set())
        for title in {*unequal, *unspent}
    }
    cells = [
        [
            name_cell(row),
            *(
                Cell(c.text(run), c.value(run), mark="bad" if n in marks.get(c.title, ()) else "")
                for c in shown
            ),
        ]
        for n, (row, run) in enumerate(zip(rows, runs, strict=True))
    ]
    sizes, lengths = (
        sorted({of(run.config) for run in runs})
        for of in (budgets.describe_size_budget, budgets.describe_length)
    )
    caption = f"Matched: the size, {join_words(sizes)} at most; the length, {join_words(lengths)}. The rest should be equal; red: it is not."
    labels = [str(row.label) for row in rows]
    notes = [
        f"{t}: more than {100 * MAX_UNUSED_BUDGET:g} % unused by {join_words([labels[n] for n in sorted(of)])}"
        for t, of in unspent.items()
    ]
    given = {run.config["train"].get("learning_rate") for run in runs}
    if len(runs) > 1 and len(given) == 1 and None not in given:
        notes.append("One learning rate was given for all: it suits some better than others.")
    notes += [
        f"{c.title}: {_said([c.text(run) for run in runs], labels, unequal[c.title])}"
        for c in shown
        if unequal.get(c.title)
    ]
    return Table(
        name,
        caption,
        [("architecture", "a row is a variant"), *((c.title, c.about) for c in shown)],
        cells,
        notes,
    )


def _with_flops(runs: pd.DataFrame) -> pd.DataFrame:
    """What training costs, by formula: a forward pass, and twice as much backward."""
    known = runs.reindex(
        columns=[*runs.columns, *({"flops_per_token", "tokens_seen"} - set(runs.columns))]
    )
    each_token = TRAINING_FLOPS_FACTOR * known["flops_per_token"].astype(float)
    return known.assign(
        flops_of_a_token=each_token, flops_in_all=each_token * known["tokens_seen"].astype(float)
    )


def differing_places(arches: Sequence[str], values: Sequence[Any]) -> set[int]:
    """Places of the values that not every architecture has; where none is shared by all, of all but the commonest.

    Where every architecture has the same several values they were the question, and none is marked.
    """
    known = ["nan" if value != value else value for value in values]
    held = {
        arch: {value for a, value in zip(arches, known, strict=True) if a == arch}
        for arch in arches
    }
    shared = set.intersection(*held.values()) if held else set()
    if not shared:
        counts = Counter(value for values_of in held.values() for value in values_of)
        most = max(counts.values(), default=0)
        common = [value for value, times in counts.items() if times == most]
        shared = set(common) if len(common) == 1 else set()
    return {place for place, value in enumerate(known) if value not in shared}


def _unspent(runs: Sequence[Any]) -> dict[str, set[int]]:
    """By column, who leaves more of the budget unused than SLACK: of FLOPs, or of what the width was solved for."""
    marks: dict[str, set[int]] = {}
    for place, run in enumerate(runs):
        train, size = run.config["train"], run.config["size"]
        if (
            train.get("match") == "flops"
            and run.flops_in_all < (1 - MAX_UNUSED_BUDGET) * train["budget"]
        ):
            marks.setdefault("FLOPs in all", set()).add(place)
        if (
            size.get("match", "parameters") == "parameters"
            and _metric("budget_slack")(run) > MAX_UNUSED_BUDGET
        ):
            title = {
                "all": "parameters",
                "without_embedding": "without embeddings",
                "in_products": "in products",
            }
            marks.setdefault(title[size.get("count", "all")], set()).add(place)
    return marks


def _said(texts: Sequence[str], labels: Sequence[str], places: set[int]) -> str:
    """Who has what, those that are marked alone."""
    held: dict[str, list[str]] = {}
    for place in sorted(places):
        held.setdefault(texts[place], []).append(labels[place])
    return "; ".join(f"{text}: {join_words(names)}" for text, names in held.items())
