"""The views of the page: rows that may be ranked with one another, and their numbers.

A view is a table of one comparison. The page shows one at a time; a selector chooses it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
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
from bench.reporting.palette import Style, assign_styles

QUALITY = ("bits_per_byte", "regret", "pseudo_perplexity")  # each ranks rows of its own


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
    views = [view for part in analysis.comparisons for view in _views_of(part)]
    views += [
        _measured_view(group) for group in analysis.groups if not _is_trained(group, analysis)
    ]
    names = [
        pair for view in views for pair in zip(view.rows["label"], view.rows["arch"], strict=True)
    ]
    styles = assign_styles(names)
    return [replace(view, rows=_with_styles(view.rows, styles)) for view in views]


def _with_styles(rows: pd.DataFrame, styles: Mapping[str, Style]) -> pd.DataFrame:
    """Return rows with the columns of `Style`, equal for a label in all views."""
    own = [styles[str(label)] for label in rows["label"]]
    return rows.assign(
        **{one.name: [getattr(style, one.name) for style in own] for one in fields(Style)}
    )


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
    """Return what tells a view from the others, by the name of its selector."""
    amount = row["amount"] or f"{row['tokens_seen']:,.0f} tokens"
    scoring = f"{row['protocol']}, {row['part'] or 'held-out'} part, {row['tokenizer']} tokens"
    kind = {"pseudo_perplexity": "encoders: "}.get(metric, "")
    return {
        "source": str(row["data"]),
        "size": f"{row['matched']}, context {row['context']}",
        "training": amount,
        "scoring": f"{kind}{scoring}",
    }


def _with_keys(rows: pd.DataFrame, keys: Any) -> pd.DataFrame:
    """Return rows with their keys, and the label that an A/A control shares with its model."""
    base = rows["label"].astype(str).str.removesuffix(CONTROL_SUFFIX)
    return rows.assign(key=keys, base=base)


def _is_trained(group: SpeedGroup, analysis: Analysis) -> bool:
    trained = analysis.variants.summary
    return bool(trained.loc[trained["seeds"] > 0, "subject"].isin(group.subjects).any())


def _measured_view(group: SpeedGroup) -> View:
    """Return a view of measurements alone."""
    rows = group.names.assign(subject=group.names.index, control=False, seeds=0)
    families = {
        subject: str(group.session.described.get(subject, {}).get("family", ""))
        for subject in group.subjects
    }
    rows = rows.assign(family=rows["subject"].map(families))
    title = group.title or "measured only"
    choices = {"source": title} | dict.fromkeys(("size", "training", "scoring"), NO_VALUE)
    keys = f"{group.name}-" + rows["subject"]
    return View(group.name, _with_keys(rows, keys), choices, (group.session,))
