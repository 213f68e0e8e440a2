"""Encoders and causal models in one ranking: the likelihood of the same windows, left to right."""

from functools import partial
from typing import Any

from bench.analysis.formatting import NO_VALUE, format_fixed
from bench.analysis.verdicts import Verdicts
from bench.analysis.windows import WindowScores
from bench.reporting.html_table import (
    EMPTY,
    Cell,
    Column,
    Table,
    build_table,
    metric_column,
    text_cell,
    value_cell,
    words_cell,
)
from bench.reporting.variant_cells import SEEDS, VARIANT, further_columns

HANDLED = {"left_to_right_bits_per_byte", "any_order_bits_per_byte"}


def window_table(name: str, scores: WindowScores, means: Any) -> Table:
    """Return the ranking on one set of windows, each row compared with the best."""
    rows = scores.rows
    best = int(rows[~rows["control"]].index[0])
    columns = [
        VARIANT,
        Column("reads", "an encoder sees masks for later tokens, a causal model nothing", _kind),
        metric_column("left_to_right_bits_per_byte", partial(_score, best),
                      "Below it half of the 95 % interval, over seeds and windows."),
        Column("against the best", "paired, on the same windows",
               partial(_against_best, scores.verdicts, best)),
        metric_column("any_order_bits_per_byte", _bound, "Below it the standard error."),
        SEEDS,
        *further_columns("windows", means, HANDLED),
    ]  # fmt: skip
    caption = (
        f"{scores.count} sampled windows of the {rows['part'].iloc[0] or 'held-out'} part, the "
        "same for all: each token predicted from those before it in its window, the first one "
        "given, separators between documents counted. Lower is better."
    )
    notes = [_about_windows(note) for note in scores.verdicts.notes]
    heading = "The same windows, left to right"
    return build_table(
        name, columns, rows.itertuples(), caption=caption, notes=notes, heading=heading
    )


def _kind(row: Any) -> Cell:
    return text_cell("encoder" if row.pseudo_perplexity == row.pseudo_perplexity else "causal")


def _score(best: int, row: Any) -> Cell:
    mark = "best" if row.Index == best else ""
    return value_cell(row.score, format_fixed, f"± {format_fixed(row.half)}", mark)


def _against_best(verdicts: Verdicts, best: int, row: Any) -> Cell:
    if row.Index == best:
        return words_cell("the best", 0.0)
    pairs: Any = verdicts.pairs
    rows = {best, row.Index}
    for pair in pairs.itertuples():
        if {pair.row, pair.other_row} == rows:
            return words_cell(_about_windows(pair.sentence), float(pair.difference))
    return words_cell(NO_VALUE)  # an A/A control is compared with its own architecture alone


def _bound(row: Any) -> Cell:
    """Return an encoder's upper bound over all orders; a causal model has one order only."""
    value, error = row.any_order_bits_per_byte, row.any_order_standard_error
    if value != value:
        return EMPTY
    return value_cell(value, lambda bound: f"≤ {format_fixed(bound)}", f"± {format_fixed(error)}")


def _about_windows(sentence: str) -> str:
    for old, new in (("documents", "windows"), ("held-out text", "windows")):
        sentence = sentence.replace(old, new)
    return sentence.replace(", of unequal length,", "")
