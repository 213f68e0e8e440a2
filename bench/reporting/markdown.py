"""The answer and the main table as Markdown, for an issue or a README: report.md."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.answer import Answer
from bench.analysis.answers import RATES
from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import (
    NO_VALUE,
    format_bytes,
    format_count,
    format_fixed,
    format_large,
    format_number,
    plural,
)
from bench.analysis.sessions import MeasuredSession, Point
from bench.reporting.summary_text import measurement_sentences, summary_sentences

ESCAPED = {"\\": "\\\\", "|": "\\|", "<": "&lt;", "*": "\\*", "_": "\\_", "`": "\\`", "$": "\\$"}
SCORES = {"bits_per_byte": "bits per byte", "regret": "regret", "pseudo_perplexity": "pseudo-ppl"}
RATE_HEADINGS = {
    "training": "train tokens/s",
    "decoding-1": "decode tokens/s",
    "decoding-32": "decode tokens/s, batch 32",
}
Cells = dict[str, Callable[[Any], str]]  # by heading


def markdown_text(name: str, analysis: Analysis) -> str:
    """Return what the page says first, and the main table of each comparison."""
    lines = [f"# {escape(name)}", ""]
    if analysis.variants.runs.empty:
        lines += _bullets(measurement_sentences(analysis.groups, analysis.answers))
        for group in analysis.groups:
            lines += ["", *_table(_speed_cells(group.session, group.label), group.subjects)]
    for part in analysis.comparisons:
        lines += [f"## {escape(part.title)}", ""] * (len(analysis.comparisons) > 1)
        lines += [*_bullets(summary_sentences(part, analysis.answers)), ""]
        lines += _score_tables(part, analysis.answers)
    lines += _missing(analysis)
    return "\n".join(lines).rstrip() + "\n"


def escape(text: object) -> str:
    """Return text on one line that Markdown shows as it is."""
    letters = (ESCAPED.get(one, one if one.isprintable() else " ") for one in str(text))
    return "".join(letters)


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [f"- {escape(sentence)}" for sentence in sentences]


def _score_tables(part: Comparison, answers: Sequence[Answer]) -> Iterator[str]:
    session = max(part.sessions, key=lambda one: len(one.medians), default=None)
    winners = {
        rank.row
        for one in answers
        if one.comparison == part.name and one.question == "quality"
        for rank in one.winners
    }
    groups = (part.likelihoods, part.regrets, part.pseudo)
    for score, tables in zip(SCORES, groups, strict=True):
        for table in tables:
            cells = {"": _name(winners), **_row_cells(score)}
            if session is not None:
                cells |= _of_subject(_speed_cells(session, str))
            yield from _table(cells, list(table.itertuples()))
            yield ""
            if score == "bits_per_byte":
                yield "In bold: no row is clearly better."
                yield ""


def _name(winners: set[int]) -> Callable[[Any], str]:
    """Return how a row is named: in bold where no row is clearly better."""
    return lambda row: f"**{escape(row.label)}**" if row.Index in winners else escape(row.label)


def _row_cells(score: str) -> Cells:
    return {
        SCORES[score]: lambda row: _score_text(row, score),
        "parameters": lambda row: format_count(row.parameters),
        "seeds": lambda row: str(row.seeds),
    }


def _score_text(row: Any, score: str) -> str:
    if score == "bits_per_byte":
        half = (row.bits_per_byte_high - row.bits_per_byte_low) / 2
        error = f" ± {format_fixed(half)}" if half == half else ""
        return f"{format_fixed(row.bits_per_byte)}{error}"
    return format_number(getattr(row, score), 4)


def _speed_cells(session: MeasuredSession, label: Callable[[str], str]) -> Cells:
    """Return the columns of what was measured, by subject."""
    cells: Cells = {"": lambda subject: escape(label(subject))}
    for question, heading in RATE_HEADINGS.items():
        cells[heading] = partial(_rate_text, session, RATES[question])
    return cells | {"training memory": lambda one: format_bytes(session.training_memory(one))}


def _rate_text(session: MeasuredSession, point: Point, subject: str) -> str:
    return format_large(session.at(subject, point))


def _of_subject(cells: Cells) -> Cells:
    """Return the cells by row instead of by subject."""
    return {heading: partial(_subject_text, cell) for heading, cell in cells.items() if heading}


def _subject_text(cell: Callable[[Any], str], row: Any) -> str:
    return cell(str(row.subject))


def _table(cells: Cells, rows: Sequence[Any]) -> list[str]:
    texts = [[cell(row) or NO_VALUE for cell in cells.values()] for row in rows]
    columns = list(zip(cells, *texts, strict=True))
    kept = [column for column in columns if set(column[1:]) != {NO_VALUE}]
    head, *body = zip(*kept, strict=True)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(line)} |" for line in (head, rule, *body)]


def _missing(analysis: Analysis) -> list[str]:
    """Return how many runs and records are in no table."""
    runs: pd.DataFrame = analysis.variants.runs
    undone, excluded = int((runs["status"] != "done").sum()), len(analysis.records.excluded)
    counts = [f"Without a result: {plural(undone, 'run')}."] * bool(undone)
    counts += [f"Not counted: {plural(excluded, 'record')}."] * bool(excluded)
    return [f"{' '.join(counts)} runs.csv says why."] if counts else []
