"""The answer and the main table as Markdown, for an issue or a README: report.md."""

from collections.abc import Iterator, Sequence
from typing import Any

from bench.analysis import formatting as fmt
from bench.analysis.answer import Answer
from bench.analysis.answers import RATES
from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.more_data import more_data_sentence
from bench.reporting.short_tables import SCORES, Cells, Texts, row_texts, speed_texts
from bench.reporting.summary_text import measurement_sentences, summary_sentences

ESCAPED = {"\\": "\\\\", "|": "\\|", "<": "&lt;", "*": "\\*", "_": "\\_", "`": "\\`", "$": "\\$"}


def markdown_text(name: str, analysis: Analysis) -> str:
    """Return what the page says first, and the main table of each comparison."""
    lines = [f"# {escape(name)}", ""]
    if analysis.variants.runs.empty:
        lines += _bullets(measurement_sentences(analysis.groups, analysis.answers))
        for group in analysis.groups:
            lines += ["", *_table(speed_texts(group, group.subjects))]
    for part in analysis.comparisons:
        lines += [f"## {escape(part.title)}", ""] * (len(analysis.comparisons) > 1)
        own = [*summary_sentences(part, analysis.answers), more_data_sentence(part, analysis)]
        lines += [*_bullets(own), "", *_score_tables(part, analysis.answers)]
    return "\n".join([*lines, *_missing(analysis)]).rstrip() + "\n"


def _missing(analysis: Analysis) -> list[str]:
    """Return how many runs and records are in no table."""
    runs: Any = analysis.variants.runs
    undone, excluded = int((runs["status"] != "done").sum()), len(analysis.records.excluded)
    counts = [f"Without a result: {fmt.plural(undone, 'run')}."] * bool(undone)
    counts += [f"Not counted: {fmt.plural(excluded, 'record')}."] * bool(excluded)
    return [f"{' '.join(counts)} runs.csv says why."] if counts else []


def escape(text: object) -> str:
    """Return text on one line that Markdown shows as it is."""
    letters = (ESCAPED.get(one, one if one.isprintable() else " ") for one in str(text))
    return "".join(letters)


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [f"- {escape(sentence)}" for sentence in sentences if sentence]


def _score_tables(part: Comparison, answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the tables of a comparison; the names of the best rows are bold."""
    session = max(part.sessions, key=lambda one: len(one.medians), default=None)
    own = [one for one in answers if (one.comparison, one.question) == (part.name, "quality")]
    best = {rank.row for one in own for rank in one.winners}
    more: Cells = {}
    if session is not None:
        point = RATES["decoding-32"]
        more["decode tok/s, batch 32"] = lambda row: fmt.format_large(
            session.at(str(row.subject), point)
        )
    groups = (part.likelihoods, part.regrets, part.pseudo)
    for score, tables in zip(SCORES, groups, strict=True):
        for table in tables:
            bold = [place for place, row in enumerate(table.index, 1) if row in best]
            yield from _table(row_texts(score, table.itertuples(), more), bold)
            yield ""
            yield from ["In bold: no row is clearly better.", ""] * (score == "bits_per_byte")


def _table(texts: Texts, bold: Sequence[int] = ()) -> list[str]:
    """Return a table without the columns that hold no value; `bold`: lines of it."""
    lines = [[escape(text) or fmt.NO_VALUE for text in line] for line in texts]
    for place in bold:
        lines[place][0] = f"**{lines[place][0]}**"
    columns = [one for one in zip(*lines, strict=True) if {*one[1:]} != {fmt.NO_VALUE}]
    names, *body = zip(*columns, strict=True)
    head = [name.replace(fmt.NO_VALUE, "") for name in names]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(line)} |" for line in (head, rule, *body)]
