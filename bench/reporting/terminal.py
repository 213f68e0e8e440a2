"""The summary as a few lines for a terminal."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from textwrap import fill
from typing import Any

import pandas as pd

from bench.analysis import crossovers
from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import (
    format_bytes,
    format_count,
    format_fixed,
    format_large,
    format_number,
    format_seconds,
)
from bench.analysis.sessions import DECODE_RATE, PREFILL_RATE, TRAIN_RATE
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.task_answers import task_answers
from bench.records.loading import UNREADABLE
from bench.reporting.html_table import Table
from bench.reporting.sections import trust
from bench.reporting.sections.measured import subject_order
from bench.reporting.sections.regrets import regret_overview, regret_sentences, regret_table
from bench.reporting.sections.scaling_text import scaling_sentences
from bench.reporting.summary_text import quality_sentences, summary_sentences

MAX_CROSSINGS = 12
WIDTH = 120  # characters of a line
Columns = dict[str, Callable[[Any], str]]
UNFAIR = (
    "WARNING: the order of training blocks differs between architectures of one seed; this "
    "comparison is not fair"
)


def terminal_text(analysis: Analysis) -> str:
    """Return a block per comparison, the speeds, the laws, then the runs without a result."""
    overview = regret_overview(analysis.comparisons)
    blocks = [
        block
        for part in analysis.comparisons
        for block in _comparison_blocks(part, analysis, overview is not None)
    ]
    blocks += [table_text(overview, "regret")] if overview else []
    only_measured = analysis.variants.runs.empty
    blocks += [block for group in analysis.groups for block in _speed_blocks(group, only_measured)]
    blocks += ["\n".join(map(wrap_line, scaling_sentences(study))) for study in analysis.studies]
    blocks += ["\n".join(map(wrap_line, task_answers(table))) for table in analysis.tasks]
    blocks.append("\n".join(_lines_without_result(analysis)))
    return "\n\n".join(filter(None, blocks))


def _comparison_blocks(part: Comparison, analysis: Analysis, has_overview: bool) -> Iterator[str]:
    if len(analysis.comparisons) > 1:
        yield part.title
    for rows in part.likelihoods:
        yield _align(LIKELIHOOD_COLUMNS, rows.itertuples())
    for rows in part.pseudo:
        yield _align(ENCODER_COLUMNS, rows.itertuples())
    if not has_overview:
        for rows in part.regrets:
            yield table_text(regret_table("", rows, pd.DataFrame()), "")
    if has_overview and part.regrets:
        sentences = [*regret_sentences(part), *quality_sentences(part)]
    else:
        sentences = summary_sentences(part, analysis.answers)
    yield "\n".join(map(wrap_line, sentences))
    if not part.equal_order:
        yield UNFAIR


def _lines_without_result(analysis: Analysis) -> Iterator[str]:
    """Yield a line per run or measurement without a result, and per record that is not used."""
    runs, measures = analysis.variants.runs, analysis.records.measures
    unreadable = measures[measures["status"] == UNREADABLE]
    named = unreadable.assign(run="measurement of " + unreadable["arch"].astype(str))
    for table in (runs[runs["status"] != "done"], analysis.records.excluded, named):
        for row in table.itertuples():
            yield f"{row.status}: {_printable(row.run)}: {_printable(row.reason)}"


def _speed_blocks(group: SpeedGroup, only_measured: bool) -> Iterator[str]:
    """Yield the claims about a group's speeds; its table too where nothing was trained."""
    session = group.session
    if only_measured:
        table = _align(_speed_columns(group), subject_order(group))
        yield f"machine {session.machine}, session {session.name}\n{table}"
    lines = trust.failed_check_sentences(session)
    if only_measured:
        lines = trust.warnings(session)
        lines.append(trust.aa_line(session, session.arches.get(session.reference, "")))
    yield "\n".join(wrap_line(line) for line in lines if line)
    crossing = [one for one in group.pairs if one.crossings and session.allows_claim(one.metric)]
    lines = [crossovers.pair_sentence(pair, group.label) for pair in crossing[:MAX_CROSSINGS]]
    if len(crossing) > MAX_CROSSINGS:
        lines.append(f"{len(crossing) - MAX_CROSSINGS} more pairs cross: see crossovers.csv")
    yield "\n".join(map(wrap_line, lines))


# --- columns -----------------------------------------------------------------


def _interval(low: float, high: float) -> str:
    return f"{format_fixed(low)} to {format_fixed(high)}" if low == low else "none"


def _seeds(row: Any) -> str:
    return str(row.seeds) if row.seeds == row.seeds_asked else f"{row.seeds} of {row.seeds_asked}"


COMMON_COLUMNS: Columns = {
    "parameters": lambda row: format_count(row.parameters),
    "seeds": _seeds,
    "train tok/s": lambda row: format_large(row.train_tokens_per_second),
    "decode tok/s": lambda row: format_large(row.decode_tokens_per_second),
    "memory": lambda row: format_bytes(row.training_memory_bytes),
}
LIKELIHOOD_COLUMNS: Columns = {
    "": lambda row: row.label,
    "bits/byte": lambda row: format_fixed(row.bits_per_byte),
    "95 % interval": lambda row: _interval(row.bits_per_byte_low, row.bits_per_byte_high),
    "perplexity": lambda row: format_number(row.perplexity, 4),
    **COMMON_COLUMNS,
}
ENCODER_COLUMNS: Columns = {
    "": lambda row: row.label,
    "pseudo-ppl": lambda row: format_number(row.pseudo_perplexity, 4),
    "±": lambda row: format_number(row.pseudo_perplexity_standard_error, 2),
    **COMMON_COLUMNS,
}


def _speed_columns(group: SpeedGroup) -> Columns:
    session = group.session

    def ratio_column(show: Callable[[Any], str], none: str) -> Callable[[str], str]:
        def text(subject: str) -> str:
            ratio = session.ratios.get((subject, TRAIN_RATE))
            return show(ratio) if ratio else none if subject == session.reference else ""

        return text

    def metric_column(name: str, show: Callable[[float], str]) -> Callable[[str], str]:
        return lambda subject: show(session.value(subject, name))

    return {
        "": group.label,
        "train tok/s": metric_column(TRAIN_RATE, format_large),
        "ratio": ratio_column(lambda ratio: format_fixed(ratio.value), ""),
        "95 % interval": ratio_column(
            lambda ratio: _interval(ratio.low, ratio.high), "the reference"
        ),
        "prefill tok/s": metric_column(PREFILL_RATE, format_large),
        "decode tok/s": metric_column(DECODE_RATE, format_large),
        "first step": metric_column("first_step_seconds", format_seconds),
        "training memory": lambda subject: format_bytes(session.training_memory(subject)),
    }


# --- text --------------------------------------------------------------------


def _printable(value: object) -> str:
    """Return text without control characters, which could steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def wrap_line(line: str) -> str:
    """Return a line as lines of at most WIDTH printable characters."""
    return fill(_printable(line), WIDTH, subsequent_indent="  ")


def _align(columns: Columns, rows: Iterable[Any]) -> str:
    return _align_texts(
        [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    )


def table_text(table: Table, corner: str) -> str:
    """Return a table of the page as aligned text."""
    texts = [[cell.text for cell in row] for row in table.rows]
    return _align_texts([[corner, *table.titles[1:]], *texts])


def _align_texts(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of equally wide columns, the first one left-aligned."""
    printable = [[_printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*printable, strict=True)]
    aligned = []
    for first, *cells in printable:
        others = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        aligned.append("  ".join([first.ljust(widths[0]), *others]).rstrip())
    return "\n".join(aligned)
