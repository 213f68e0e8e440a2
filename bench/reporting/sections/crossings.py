"""Where one architecture becomes faster than another as the context grows, in sentences."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from bench.analysis import crossovers
from bench.analysis.formatting import join_words
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.html_table import shown_tables
from bench.reporting.panel_data import LENGTHS
from bench.reporting.section import RowText
from bench.reporting.sections.measured import decoding_table
from bench.reporting.sentences import say

MAX_SENTENCES = 40  # crossovers.csv has them all
FEW_ROUNDS = 5  # at a length: with fewer, the t interval of a ratio is wide


def crossing_blocks(groups: Sequence[SpeedGroup]) -> list[dict[str, Any]]:
    """Return of each group its crossings, what limits them, and the table of decoding."""
    blocks = [
        {
            "title": group.title,
            "sentences": crossing_sentences(group)[:MAX_SENTENCES],
            "notes": [*_crossing_notes(group), *gap_notes(group)],
            "tables": shown_tables([decoding_table(group)]),
        }
        for group in groups
    ]
    return [one for one in blocks if one["sentences"] or one["notes"] or one["tables"]]


def crossing_sentences(group: SpeedGroup) -> list[str]:
    """Return a sentence for each pair that changes places where a claim is allowed."""
    return [
        RowText(
            crossovers.pair_sentence(pair, group.label),
            map(group.label, (pair.first, pair.second)),
            is_pair=True,
        )
        for pair in group.pairs
        if pair.crossings and group.session.allows_claim(pair.metric)
    ]


def _crossing_notes(group: SpeedGroup) -> list[str]:
    claimed = [pair for pair in group.pairs if group.session.allows_claim(pair.metric)]
    crossing = sum(bool(pair.crossings) for pair in claimed)
    many = bool(claimed) and len(group.subjects) > crossovers.MAX_PAIRED
    points = [point for point in group.session.samples if point[1] == "length"]
    fewest = min(map(group.session.rounds, points), default=0) if claimed else 0
    kept, rounds = len(claimed) - crossing, fewest if fewest < FEW_ROUNDS else 0
    limit = crossovers.MAX_PAIRED if many else 0
    return say("crossing_notes", crossing - MAX_SENTENCES, kept, limit, rounds)


def gap_notes(group: SpeedGroup) -> list[str]:
    """Return where the curves over length and batch have gaps, and why."""
    notes, everyone = list[str](), len(group.names) if len(group.names) > 1 else 0
    for metric, axis, title, _ in LENGTHS:
        labels: dict[str, list[str]] = {}
        for subject in sorted(group.subjects, key=group.label):
            for text in _gaps_of(group.session, subject, metric, axis):
                labels.setdefault(text, []).append(group.label(subject))
        rows = dict.fromkeys(chain(*labels.values()))
        lines = say("gaps", title, [*labels.items()], everyone)
        notes += [RowText(line, rows) for line in lines]
    return notes


def _gaps_of(session: MeasuredSession, subject: str, metric: str, axis: str) -> Iterator[str]:
    """Yield for each reason the places without a number: `at 512: out of memory`."""
    places: dict[str, list[float]] = {}
    points = [(subject, (metric, axis, x)) for x in session.places(metric, axis)]
    for point in points:
        if point in session.gaps:
            reason = session.gaps[point] or "no reason was recorded"
            places.setdefault(reason, []).append(point[1][2])
    measured = any(point in session.points for point in points)
    for reason, own in places.items():
        where = f"at {join_words([f'{x:,g}' for x in own])}" if measured else "at any point"
        yield f"{where}: {reason}"
