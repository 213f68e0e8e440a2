"""The section of what predictions look at: how far back, and passages shaded by saliency."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.build import Analysis
from bench.analysis.formatting import format_fixed, format_number, format_percent, plural
from bench.analysis.lookback import NEAR, Lookback, build_lookback
from bench.analysis.protocols import curve_means
from bench.reporting import html_table as ht
from bench.reporting.charts.folded import LOSSES, SHARES, context_chart
from bench.reporting.listed import listed_columns
from bench.reporting.palette import swatch_class
from bench.reporting.section import Chart, RowText, Section, render
from bench.reporting.views import View

MAX_VIEWS = 3  # whose passages are shown
MAX_TEXTS = 8  # rows whose passages are shown
MAX_HEAD_ROWS = 3  # rows whose attention heads are shown as text
PIECES = 128  # of a passage
HEAD_PIECES = 64  # of a passage as one attention head reads it
SHADES = 6
WITHOUT_TEXTS = f"Passages are shown of the first {MAX_VIEWS} tables; saliency.json has the others."


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
        return dict(zip(map(int, rows.index), map(str, rows["label"]), strict=True))


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
    contents = [_view_values(one, number < MAX_VIEWS) for number, one in enumerate(shown)]
    html = render("lookback.html", charts=charts, views=contents)
    datasets = {
        SHARES: pd.concat(map(_share_data, shown)),
        LOSSES: pd.concat(map(partial(_loss_data, analysis), shown)),
    }
    return Section("lookback", "What predictions look at", html, charts, datasets)


def _view_values(shown: Shown, has_texts: bool) -> dict[str, Any]:
    choices = shown.view.choices
    return {
        "title": f"{choices['source']}, {choices['size']}",
        "tables": [*_tables(shown)],
        "passages": [*_passages(shown)] if has_texts else [],
        "heads": [*_heads(shown)] if has_texts else [],
        "notes": [*_notes(shown), *([] if has_texts else [WITHOUT_TEXTS])],
    }


def _share_data(shown: Shown) -> pd.DataFrame:
    table = shown.lookback.curves.join(shown.rows["key"], on="row", how="inner")
    lines: Any = table.itertuples()
    texts = [
        f"{format_percent(one.share)} ± {format_percent(one.error)} within "
        f"{plural(one.tokens, 'token')}"
        for one in lines
    ]
    return table.assign(value=table["share"], text=texts)[["key", "tokens", "value", "text"]]


def _loss_data(analysis: Analysis, shown: Shown) -> pd.DataFrame:
    records, variants = analysis.records, analysis.variants
    table = curve_means(shown.rows, records, variants, "position_nats", "position")
    table = table.join(shown.rows["key"], on="row").rename(columns={"x": "tokens", "y": "value"})
    points = zip(table["tokens"], table["value"], strict=True)
    texts = [f"{format_fixed(y)} after at most {plural(int(x), 'token')}" for x, y in points]
    return table.assign(text=texts)[["key", "tokens", "value", "text"]]


def _tables(shown: Shown) -> Iterator[ht.Table]:
    """Yield how far back each row looks, and where each of its attention heads does."""
    name, about = shown.view.name, "share of saliency on the"
    columns = [
        ht.name_column(_name_cell),
        ht.number("last token", f"{about} token before the predicted one", "last", format_percent),
        ht.number(f"last {NEAR}", f"{about} last {NEAR} tokens", "near", format_percent),
        ht.number("half within", "tokens that hold half of the saliency", "half",
                  lambda amount: f"{format_number(amount, 2)} tokens"),
        ht.number("predictions", "held-out predictions explained, per seed", "predictions", str),
    ]  # fmt: skip
    yield ht.build_table(f"{name}-lookback", columns, _measured_rows(shown))
    heads = shown.lookback.heads.join(shown.rows["label"], on="row", how="inner")
    if len(heads):
        yield _head_table(f"{name}-heads", heads)


def _measured_rows(shown: Shown) -> pd.DataFrame:
    lookback, rows = shown.lookback, shown.rows
    return rows.assign(
        last=[lookback.within(row, 1) for row in rows.index],
        near=[lookback.within(row, NEAR) for row in rows.index],
        half=[lookback.half(row) for row in rows.index],
        predictions=[lookback.predictions[row] for row in rows.index],
    )


def _name_cell(row: Any) -> ht.Cell:
    return replace(ht.text_cell(row.label), key=row.key, swatch=swatch_class(row.light))


def _head_table(name: str, heads: pd.DataFrame) -> ht.Table:
    ends = {"last": "last token", "near": f"last {NEAR}", "first": "first token"}
    columns = [
        ht.name_column(help="one row per head"),
        *listed_columns("lookback-heads"),
        *(ht.number(title, f"attention on the {title}", end, format_percent)
          for end, title in ends.items()),
    ]  # fmt: skip
    heads = heads.assign(layer=heads["layer"] + 1, head=heads["head"] + 1)
    caption = "Attention of the prediction, a mean over the passages"
    return ht.build_table(name, columns, heads, folded="Attention heads", caption=caption)


def _passages(shown: Shown) -> Iterator[dict[str, Any]]:
    """Yield each passage as every row reads it, shaded by saliency."""
    own, labels = shown.lookback.passages, shown.labels
    for place in range(max((len(own[row]) for row in labels), default=0)):
        texts = {row: own[row][place] for row in labels if place < len(own[row])}
        offset = next(iter(texts.values()))["offset"]
        articles = [
            _article(one, labels[row], _note(one), one["shares"][-PIECES:])
            | {"rows": [labels[row]]}
            for row, one in texts.items()
        ]
        yield {"title": f"Held-out passage at token {offset:,}", "articles": articles}


def _note(passage: Mapping[str, Any]) -> str:
    chance = format_percent(passage["probability"])
    return f"“{passage['target']}” {chance}; most likely “{passage['prediction']}”"


def _heads(shown: Shown) -> Iterator[dict[str, Any]]:
    """Yield the end of the first passage as each head of some rows with attention reads it."""
    firsts = {row: shown.lookback.passages[row][0] for row in shown.labels}
    attending = [row for row, passage in firsts.items() if passage["attention"]]
    for row in attending[:MAX_HEAD_ROWS]:
        articles = [
            _article(firsts[row], f"layer {head['layer'] + 1}, head {head['head'] + 1}", "",
                     head["weights"][-HEAD_PIECES:]) | {"rows": []}
            for head in firsts[row]["attention"]
        ]  # fmt: skip
        title = f"Attention of {shown.labels[row]} on the first passage, by head"
        yield {"title": title, "articles": articles, "rows": [shown.labels[row]]}


def _article(
    passage: Mapping[str, Any], label: str, note: str, shares: Sequence[float]
) -> dict[str, Any]:
    """Return the end of a passage in pieces of one shade of 0 to SHADES, one share for each token.

    The shade is that of the square root of a share over the largest.
    """
    largest = max(shares, default=0.0) or 1.0
    shades = [round(SHADES * math.sqrt(max(share, 0.0) / largest)) for share in shares]
    tokens = passage["pieces"][len(passage["pieces"]) - len(shares) :]
    groups = groupby(zip(tokens, shades, strict=True), key=lambda pair: pair[1])
    pieces = [("".join(token for token, _ in own), shade) for shade, own in groups]
    return {"label": label, "note": note, "pieces": pieces, "target": passage["target"]}


def _notes(shown: Shown) -> Iterator[str]:
    rows, names = shown.rows, shown.view.rows["label"]
    if len(rows) > MAX_TEXTS:
        yield f"Passages are shown of the best {MAX_TEXTS} of {len(rows)} rows."
    for row, reason in shown.lookback.unexplained.items():
        yield RowText(f"{names[row]} is left out: {reason}.", [str(names[row])])
