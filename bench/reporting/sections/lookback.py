"""The section of what predictions look at: how far back, and passages shaded by saliency."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.build import Analysis
from bench.analysis.formatting import format_fixed, format_number, format_percent, plural
from bench.analysis.lookback import NEAR, Lookback, build_lookback
from bench.analysis.protocols import curve_means
from bench.reporting.charts.lookback import LOSSES, SHARES, context_chart
from bench.reporting.html_table import (
    Cell,
    Column,
    Table,
    build_table,
    name_column,
    text_cell,
    value_cell,
)
from bench.reporting.palette import swatch_class
from bench.reporting.section import Chart, Section, render
from bench.reporting.sections.passages import article, head_article
from bench.reporting.views import View

MAX_VIEWS = 3  # whose passages are shown
MAX_TEXTS = 8  # rows whose passages are shown
MAX_HEAD_ROWS = 3  # rows whose attention heads are shown as text
WITHOUT_TEXTS = f"Passages are shown of the first {MAX_VIEWS} tables; saliency.json has the others."
STYLE_COLUMNS = ["key", "label", "light", "dark", "dash"]


class Shown(NamedTuple):
    """A view and what its rows look at."""

    view: View
    lookback: Lookback

    @property
    def rows(self) -> pd.DataFrame:
        """Return the explained rows, the best first."""
        rows = self.view.rows
        return rows[rows.index.isin(list(self.lookback.passages)) & ~rows["control"].astype(bool)]

    @property
    def labels(self) -> dict[int, str]:
        """Return the labels of the rows whose passages are shown."""
        rows = self.rows.head(MAX_TEXTS)
        return {
            int(row): str(label) for row, label in zip([*rows.index], rows["label"], strict=True)
        }


def lookback_section(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return what predictions look at; None where no run recorded it."""
    shown = [
        Shown(view, lookback)
        for view in views
        if view.quality
        and (lookback := build_lookback(view.rows, analysis.records, analysis.variants))
    ]
    if not shown:
        return None
    charts = (
        Chart("far-back", "How far back predictions look", context_chart(SHARES)),
        Chart("by-position", "Loss by tokens read", context_chart(LOSSES)),
    )
    html = render(
        "lookback.html",
        charts=charts,
        views=[_view_values(one, number < MAX_VIEWS) for number, one in enumerate(shown)],
    )
    datasets = {
        SHARES: pd.concat([_share_data(one) for one in shown]),
        LOSSES: pd.concat([_loss_data(one, analysis) for one in shown]),
    }
    return Section("lookback", "What predictions look at", html, charts, datasets)


def _view_values(shown: Shown, has_texts: bool) -> dict[str, Any]:
    """Return what the template needs of one view."""
    choices = shown.view.choices
    return {
        "title": f"{choices['source']}, {choices['size']}",
        "tables": [*_tables(shown)],
        "passages": [*_passages(shown)] if has_texts else [],
        "heads": [*_heads(shown)] if has_texts else [],
        "notes": [*_notes(shown), *([] if has_texts else [WITHOUT_TEXTS])],
    }


# --- charts --------------------------------------------------------------------------------------


def _share_data(shown: Shown) -> pd.DataFrame:
    table = shown.lookback.curves.join(shown.rows[STYLE_COLUMNS], on="row", how="inner")
    texts = [
        f"{format_percent(share)} ± {format_percent(error)} within {plural(tokens, 'token')}"
        for share, error, tokens in zip(
            table["share"], table["error"], table["tokens"], strict=True
        )
    ]
    return table.assign(value=table["share"], text=texts)[
        [*STYLE_COLUMNS, "tokens", "value", "text"]
    ]


def _loss_data(shown: Shown, analysis: Analysis) -> pd.DataFrame:
    rows = shown.rows
    means = curve_means(rows, analysis.records, analysis.variants, "position_nats", "position")
    table = means[["row", "x", "y"]].join(rows[STYLE_COLUMNS], on="row")
    texts = [
        f"{format_fixed(y)} after at most {plural(int(x), 'token')}"
        for x, y in zip(table["x"], table["y"], strict=True)
    ]
    table = table.assign(tokens=table["x"], value=table["y"], text=texts)
    return table[[*STYLE_COLUMNS, "tokens", "value", "text"]]


