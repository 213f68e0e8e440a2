"""The views of the page: rows that may be ranked with one another, and their numbers.

A view is a table of one comparison. The page shows one at a time; a selector chooses it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench.analysis.aggregate import CONTROL_SUFFIX
from bench.analysis.baselines import Baselines
from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.families import contenders
from bench.analysis.formatting import NO_VALUE
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.verdicts import Verdicts
from bench.reporting.palette import assign_styles, with_styles

QUALITY = ("bits_per_byte", "regret", "pseudo_perplexity")  # each ranks rows of its own
NO_ROWS = pd.DataFrame(columns=["label", "arch"])


@dataclass(frozen=True)
class View:
    """Rows of one table of a comparison, the best first."""

    name: str
    rows: pd.DataFrame  # of the summary, with `key` (unique on the page) and `base` (label)
    choices: dict[str, str]  # what tells views apart: source, size, training, scoring
    sessions: tuple[MeasuredSession, ...]  # that measured some of the rows, most of them first
    quality: str = ""  # the metric that ranks the rows; empty where nothing was trained
    comparison: Comparison | None = None
    verdicts: Verdicts | None = None
    baselines: Baselines | None = None

    @property
    def reference(self) -> str:
        """Return the key of the row that others are compared with until the reader chooses."""
        own = contenders(self.rows)
        return str((own if len(own) else self.rows)["key"].iloc[0])


def build_views(analysis: Analysis) -> list[View]:
    """Return the views of all comparisons, then those of what was measured without a run."""
    trained = analysis.variants.summary
    subjects = set(trained.loc[trained["seeds"] > 0, "subject"])
    views = [view for part in analysis.comparisons for view in _views_of(part)]
    views += [_measured_view(one) for one in analysis.groups if not subjects & {*one.subjects}]
    rows = pd.concat([view.rows[["label", "arch"]] for view in views] or [NO_ROWS])
    styles = assign_styles(rows.itertuples(index=False, name=None))  # of a label, in all views
    return [replace(view, rows=with_styles(view.rows, styles)) for view in views]


def _views_of(part: Comparison) -> Iterator[View]:
    for metric, tables in zip(QUALITY, (part.likelihoods, part.regrets, part.pseudo), strict=True):
        for number, rows in enumerate(tables):
            ranked = metric == "bits_per_byte"
            yield View(
                name=f"{part.name}-{metric}-{number}",
                rows=_with_keys(rows, "r" + rows.index.astype(str)),
                choices=_choices(rows.iloc[0], metric),
                sessions=_sessions_of(rows, part),
                quality=metric,
                comparison=part,
                verdicts=part.verdicts[number] if ranked else None,
                baselines=part.baselines[number] if ranked else None,
            )


def _sessions_of(rows: pd.DataFrame, part: Comparison) -> tuple[MeasuredSession, ...]:
    """Return the sessions that measured some of the rows: most of them first, then the latest."""
    covered = [(one.medians.index.isin(rows["subject"]).sum(), one) for one in part.sessions]
    covered.sort(key=lambda pair: (pair[0], pair[1].name), reverse=True)
    return tuple(session for count, session in covered if count)


def _choices(row: Any, metric: str) -> dict[str, str]:
    scoring = f"{row['protocol']}, {row['part'] or 'held-out'} part, {row['tokenizer']} tokens"
    return {
        "source": str(row["data"]),
        "size": f"{row['matched']}, context {row['context']}",
        "training": row["amount"] or f"{row['tokens_seen']:,.0f} tokens",
        "scoring": "encoders: " * (metric == "pseudo_perplexity") + scoring,
    }


def _with_keys(rows: pd.DataFrame, keys: Any) -> pd.DataFrame:
    """Return rows with their keys, and the label that an A/A control shares with its model."""
    base = rows["label"].astype(str).str.removesuffix(CONTROL_SUFFIX)
    return rows.assign(key=keys, base=base)


def _measured_view(group: SpeedGroup) -> View:
    rows = group.names.assign(subject=group.names.index, control=False, seeds=0)
    arches = [group.session.described.get(one, {}) for one in rows["subject"]]
    rows = rows.assign(family=[str(arch.get("family", "")) for arch in arches])
    choices = dict.fromkeys(("source", "size", "training", "scoring"), NO_VALUE)
    choices["source"] = group.title or "measured only"
    rows = _with_keys(rows, f"{group.name}-" + rows["subject"])
    return View(group.name, rows, choices, (group.session,))
