"""Groups of measured architectures that may share one table of speeds, and their names."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import pandas as pd

from bench.analysis.comparisons import Comparison
from bench.analysis.crossovers import SpeedPair, speed_pairs
from bench.analysis.sessions import RATES, TRAIN_RATE, MeasuredSession, Point, scalar_point

NAME_COLUMNS = ["label", "arch", "stale"]
UNTRAINED = "Measured without a finished run"


@dataclass(frozen=True)
class SpeedGroup:
    """Architectures of one session with one budget and context."""

    name: str
    title: str
    session: MeasuredSession
    names: pd.DataFrame  # indexed by subject: NAME_COLUMNS
    pairs: tuple[SpeedPair, ...]  # those that cross first

    def label(self, subject: str) -> str:
        """Return what a subject is called."""
        return str(self.names.at[subject, "label"])

    @property
    def subjects(self) -> list[str]:
        """Return the subjects, in no order that means anything."""
        return [str(subject) for subject in self.names.index]


def build_groups(
    sessions: Sequence[MeasuredSession], comparisons: Sequence[Comparison]
) -> list[SpeedGroup]:
    """Group each session by budget and context; what has no finished run is a group of its own."""
    trained = _names_in_comparisons(comparisons)
    others = _names_of_others(sessions, trained)
    groups = []
    for session in sessions:
        own = trained[trained.index.isin(session.medians.index)]
        tables = [(str(title), rows) for title, rows in own.groupby("title", sort=False)]
        untrained = others[others.index.isin(session.medians.index)]
        if len(untrained):
            tables.append((UNTRAINED if tables else "", untrained))
        for number, (title, rows) in enumerate(tables):
            labels = {str(subject): str(label) for subject, label in rows["label"].items()}
            group = SpeedGroup(
                name=f"{session.name}-{number}",
                title=title if len(tables) > 1 else "",
                session=session,
                names=rows[NAME_COLUMNS],
                pairs=tuple(speed_pairs(session, labels)),
            )
            groups.append(group)
    return groups


def _names_in_comparisons(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return the names of each subject in the first comparison that it is in."""
    tables = [pd.DataFrame(columns=["subject", "title", *NAME_COLUMNS])]
    for one in comparisons:
        budget, context = one.rows[["matched", "context"]].iloc[0]
        rows = one.rows[~one.rows["control"].astype(bool)]
        tables.append(rows.assign(title=f"At most {budget}, a context of {context} tokens"))
    names = pd.concat([table for table in tables if len(table)] or tables)
    return names.drop_duplicates("subject").set_index("subject")[["title", *NAME_COLUMNS]]


def _names_of_others(sessions: Sequence[MeasuredSession], trained: pd.DataFrame) -> pd.DataFrame:
    """Name subjects without a finished run by architecture, and by the subject if ambiguous."""
    rows = {
        subject: {
            "subject": subject,
            "arch": arch,
            "family": str(session.described.get(subject, {}).get("family", "")),
        }
        for session in sessions
        for subject, arch in session.arches.items()
        if subject in session.medians.index and subject not in trained.index
    }
    table = pd.DataFrame(rows.values(), columns=["subject", "arch", "family"])
    table = table.sort_values(["arch", "subject"])
    ambiguous = table["arch"].duplicated(keep=False)
    table["label"] = table["arch"].where(~ambiguous, table["arch"] + " " + table["subject"])
    return table.assign(stale=False).set_index("subject")[NAME_COLUMNS]


class Depth(NamedTuple):
    """Rounds of a group's measurement, and half widths of its ratios' intervals as shares."""

    rate_rounds: int
    length_rounds: int
    median_half: float | None
    largest_half: float | None  # of several


def measurement_depth(group: SpeedGroup) -> Depth:
    """Return how many rounds were measured, and how wide the intervals are."""
    session = group.session
    points: list[Point] = [
        (TRAIN_RATE, "length", n) for n in session.places(TRAIN_RATE, "length")[:1]
    ]
    halves = [
        ratio.half / ratio.value
        for (subject, name), ratio in session.ratios.items()
        if name in RATES and subject in group.names.index and ratio.rounds > 1
    ]
    return Depth(
        session.rounds(scalar_point(TRAIN_RATE)),
        max(map(session.rounds, points), default=0),
        median(halves) if halves else None,
        max(halves) if len(halves) > 1 else None,
    )