# --- tables --------------------------------------------------------------------------------------


def _tables(shown: Shown) -> Iterator[Table]:
    lookback, rows = shown.lookback, shown.rows
    columns = [
        name_column(_name_cell),
        Column(
            "last token",
            "share of saliency on the token before the predicted one",
            lambda row: value_cell(lookback.within(row.Index, 1), format_percent),
        ),
        Column(
            f"last {NEAR}",
            f"share of saliency on the last {NEAR} tokens",
            lambda row: value_cell(lookback.within(row.Index, NEAR), format_percent),
        ),
        Column(
            "half within",
            "tokens that hold half of the saliency",
            lambda row: value_cell(lookback.half(row.Index), _tokens),
        ),
        Column(
            "predictions",
            "held-out predictions explained, per seed",
            lambda row: value_cell(lookback.predictions[row.Index], str),
        ),
    ]
    yield build_table(f"{shown.view.name}-lookback", columns, rows.itertuples())
    heads = lookback.heads.join(rows["label"], on="row", how="inner")
    if len(heads):
        yield _head_table(shown, heads)


def _name_cell(row: Any) -> Cell:
    return replace(text_cell(row.label), key=row.key, swatch=swatch_class(row.light))


def _tokens(amount: float) -> str:
    return f"{format_number(amount, 2)} tokens"


def _head_table(shown: Shown, heads: pd.DataFrame) -> Table:
    """Return where each attention head looks."""
    ends = {"last": "last token", "near": f"last {NEAR}", "first": "first token"}
    columns = [
        Column("architecture", "one row per head", lambda row: text_cell(row.label)),
        Column("layer", "of attention, from the input", lambda row: value_cell(row.layer + 1, str)),
        Column("head", "within its layer", lambda row: value_cell(row.head + 1, str)),
        *(
            Column(title, f"attention on the {title}", _share_column(name))
            for name, title in ends.items()
        ),
    ]
    caption = "Attention of the prediction, a mean over the passages"
    return build_table(
        f"{shown.view.name}-heads",
        columns,
        heads.itertuples(),
        folded="Attention heads",
        caption=caption,
    )


def _share_column(name: str) -> Any:
    return lambda row: value_cell(getattr(row, name), format_percent)


def _passages(shown: Shown) -> Iterator[dict[str, Any]]:
    """Yield each passage as every row reads it."""
    own, labels = shown.lookback.passages, shown.labels
    for number in range(max((len(own[row]) for row in labels), default=0)):
        texts = {row: own[row][number] for row in labels if number < len(own[row])}
        offset = next(iter(texts.values()))["offset"]
        articles = [article(labels[row], passage) for row, passage in texts.items()]
        yield {"title": f"Held-out passage at token {offset:,}", "articles": articles}


def _heads(shown: Shown) -> Iterator[dict[str, Any]]:
    """Yield the first passage as each head of some rows with attention reads it."""
    firsts = {row: shown.lookback.passages[row][0] for row in shown.labels}
    attending = [row for row, passage in firsts.items() if passage["attention"]]
    for row in attending[:MAX_HEAD_ROWS]:
        articles = [head_article(firsts[row], head) for head in firsts[row]["attention"]]
        title = f"Attention of {shown.labels[row]} on the first passage, by head"
        yield {"title": title, "articles": articles}


def _notes(shown: Shown) -> Iterator[str]:
    """Yield what is not shown, and why."""
    rows = shown.rows
    if len(rows) > MAX_TEXTS:
        yield f"Passages are shown of the best {MAX_TEXTS} of {len(rows)} rows."
    names = shown.view.rows["label"]
    for row, reason in shown.lookback.unexplained.items():
        yield f"{names[row]} is left out: {reason}."
