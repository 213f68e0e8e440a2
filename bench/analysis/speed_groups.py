"""Who stands in one table of speeds: the measured architectures of a sitting that share budget and context, and their names."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.analysis import families
from bench.analysis.comparisons import MAX_SHORT_LABEL, Comparison
from bench.analysis.crossovers import SpeedPair, speed_pairs
from bench.analysis.rows import each
from bench.analysis.sessions import MeasuredSession

NAME_COLUMNS = ["label", "short", "colour", "arch", "stale"]


@dataclass(frozen=True)
class SpeedGroup:
    """Architectures of one sitting that may stand beside one another."""

    name: str  # for ids
    title: str
    sitting: MeasuredSession
    names: pd.DataFrame  # indexed by subject: NAMES
    pairs: tuple[SpeedPair, ...]

    def label(self, subject: str) -> str:
        return str(self.names.at[subject, "label"])

    @property
    def subjects(self) -> list[str]:
        return [str(subject) for subject in self.names.index]


def build_groups(
    sittings: Sequence[MeasuredSession], parts: Sequence[Comparison]
) -> list[SpeedGroup]:
    """One for each sitting and each budget and context; what was measured without a finished run stands apart."""
    known = _names_in_comparisons(parts)
    others = _names_of_others(sittings, set(known.index), set(known["colour"]))
    found = []
    for sitting in sittings:
        there = known[known.index.isin(sitting.medians.index)]
        tables = [(str(title), rows) for title, rows in there.groupby("title", sort=False)]
        apart = others[others.index.isin(sitting.medians.index)]
        if len(apart):
            tables.append(("Measured without a finished run" if tables else "", apart))
        for number, (title, rows) in enumerate(tables):
            heading = title if len(tables) > 1 else ""
            found.append(
                SpeedGroup(
                    f"{sitting.name}-{number}",
                    heading,
                    sitting,
                    rows[NAME_COLUMNS],
                    tuple(speed_pairs(sitting, {str(s): str(n) for s, n in rows["label"].items()})),
                )
            )
    return found


def _names_in_comparisons(parts: Sequence[Comparison]) -> pd.DataFrame:
    """What the comparisons call each subject. One that stands in several (the same model, other text) is named by the first."""
    tables = [
        part.rows.assign(
            title=f"At most {part.rows['matched'].iloc[0]}, a context of {part.rows['context'].iloc[0]} tokens",
        )
        for part in parts
    ]
    empty = pd.DataFrame(columns=["subject", "title", *NAME_COLUMNS])
    every = pd.concat(tables) if tables else empty.assign(control=pd.Series(dtype=bool))
    return (
        every[~every["control"].astype(bool)]
        .drop_duplicates("subject")
        .set_index("subject")[["title", *NAME_COLUMNS]]
    )


def _names_of_others(
    sittings: Sequence[MeasuredSession], known: set[str], taken: set[int]
) -> pd.DataFrame:
    """Names for subjects that no finished run names: their architecture's, and where two share it, the subject too."""
    arches = {
        s: a
        for sitting in sittings
        for s, a in sitting.arches.items()
        if s in sitting.medians.index and s not in known
    }
    table = pd.DataFrame({"subject": list(arches), "arch": list(arches.values())}).sort_values(
        ["arch", "subject"]
    )
    shared = table["arch"].duplicated(keep=False)
    table["label"] = [
        f"{r.arch} {r.subject}" if twice else str(r.arch)
        for r, twice in zip(each(table), shared, strict=True)
    ]
    table["short"] = [
        label if len(label) <= MAX_SHORT_LABEL else f"{arch[:12]} #{number}"
        for number, (label, arch) in enumerate(zip(table["label"], table["arch"], strict=True), 1)
    ]
    described = {
        subject: about for sitting in sittings for subject, about in sitting.described.items()
    }
    named = {
        subject: str(described.get(subject, {}).get("family", "")) for subject in table["subject"]
    }
    table["colour"] = [*families.assign_colours(named, taken).values()]
    return table.assign(stale=False).set_index("subject")[NAME_COLUMNS]
