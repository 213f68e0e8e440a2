"""The tables of speed: rates with their ratios to the reference, crossovers, and decoding."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from bench.analysis import crossovers, efficiency
from bench.analysis.crossovers import SpeedPair
from bench.analysis.formatting import format_fixed, format_large, format_seconds, plural
from bench.analysis.sessions import DECODE_RATE, DECODE_TIME, FIRST_TOKEN, RATES, TRAIN_RATE
from bench.analysis.speed_groups import SpeedGroup
from bench.records.metrics import in_section
from bench.reporting.html_table import (
    Cell,
    Column,
    Table,
    build_table,
    metric_column,
    registered_columns,
    value_cell,
)
from bench.reporting.sections.measured import (
    measured_cell,
    measured_table,
    point_column,
)
from bench.reporting.sections.trust import CLOCKS, ratio_text
from bench.stats.intervals import Ratio

MAX_PAIRS = 40  # rows of crossovers on the page; crossovers.csv has them all
FEW_ROUNDS = 5  # at a length: with fewer, the t interval of a ratio is wide
QUANTITIES = {
    TRAIN_RATE: "trains faster",
    FIRST_TOKEN: "first token sooner",
    DECODE_TIME: "further token faster",
}
ABOUT_CROSSING = (
    "a crossing lies between lengths where the interval of the paired ratio is below 1 and above 1"
)


# --- rates -------------------------------------------------------------------


def speed_table(group: SpeedGroup) -> Table:
    """Return the rates with their ratios to the reference, by wall clock and CPU time."""
    session = group.session
    named = session.reference in group.names.index
    reference = group.label(session.reference) if named else "in another group"

    def cell(subject: str, metric: str) -> Cell:
        return (_rate_cell if metric in RATES else measured_cell)(group, subject, metric)

    caption = (
        f"Below each rate its ratio to the reference, {reference}, in the same rounds: "
        f"{ratio_text(session)}. {CLOCKS} Launch-bound: a larger batch is at least 15 % faster per "
        "token, so the processor waited for work."
    )
    return measured_table(group, "speed", "Speed", list(registered_columns("speed", cell)), caption)


def _rate_cell(group: SpeedGroup, subject: str, metric: str) -> Cell:
    session = group.session
    ratios = (("", session.ratios.get((subject, metric))),
              ("CPU ", session.ratios.get((subject, RATES[metric]))))  # fmt: skip
    lines = [f"{clock}{_ratio_lines(ratio)}" for clock, ratio in ratios if ratio]
    gain = efficiency.batch_gain(session, subject, metric)
    lines += [f"{gain.text}: {gain.small}"] if gain else []
    busy = session.value(subject, "busy_share") if metric == TRAIN_RATE else math.nan
    lines += [f"busy {100 * busy:.0f} % of the time"] if math.isfinite(busy) else []
    value, reason = session.value(subject, metric), session.missing_reason(subject, metric)
    return value_cell(value, format_large, "\n".join(lines), reason=reason)


def _ratio_lines(ratio: Ratio) -> str:
    several = ratio.rounds > 1
    span = f" ({format_fixed(ratio.low)} to {format_fixed(ratio.high)})" if several else ""
    refusal = "" if ratio.agree or not several else "\nno claim: the mean disagrees"
    return f"×{format_fixed(ratio.value)}{span}{refusal}"


# --- crossovers --------------------------------------------------------------

Pairs = dict[str, SpeedPair]  # by metric


def crossover_tables(group: SpeedGroup) -> list[Table]:
    """Return the pairs that change places along the lengths, then, folded, those that do not."""
    rows = _claimed_pairs(group)
    if not rows:
        return []
    counts = [sum(len(pair.crossings) for pair in row.values()) for row in rows]
    ordered = sorted(zip(counts, rows, strict=True), key=lambda item: -item[0])
    crossing = [row for count, row in ordered if count]
    others = [row for count, row in ordered if not count]
    notes = ["No pair was observed to change places."] if not crossing else []
    caption = (
        "Which one is faster where, as the length grows. A crossing is interpolated between the "
        "two measured lengths that are given."
    )
    first = _crossover_table(group, "crossovers", crossing)
    first = replace(
        first, caption=caption, heading="Crossovers", notes=notes + first.notes + _few_notes(group)
    )
    were = "was" if len(others) == 1 else "were"
    fold = f"{plural(len(others), 'pair')} that {were} not observed to change places"
    return [first, replace(_crossover_table(group, "no-crossovers", others), folded=fold)]


def _claimed_pairs(group: SpeedGroup) -> list[Pairs]:
    """Return for each two architectures their pairs of the metrics that allow a claim."""
    rows: dict[tuple[str, str], Pairs] = {}
    for pair in group.pairs:
        if group.session.allows_claim(pair.metric):
            rows.setdefault((pair.first, pair.second), {})[pair.metric] = pair
    return list(rows.values())


def _few_notes(group: SpeedGroup) -> list[str]:
    """Return what limits the comparison where architectures are many, or rounds few."""
    notes = []
    if len(group.subjects) > crossovers.MAX_PAIRED:
        limit = f"Of more than {crossovers.MAX_PAIRED} architectures"
        notes.append(f"{limit} each is compared with the reference alone.")
    points = [point for point in group.session.samples if point[1] == "length"]
    fewest = min(map(group.session.rounds, points), default=FEW_ROUNDS)
    if 0 < fewest < FEW_ROUNDS:
        rounds = plural(fewest, "round")
        notes.append(f"With {rounds} per length, intervals are wide and little can be claimed.")
    return notes


def _crossover_table(group: SpeedGroup, name: str, rows: Sequence[Pairs]) -> Table:
    columns = [
        Column("pair", "two architectures", partial(_pair_cell, group)),
        *(
            Column(title, ABOUT_CROSSING, partial(_crossing_cell, group, metric))
            for metric, title in QUANTITIES.items()
            if any(metric in row for row in rows)
        ),
    ]
    left = len(rows) - MAX_PAIRS
    notes = [f"{left} further pairs: see crossovers.csv."] if left > 0 else []
    return build_table(f"{group.name}-{name}", columns, rows[:MAX_PAIRS], notes=notes)


def _pair_cell(group: SpeedGroup, row: Pairs) -> Cell:
    pair = next(iter(row.values()))
    text = f"{group.label(pair.first)} · {group.label(pair.second)}"
    return Cell(text, text)


def _crossing_cell(group: SpeedGroup, metric: str, row: Pairs) -> Cell:
    if metric not in row:
        return value_cell(None, str, reason="not measured at two lengths for both")
    text, small = crossovers.pair_cell_text(row[metric], group.label)
    crossings = row[metric].crossings
    return Cell(text, crossings[0].length if crossings else None, small)


# --- decoding ----------------------------------------------------------------


def decoding_table(group: SpeedGroup) -> Table:
    """Return the costs of decoding: at several batches and lengths, and in state."""
    columns = chain(
        _batch_columns(group), *(_decoding_columns(group, s.name) for s in in_section("decoding"))
    )
    return measured_table(group, "decoding", "Decoding", list(columns))


def _batch_columns(group: SpeedGroup) -> list[Column]:
    metric = DECODE_RATE
    batches = [1.0, *group.session.places(metric, "batch")]
    columns = []
    for batch in batches:
        title = f"batch {batch:g}" if batch > 1 else "tokens/s, batch 1"
        point = (metric, "batch", batch) if batch > 1 else (metric, "", 0.0)
        help = f"tokens per second of {plural(int(batch), 'sequence')} at once"
        columns.append(point_column(title, help, group, point, format_large))
    return columns


def _decoding_columns(group: SpeedGroup, metric: str) -> list[Column]:
    session = group.session
    if metric != DECODE_TIME:
        return [metric_column(metric, lambda subject: measured_cell(group, subject, metric))]
    lengths = [
        length
        for length in session.places(metric, "length")
        if any(
            (subject, (metric, "length", length)) in session.points for subject in group.subjects
        )
    ]
    return [
        point_column(
            f"further token at {length:,g}",
            f"time of one more token after {length:,g} tokens, batch 1",
            group,
            (metric, "length", length),
            format_seconds,
        )
        for length in dict.fromkeys([*lengths[:1], *lengths[-1:]])
    ]
