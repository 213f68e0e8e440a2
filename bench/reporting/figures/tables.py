"""Take what the figures of one comparison show from the CSV files of a report."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from bench.analysis.formatting import format_large
from bench.reporting.palette import Style, assign_styles

MAX_COMPARISONS = 2  # the largest ones are drawn; the CSV files hold the rest
MARKERS = {  # of matplotlib
    "circle": "o", "square": "s", "triangle-up": "^", "diamond": "D", "cross": "P",
    "triangle-down": "v",
}  # fmt: skip
MAX_NAMED = 12  # rows with a colour and a name in figures of lines and points
MAX_NAME = 24
KEY = ["data", "data_digest", "tokenizer", "size", "tokens_seen"]  # of older files
QUALITY = "bits_per_byte"


@dataclass(frozen=True)
class Group:
    """The rows of one comparison. `label` is short and unique in each of the tables."""

    suffix: str  # of the files; empty for the first comparison
    title: str
    rows: pd.DataFrame  # of summary.csv, the best first, without A/A controls
    curves: pd.DataFrame  # of curves.csv
    contexts: pd.DataFrame  # label, seed, axis, x, nats: loss by context and by position
    speeds: pd.DataFrame  # of speeds.csv with label, axis and x
    styles: Mapping[str, Style]

    @property
    def palette(self) -> dict[str, str]:
        """Return the colour of each row."""
        return {label: style.light for label, style in self.styles.items()}

    @property
    def markers(self) -> dict[str, str]:
        """Return the marker of each row."""
        return {label: MARKERS[style.shape] for label, style in self.styles.items()}

    def named(self, labels: Iterable[str], first: Collection[str] = ()) -> list[str]:
        """Return which of the labels are written: `first`, then those of the best quality."""
        present = set(labels)
        order = [*first, *(label for label in self.rows["label"] if label not in first)]
        return [label for label in order if label in present][:MAX_NAMED]

    def naming(self, count: int) -> str:
        """Return for the foot of a figure how many of its rows are named, where not all are."""
        return f" · named: {MAX_NAMED} of {count}" * (count > MAX_NAMED)


def read_groups(tables: Mapping[str, pd.DataFrame]) -> tuple[list[Group], int]:
    """Return the largest comparisons with a finished row, and how many further ones there are."""
    summary = tables["summary.csv"]
    rows = summary[(summary["seeds"] > 0) & ~summary["control"].astype(bool)]
    if rows.empty:
        return [], 0
    has_names = "comparison" in rows and bool(rows["comparison"].notna().any())
    key = ["comparison"] if has_names else KEY
    parts = [part for _, part in rows.groupby(key, sort=True, dropna=False)]
    parts.sort(key=len, reverse=True)
    groups = [_group(number, part, tables) for number, part in enumerate(parts[:MAX_COMPARISONS])]
    return groups, max(0, len(parts) - MAX_COMPARISONS)


def _group(number: int, rows: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Group:
    rows = rows.sort_values([QUALITY, "regret", "label"]).reset_index(drop=True)
    rows = rows.assign(label=_short_names(rows["label"].astype(str)))
    runs = _runs_of(rows, tables["runs.csv"])
    run_facts = runs.drop_duplicates("run").set_index("run")[["label", "objective"]]
    curves = tables["curves.csv"].drop(columns=["label", "control"])
    losses = runs[runs["metric"].isin(["context_nats", "position_nats"])]
    return Group(
        suffix=f"-{number + 1}" * (number > 0),
        title=_title(rows),
        rows=rows,
        curves=curves.join(run_facts, on="run", how="inner"),
        contexts=_with_places(losses).rename(columns={"value": "nats"}),
        speeds=_speeds(tables["speeds.csv"], rows),
        styles=assign_styles(zip(rows["label"], rows["arch"], strict=True)),
    )


def _short_names(labels: "pd.Series[str]") -> list[str]:
    """Return the labels, long ones cut and numbered."""
    return [
        label if len(label) <= MAX_NAME else f"{label[: MAX_NAME - 5].rstrip()}… #{number}"
        for number, label in enumerate(labels, 1)
    ]


def _runs_of(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of the finished runs of some rows, with label and objective of these."""
    runs = runs.drop(columns=["objective", "label"], errors="ignore")
    runs = runs[(runs["status"] == "done") & (runs["control"] == False)]  # noqa: E712
    facts = rows.set_index(["variant", "data"])[["label", "objective"]]
    return runs.join(facts, on=["variant", "data"], how="inner")


def _title(rows: pd.DataFrame) -> str:
    least, most = rows["seeds"].min(), rows["seeds"].max()
    texts = [
        ", ".join(sorted(set(rows["data"]))),
        f"{format_large(rows['parameters'].median())} parameters",
        f"{rows['tokens_seen'].iloc[0]:,.0f} training tokens",
        f"{least} seeds" if least == most else f"{least} to {most} seeds",
    ]
    return " · ".join(texts)


def _speeds(speeds: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the measurements by the wall clock of the session that the rows name."""
    keys = ["sitting", "subject"]
    labels = rows[rows["sitting"].notna()].drop_duplicates(keys).astype(dict.fromkeys(keys, str))
    speeds = speeds.astype(dict.fromkeys(keys, str)).drop(columns="label", errors="ignore")
    return _with_places(speeds.join(labels.set_index(keys)["label"], on=keys, how="inner"))


def _with_places(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the axis and the place that `at` names."""
    places = rows["at"].astype(str).str.extract(r"^(?P<axis>\w+)=(?P<x>[^,]+)$")
    return rows.assign(axis=places["axis"].fillna(""), x=pd.to_numeric(places["x"]))
