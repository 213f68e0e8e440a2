"""The answer and the main table as Markdown, for an issue or a README: report.md."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis import formatting as fmt
from bench.analysis.answer import Answer
from bench.analysis.answers import RATES
from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.sessions import MeasuredSession
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
            cells: Cells = {"": partial(_label, group.label), **_speed_cells(group.session, str)}
            lines += ["", *_table(cells, group.subjects)]
    for part in analysis.comparisons:
        lines += [f"## {escape(part.title)}", ""] * (len(analysis.comparisons) > 1)
        lines += [*_bullets(summary_sentences(part, analysis.answers)), ""]
        lines += _score_tables(part, analysis.answers)
    return "\n".join([*lines, *_missing(analysis)]).rstrip() + "\n"


def _label(label: Callable[[str], str], subject: str) -> str:
    return escape(label(subject))


def _missing(analysis: Analysis) -> list[str]:
    """Return how many runs and records are in no table."""
    runs: pd.DataFrame = analysis.variants.runs
    undone, excluded = int((runs["status"] != "done").sum()), len(analysis.records.excluded)
    counts = [f"Without a result: {fmt.plural(undone, 'run')}."] * bool(undone)
    counts += [f"Not counted: {fmt.plural(excluded, 'record')}."] * bool(excluded)
    return [f"{' '.join(counts)} runs.csv says why."] if counts else []


def escape(text: object) -> str:
    """Return text on one line that Markdown shows as it is."""
    letters = (ESCAPED.get(one, one if one.isprintable() else " ") for one in str(text))
    return "".join(letters)


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [f"- {escape(sentence)}" for sentence in sentences]


def _score_tables(part: Comparison, answers: Sequence[Answer]) -> Iterator[str]:
    session = max(part.sessions, key=lambda one: len(one.medians), default=None)
    own = [one for one in answers if (one.comparison, one.question) == (part.name, "quality")]
    name = partial(_row_name, {rank.row for one in own for rank in one.winners})
    groups = (part.likelihoods, part.regrets, part.pseudo)
    for score, tables in zip(SCORES, groups, strict=True):
        cells: Cells = {
            "": name,
            SCORES[score]: partial(_score_text, score),
            "parameters": lambda row: fmt.format_count(row.parameters),
            "seeds": lambda row: str(row.seeds),
        }
        if session is not None:
            cells |= _speed_cells(session, lambda row: str(row.subject))
        for table in tables:
            yield from _table(cells, list(table.itertuples()))
            yield ""
            yield from ["In bold: no row is clearly better.", ""] * (score == "bits_per_byte")


def _row_name(winners: set[int], row: Any) -> str:
    return f"**{escape(row.label)}**" if row.Index in winners else escape(row.label)


def _score_text(score: str, row: Any) -> str:
    if score != "bits_per_byte":
        return fmt.format_number(getattr(row, score), 4)
    half = (row.bits_per_byte_high - row.bits_per_byte_low) / 2
    error = f" ± {fmt.format_fixed(half)}" if half == half else ""
    return f"{fmt.format_fixed(row.bits_per_byte)}{error}"


def _speed_cells(session: MeasuredSession, subject_of: Callable[[Any], str]) -> Cells:

    def rate(question: str, row: Any) -> str:
        return fmt.format_large(session.at(subject_of(row), RATES[question]))

    rates: Cells = {heading: partial(rate, name) for name, heading in RATE_HEADINGS.items()}
    memory = {
        "training memory": lambda row: fmt.format_bytes(session.training_memory(subject_of(row)))
    }
    return rates | memory


def _table(cells: Cells, rows: Sequence[Any]) -> list[str]:
    """Return a table without the columns that hold no value."""
    texts = [[cell(row) or fmt.NO_VALUE for cell in cells.values()] for row in rows]
    columns = list(zip(cells, *texts, strict=True))
    head, *body = zip(*(one for one in columns if set(one[1:]) != {fmt.NO_VALUE}), strict=True)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(line)} |" for line in (head, rule, *body)]
