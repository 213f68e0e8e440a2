"""The summary as a few lines for a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from textwrap import fill

import pandas as pd

from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.more_data import more_data_sentence
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.task_answers import task_answers
from bench.records.loading import UNREADABLE
from bench.reporting.html_table import Table
from bench.reporting.sections import machine
from bench.reporting.sections.crossings import crossing_sentences
from bench.reporting.sections.measured import subject_order
from bench.reporting.sections.regrets import regret_overview, regret_sentences, regret_table
from bench.reporting.sections.scaling_text import scaling_sentences
from bench.reporting.short_tables import row_texts, speed_texts
from bench.reporting.summary_text import UNFAIR, quality_sentences, summary_sentences

MAX_CROSSINGS = 12
WIDTH = 120  # characters of a line


def terminal_text(analysis: Analysis) -> str:
    """Return a block per comparison, the speeds, the laws, then the runs without a result."""
    overview, only_measured = regret_overview(analysis.comparisons), analysis.variants.runs.empty
    blocks = [
        block
        for part in analysis.comparisons
        for block in _comparison_blocks(part, analysis, overview is not None)
    ]
    blocks += [table_text(overview, "regret")] if overview else []
    blocks += [block for group in analysis.groups for block in _speed_blocks(group, only_measured)]
    sentences = [*map(scaling_sentences, analysis.studies), *map(task_answers, analysis.tasks)]
    blocks += [_wrapped(own) for own in sentences]
    blocks.append("\n".join(_lines_without_result(analysis)))
    return "\n\n".join(filter(None, blocks))


def _comparison_blocks(part: Comparison, analysis: Analysis, has_overview: bool) -> Iterator[str]:
    if len(analysis.comparisons) > 1:
        yield part.title
    yield from (_aligned("bits_per_byte", rows) for rows in part.likelihoods)
    yield from (_aligned("pseudo_perplexity", rows) for rows in part.pseudo)
    if has_overview and part.regrets:
        yield _wrapped([*regret_sentences(part), *quality_sentences(part)])
    else:
        regrets = [] if has_overview else part.regrets
        yield from (table_text(regret_table("", rows, pd.DataFrame()), "") for rows in regrets)
        more = more_data_sentence(part, analysis)
        yield _wrapped([*summary_sentences(part, analysis.answers), more])
    if not part.equal_order:
        yield f"WARNING: {UNFAIR}"


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
        table = _align_texts(speed_texts(group, subject_order(group)))
        yield f"machine {session.machine}, session {session.name}\n{table}"
        name = session.arches.get(session.reference, "")
        yield _wrapped([*machine.warnings(session), machine.aa_line(session, name)])
    else:
        yield _wrapped(machine.failed_check_sentences(session))
    sentences = crossing_sentences(group)
    more = f"{len(sentences) - MAX_CROSSINGS} more pairs cross: see crossovers.csv"
    yield _wrapped([*sentences[:MAX_CROSSINGS], more * (len(sentences) > MAX_CROSSINGS)])


def _printable(value: object) -> str:
    """Return text without control characters, which could steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def wrap_line(line: str) -> str:
    """Return a line as lines of at most WIDTH printable characters."""
    return fill(_printable(line), WIDTH, subsequent_indent="  ")


def _wrapped(lines: Iterable[str]) -> str:
    return "\n".join(wrap_line(line) for line in lines if line)


def _aligned(score: str, rows: pd.DataFrame) -> str:
    return _align_texts(row_texts(score, rows.itertuples()))


def table_text(table: Table, corner: str) -> str:
    """Return a table of the page as aligned text."""
    texts = [[cell.text for cell in row] for row in table.rows]
    return _align_texts([[corner, *table.titles[1:]], *texts])


def _align_texts(lines: Sequence[Sequence[str]]) -> str:
    printable = [[_printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*printable, strict=True)]
    aligned = []
    for first, *cells in printable:
        others = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        aligned.append("  ".join([first.ljust(widths[0]), *others]).rstrip())
    return "\n".join(aligned)
