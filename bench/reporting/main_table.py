"""The one table of a view: a row per variant, columns in groups that the reader chooses."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.baselines import BaselineLine
from bench.analysis.formatting import NO_VALUE, format_fixed, format_number
from bench.analysis.sessions import TRAINING_MEMORY
from bench.analysis.verdicts import format_difference
from bench.records.metrics import in_section
from bench.reporting import html_table as ht
from bench.reporting.listed import listed_columns
from bench.reporting.page_data import BATCHED, measure_spec, measure_text, session_measures
from bench.reporting.palette import swatch_class
from bench.reporting.section import read_helps
from bench.reporting.sentences import say
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
TERMS = read_helps("terms.txt")  # of the page that are no metrics, by title
perplexity_text = partial(format_number, digits=4)


def main_table(view: View, means: pd.DataFrame) -> ht.Table:
    """Return the table of a view, without the columns that hold no value."""
    name = _column("architecture", lambda row: replace(
        ht.label_cell(row), key=row.key, swatch=swatch_class(row.light)))  # fmt: skip
    columns = [*_measured_columns(view)]
    if view.quality:
        scores = _grouped("quality", _quality_columns(view, means))
        verdicts = _grouped("verdict", _verdict_columns(view))
        columns = [*scores, *verdicts, *columns, *_settings_columns()]
    columns.insert(0, name)
    table = ht.build_table(f"{view.name}-table", columns, view.rows, drop_empty=True)
    lines = reversed(view.baselines.lines if view.baselines is not None else ())
    table.rows.extend(_baseline_row(line, table.columns) for line in lines)
    table.notes.extend(_notes(view))
    return table


def _settings_columns() -> list[ht.Column]:
    amounts = [ht.PARAMETERS, ht.metric_number("tokens_seen")]
    amounts.append(ht.metric_number("width", show=format_number))
    recipe, tuning = [*amounts, *listed_columns("recipe")], listed_columns("tuning")
    return [*_grouped("recipe", recipe), *_grouped("tuning", tuning)]


def _baseline_row(line: BaselineLine, columns: Sequence[ht.Column]) -> list[ht.Cell]:
    cells = {
        "bits_per_byte": ht.value_cell(line.bits_per_byte, format_fixed),
        "perplexity": ht.value_cell(line.perplexity, perplexity_text),
    }
    name = ht.Cell(line.name, line.name, badges=() if line.pretrained else ("baseline",))
    return [name, *(cells.get(column.metric, ht.EMPTY) for column in columns[1:])]


def _grouped(group: str, columns: Iterable[ht.Column]) -> list[ht.Column]:
    return [replace(column, group=group) for column in columns]


def _column(title: str, cell: Callable[[Any], ht.Cell], metric: str = "") -> ht.Column:
    return ht.Column(title, TERMS[title], cell, metric=metric)


def _value(title: str, field: str, show: ht.Show) -> ht.Column:
    return _column(title, lambda row: ht.value_cell(getattr(row, field), show))


def _quality_columns(view: View, means: pd.DataFrame) -> Iterator[ht.Column]:
    yield ht.metric_column(view.quality, partial(_score, view.quality), "Mean and 95 % interval.")
    if view.quality == "bits_per_byte":
        yield _value("seed spread", "bits_per_byte_seed_deviation", partial(format_fixed, places=4))
        yield ht.metric_number("perplexity", show=perplexity_text)
    yield ht.SEEDS
    handled = {view.quality, "perplexity", "parameters"}
    yield from ht.mean_columns(SECTION_OF[view.quality], means, handled)


def _score(metric: str, row: Any) -> ht.Cell:
    if metric == "bits_per_byte":
        low, high = row.bits_per_byte_low, row.bits_per_byte_high
        small = f"{format_fixed(low)} to {format_fixed(high)}" if math.isfinite(low) else ""
    else:
        error = float(getattr(row, f"{metric}_standard_error"))
        small = f"± {format_fixed(error)}" if math.isfinite(error) else ""
    return ht.value_cell(float(getattr(row, metric)), format_fixed, small)


def _verdict_columns(view: View) -> Iterator[ht.Column]:
    """Yield the verdict on each row and the reference; the script fills it for another one."""
    if not view.verdicts or len(view.rows) < 2:
        return
    pairs = {frozenset((one.row, one.other_row)): one for one in view.verdicts.pairs.itertuples()}
    reference = view.rows.index[view.rows["key"] == view.reference][0]

    def cell(show: Callable[[Any, bool], ht.Cell], of_reference: str, row: Any) -> ht.Cell:
        if row.Index == reference:
            return ht.Cell(of_reference)
        pair = pairs.get(frozenset((row.Index, reference)))
        return ht.Cell(NO_VALUE) if pair is None else show(pair, pair.row == row.Index)

    yield _column("against the reference", partial(cell, _verdict_cell, "the reference"), "verdict")
    yield _column("corrected p", partial(cell, _p_cell, ""), "p")


def _verdict_cell(pair: Any, is_first: bool) -> ht.Cell:
    """Return the verdict on a row of a pair: the first has the lower mean."""
    kind = pair.kind if is_first or pair.kind != "better" else "worse"
    difference = -pair.difference if is_first else pair.difference
    half = f" ± {format_difference(pair.half, pair.half)}" if math.isfinite(pair.half) else ""
    sign = "+" if difference > 0 else ""
    text = f"{sign}{format_difference(difference, pair.half)}{half}"
    return ht.Cell(kind, difference, text, reason=pair.sentence)


def _p_cell(pair: Any, _: bool) -> ht.Cell:
    return ht.value_cell(pair.adjusted, lambda p: "< 0.001" if p < 0.001 else format_fixed(p, 3))


def _measured_columns(view: View) -> Iterator[ht.Column]:
    """Yield the columns of speed and memory with the values of the first session."""
    session = view.sessions[0] if view.sessions else None
    values = {
        (subject, metric): value
        for subject, measures in (session_measures(session) if session else {}).items()
        for _, metric, value, _, _ in measures
    }

    def cell(metric: str, row: Any) -> ht.Cell:
        reason = session.missing_reason(str(row.subject), metric) if session else ""
        value = values.get((str(row.subject), metric))
        return ht.value_cell(value, partial(measure_text, metric), reason=reason)

    in_parts = [spec.name for spec in in_section("memory") if spec.name not in MEMORY]
    groups = {
        "speed": [*(spec.name for spec in in_section("speed")), BATCHED],
        "memory": MEMORY,
        "parts": in_parts,
    }
    for group, metrics in groups.items():
        for metric in metrics:
            spec = measure_spec(metric)
            yield ht.Column(spec.title, spec.help, partial(cell, metric), group, metric)


def _notes(view: View) -> Iterator[str]:
    """Yield how the rows were scored, what intervals and verdicts rest on, and the baselines."""
    if not view.quality:
        return
    part, protocol = (view.rows[name].iloc[0] for name in ("part", "protocol"))
    scored = f"Scored on the {part or 'held-out'} part by {protocol or 'an unnamed protocol'}."
    yield f"{scored} Lower is better."
    if view.quality == "bits_per_byte":
        for basis in sorted(set(view.rows["bits_per_byte_basis"])):
            yield from say("basis", basis)
    yield from view.verdicts.notes if view.verdicts is not None else ()
    if view.baselines is not None:
        yield from (f"{line.name}: {line.note}." for line in reversed(view.baselines.lines))
        yield from [f"No baselines: {view.baselines.reason}."] * bool(view.baselines.reason)
