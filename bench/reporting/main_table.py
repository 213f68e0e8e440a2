"""The one table of a view: a row per variant, columns in groups that the reader chooses."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.baselines import BaselineLine
from bench.analysis.formatting import NO_VALUE, format_fixed, format_number
from bench.analysis.sessions import TRAINING_MEMORY
from bench.analysis.verdicts import format_difference
from bench.records.metrics import in_section
from bench.reporting.html_table import (
    EMPTY,
    Cell,
    Column,
    Table,
    build_table,
    format_metric,
    metric_column,
    value_cell,
)
from bench.reporting.page_data import BATCHED, measure_spec, measure_text, session_measures
from bench.reporting.palette import swatch_class
from bench.reporting.table_notes import table_notes
from bench.reporting.variant_cells import PARAMETERS, SEEDS, variant_cell
from bench.reporting.views import View

GROUPS = {  # the name of a group of columns: its title, and whether it is shown at first
    "quality": ("quality", True),
    "verdict": ("verdict", True),
    "speed": ("speed", True),
    "memory": ("memory", True),
    "parts": ("memory in parts", False),
    "recipe": ("recipe", False),
    "tuning": ("tuning", False),
}
MEMORY = (TRAINING_MEMORY, "state_bytes")
SECTION_OF = {
    "bits_per_byte": "likelihood",
    "regret": "regret",
    "pseudo_perplexity": "pseudo_likelihood",
}
COLUMN_HELP = {  # of columns that are no metric
    "architecture": "one row per variant; seeds are averaged",
    "seed spread": "standard deviation over seeds",
    "seeds": "finished seeds",
    "against the reference": "whether the difference to the reference row is distinguishable from "
    "chance: the difference with its 95 % interval",
    "corrected p": "p-value of that difference, corrected for all pairs of the table",
    "size": "name of the size configuration",
    "tokenizer": "name of the tokenizer",
    "precision": "precision of the forward pass",
    "context": "tokens of context",
    "learning rate": "peak learning rate of the training",
    "rate from": "what set the learning rate",
    "search differs in": "in what that search differs from the run: steps, size, data; or unnoted",
    "trials": "trials of the search that set it; 0: set by hand",
    "search open at": "on which side no trial bounds the best learning rate",
}
RECIPE = ("size", "tokenizer", "precision", "context")


def main_table(view: View, means: pd.DataFrame) -> Table:
    """Return the table of a view, without the columns that hold no value."""
    columns = [
        _column("architecture", _name),
        *_grouped("quality", _quality_columns(view, means) if view.quality else ()),
        *_grouped("verdict", _verdict_columns(view) if view.verdicts else ()),
        *_measured_columns(view),
        *_grouped("recipe", _recipe_columns(view)),
        *_grouped("tuning", _tuning_columns() if view.quality else ()),
    ]
    table = build_table(f"{view.name}-table", columns, view.rows.itertuples(), drop_empty=True)
    lines = reversed(view.baselines.lines if view.baselines is not None else ())
    table.rows.extend(_baseline_row(line, table.columns) for line in lines)
    table.notes.extend(table_notes(view))
    return table


def _column(title: str, cell: Callable[[Any], Cell], metric: str = "") -> Column:
    return Column(title, COLUMN_HELP[title], cell, metric=metric)


def _grouped(group: str, columns: Any) -> Iterator[Column]:
    yield from (replace(column, group=group) for column in columns)


def _baseline_row(line: BaselineLine, columns: Sequence[Column]) -> list[Cell]:
    cells = {
        "bits_per_byte": value_cell(line.bits_per_byte, format_fixed),
        "perplexity": _perplexity(line),
    }
    name = Cell(line.name, line.name, badges=() if line.pretrained else ("baseline",))
    return [name, *(cells.get(column.metric, EMPTY) for column in columns[1:])]


def _name(row: Any) -> Cell:
    named = variant_cell(row) if hasattr(row, "lossy") else _measured_name(row)
    return replace(named, key=row.key, swatch=swatch_class(row.light))


def _measured_name(row: Any) -> Cell:
    """Return the name of what was measured without a run."""
    badges = ("stale",) * bool(row.stale)
    return Cell(row.label, row.label, str(row.family), badges=badges)


# --- quality and verdicts -------------------------------------------------------------------------


def _quality_columns(view: View, means: pd.DataFrame) -> Iterator[Column]:
    yield metric_column(view.quality, partial(_score, view.quality), "Mean and 95 % interval.")
    if view.quality == "bits_per_byte":
        yield _column("seed spread", _seed_spread)
        yield metric_column("perplexity", _perplexity)
    yield SEEDS
    handled = {view.quality, "perplexity", "parameters"}
    yield from mean_columns(SECTION_OF[view.quality], means, handled)


def mean_columns(section: str, means: pd.DataFrame, handled: Collection[str]) -> Iterator[Column]:
    """Yield a column for each metric of a section that runs have a mean of."""

    def cell(name: str, row: Any) -> Cell:
        return value_cell(float(means[name].get(row.Index, math.nan)), partial(format_metric, name))

    for spec in in_section(section):
        if spec.name in means and spec.name not in handled:
            yield metric_column(spec.name, partial(cell, spec.name))


def _seed_spread(row: Any) -> Cell:
    return value_cell(row.bits_per_byte_seed_deviation, lambda value: format_fixed(value, 4))


def _perplexity(row: Any) -> Cell:
    return value_cell(row.perplexity, lambda value: format_number(value, 4))


def _score(metric: str, row: Any) -> Cell:
    value = float(getattr(row, metric))
    if metric == "bits_per_byte":
        low, high = row.bits_per_byte_low, row.bits_per_byte_high
        small = f"{format_fixed(low)} to {format_fixed(high)}" if math.isfinite(low) else ""
    else:
        error = float(getattr(row, f"{metric}_standard_error"))
        small = f"± {format_fixed(error)}" if math.isfinite(error) else ""
    return value_cell(value, format_fixed, small)


def _verdict_columns(view: View) -> Iterator[Column]:
    """Yield the verdict on each row and the reference; the script fills it for another one."""
    if len(view.rows) < 2:
        return
    pairs = {
        frozenset((pair.row, pair.other_row)): pair
        for pair in (view.verdicts.pairs.itertuples() if view.verdicts is not None else ())
    }
    reference = view.rows.index[view.rows["key"] == view.reference][0]

    def cell(show: Callable[[Any, bool], Cell], of_reference: str, row: Any) -> Cell:
        if row.Index == reference:
            return Cell(of_reference)
        pair = pairs.get(frozenset((row.Index, reference)))
        return Cell(NO_VALUE) if pair is None else show(pair, pair.row == row.Index)

    yield _column("against the reference", partial(cell, verdict_cell, "the reference"), "verdict")
    yield _column("corrected p", partial(cell, _p_cell, ""), "p")


def verdict_cell(pair: Any, is_first: bool) -> Cell:
    """Return the verdict on a row of a pair: the first has the lower mean."""
    kind = pair.kind if is_first or pair.kind != "better" else "worse"
    difference = -pair.difference if is_first else pair.difference
    half = f" ± {format_difference(pair.half, pair.half)}" if math.isfinite(pair.half) else ""
    sign = "+" if difference > 0 else ""
    text = f"{sign}{format_difference(difference, pair.half)}{half}"
    return Cell(kind, difference, text, reason=pair.sentence)


def _p_cell(pair: Any, _: bool) -> Cell:
    return value_cell(pair.adjusted, lambda p: "< 0.001" if p < 0.001 else format_fixed(p, 3))


# --- measurements ---------------------------------------------------------------------------------


def _measured_columns(view: View) -> Iterator[Column]:
    """Yield the columns of speed and memory with the values of the first session."""
    session = view.sessions[0] if view.sessions else None
    values = {
        (subject, metric): value
        for subject, measures in (session_measures(session) if session else {}).items()
        for _, metric, value, _, _ in measures
    }

    def cell(metric: str, row: Any) -> Cell:
        reason = session.missing_reason(str(row.subject), metric) if session else ""
        value = values.get((str(row.subject), metric))
        return value_cell(value, partial(measure_text, metric), reason=reason)

    for group, metric in _measured_metrics():
        spec = measure_spec(metric)
        yield Column(spec.title, spec.help, partial(cell, metric), group, metric)


def _measured_metrics() -> Iterator[tuple[str, str]]:
    """Yield the measures of the table, each after its group."""
    yield from (("speed", spec.name) for spec in in_section("speed"))
    yield "speed", BATCHED
    yield from (("memory", metric) for metric in MEMORY)
    yield from (("parts", spec.name) for spec in in_section("memory") if spec.name not in MEMORY)


# --- recipe and tuning ----------------------------------------------------------------------------


def _recipe_columns(view: View) -> Iterator[Column]:
    if view.quality:
        yield PARAMETERS
        yield metric_column(
            "tokens_seen",
            lambda row: value_cell(row.tokens_seen, partial(format_metric, "tokens_seen")),
        )
        yield metric_column("width", lambda row: value_cell(row.width, format_number))
        yield from (_column(name, partial(_text, name)) for name in RECIPE)


def _text(name: str, row: Any) -> Cell:
    text = str(getattr(row, name) or "")
    return Cell(text or NO_VALUE, text or None)


def _tuning_columns() -> Iterator[Column]:
    yield _column("learning rate", lambda row: value_cell(row.learning_rate, format_number))
    yield _column("rate from", partial(_text, "rate_origin"))
    yield _column("search differs in", partial(_text, "rate_elsewhere"))
    yield _column("trials", lambda row: value_cell(row.trials, lambda n: f"{n:,.0f}"))
    yield _column("search open at", partial(_text, "untuned"))
