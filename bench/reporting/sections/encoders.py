"""Encoders beside causal models on the same text, and their own pseudo-perplexity."""

from functools import partial
from typing import Any

import pandas as pd

from bench.analysis import formatting as fmt
from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.verdicts import Verdicts
from bench.analysis.windows import WindowScores, infilling_scores, window_scores
from bench.reporting import html_table as ht
from bench.reporting.sentences import say

WINDOW_METRICS = {"left_to_right_bits_per_byte", "any_order_bits_per_byte"}
FILLING_METRICS = {"filling_nats", "filling_accuracy", "filling_tokens"}


def encoder_tables(part: Comparison, analysis: Analysis) -> list[ht.Table]:
    """Return the tables of a comparison with encoders; none of one without."""
    if not part.pseudo:
        return []
    variants = analysis.variants
    windows, fillings = window_scores(part, variants), infilling_scores(part, variants)
    kinds: tuple[Any, ...] = (
        ("windows", _window_table, windows), ("fillings", _filling_table, fillings),
        ("pseudo", _pseudo_table, part.pseudo),
    )  # fmt: skip
    return [
        make(f"{part.name}-{kind}-{n}", scores, variants.means)
        for kind, make, groups in kinds
        for n, scores in enumerate(groups)
    ]


def _window_table(name: str, scores: WindowScores, means: pd.DataFrame) -> ht.Table:
    rows = scores.rows
    best = int(rows[~rows["control"]].index[0])
    columns = [
        ht.VARIANT,
        ht.text("reads", "an encoder sees masks for later tokens, a causal model nothing",
                lambda row: "encoder" if row.pseudo_perplexity > 0 else "causal"),
        ht.metric_column("left_to_right_bits_per_byte", lambda row: ht.error_cell(
            row.score, row.half, fmt.format_fixed, "best" if row.Index == best else ""),
                      "Below it half of the 95 % interval, over seeds and windows."),
        ht.Column("against the best", "paired, on the same windows",
               partial(_against_best, scores.verdicts, best)),
        ht.metric_column("any_order_bits_per_byte", _bound, "Below it the standard error."),
        ht.SEEDS,
        *ht.mean_columns("windows", means, WINDOW_METRICS),
    ]  # fmt: skip
    caption = say("windows", scores.count, rows["part"].iloc[0])[0]
    notes = [_about_windows(note) for note in scores.verdicts.notes]
    heading = "The same windows, left to right"
    return ht.build_table(name, columns, rows, caption=caption, notes=notes, heading=heading)


def _against_best(verdicts: Verdicts, best: int, row: Any) -> ht.Cell:
    if row.Index == best:
        return ht.words_cell("the best", 0.0)
    pair: Any
    for pair in verdicts.pairs.itertuples():
        if {pair.row, pair.other_row} == {best, row.Index}:
            return ht.words_cell(_about_windows(pair.sentence), float(pair.difference))
    return ht.words_cell(fmt.NO_VALUE)  # an A/A control is compared with its own architecture alone


def _bound(row: Any) -> ht.Cell:
    """Return an encoder's upper bound over all orders; a causal model has one order only."""
    value, error = row.any_order_bits_per_byte, row.any_order_standard_error
    if value != value:
        return ht.EMPTY
    return ht.value_cell(
        value, lambda bound: f"≤ {fmt.format_fixed(bound)}", f"± {fmt.format_fixed(error)}"
    )


def _about_windows(sentence: str) -> str:
    for old, new in (("documents", "windows"), ("held-out text", "windows")):
        sentence = sentence.replace(old, new)
    return sentence.replace(", of unequal length,", "")


def _filling_table(name: str, rows: pd.DataFrame, means: pd.DataFrame) -> ht.Table:
    best = rows.loc[~rows["control"], "filling_nats"].min()

    def nats(row: Any) -> ht.Cell:
        mark = "best" if row.filling_nats == best else ""
        return ht.error_cell(row.filling_nats, row.nats_error, fmt.format_fixed, mark)

    def accuracy(row: Any) -> ht.Cell:
        return ht.error_cell(row.filling_accuracy, row.accuracy_error, fmt.format_percent)

    columns = [
        ht.VARIANT,
        ht.metric_column("filling_nats", nats, "Below it the standard error."),
        ht.metric_column("filling_accuracy", accuracy, "Below it the standard error."),
        ht.metric_number("filling_tokens", "tokens", fmt.format_count, "Of all seeds."),
        ht.SEEDS,
        *ht.mean_columns("infilling", means, FILLING_METRICS),
    ]
    caption = say("fillings")[0]
    different = "Rows have other seeds than others, and so were scored on other hidden tokens."
    notes, heading = [different] * bool(rows["seeds_differ"].any()), "Filling in one hidden token"
    return ht.build_table(name, columns, rows, caption=caption, notes=notes, heading=heading)


def _pseudo_table(name: str, rows: pd.DataFrame, means: pd.DataFrame) -> ht.Table:
    """Return the table of pseudo-perplexity, never beside a likelihood."""
    best = float(rows["pseudo_perplexity"].min())
    regret = ht.Column(
        "regret, left to right",
        "nats per token above the best possible, on the sampled windows; ± over them",
        lambda row: ht.error_cell(
            row.left_to_right_regret, row.left_to_right_regret_standard_error, fmt.format_fixed
        ),
    )
    columns = [
        ht.VARIANT,
        ht.metric_column("pseudo_perplexity", _pseudo, "± over the sampled positions."),
        ht.Column("to the best", "ratio to the lowest of this table",
               lambda row: ht.value_cell(row.pseudo_perplexity / best, fmt.format_fixed)),
        *([regret] if rows["left_to_right_regret"].notna().any() else []),
        ht.PARAMETERS,
        ht.SEEDS,
        *ht.mean_columns("pseudo_likelihood", means, {"pseudo_perplexity"}),
    ]  # fmt: skip
    part, protocol = (rows[name].iloc[0] for name in ("part", "protocol"))
    caption = f"Scored on the {part or 'held-out'} part by {protocol or 'an unnamed protocol'}."
    heading = "Pseudo-perplexity, in a table of its own"
    return ht.build_table(name, columns, rows, caption=caption, heading=heading)


def _pseudo(row: Any) -> ht.Cell:
    error = fmt.format_number(row.pseudo_perplexity_standard_error, 2)
    return ht.value_cell(
        row.pseudo_perplexity, lambda value: fmt.format_number(value, 4), f"± {error}"
    )
