"""A metric that is registered from outside appears everywhere; every CSV column is explained."""

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import reporting
from bench.records import metrics
from bench.records.metrics import metric
from bench.reporting.csv_export import FILES, csv_rows
from tests import fake_records


@pytest.fixture
def registered() -> Iterator[None]:
    metrics.register("heat", "J", "lower", "memory", "heat of a step", "Heat of one step.")
    metrics.register("surprise", "nats/token", "lower", "likelihood", "surprise", "Worst token.")
    yield
    metrics.REGISTRY.pop("heat")
    metrics.REGISTRY.pop("surprise")


def table(page: str, end: str) -> str:
    start = page.index(f'id="{end}')
    return page[start : page.index("</table>", start)]


@pytest.mark.usefixtures("registered")
def test_a_metric_from_outside_reaches_csv_table_tooltip_and_docs(tmp_path: Path) -> None:
    for arch in ("lstm", "gru"):
        documents = fake_records.make_documents(1.3, 0)
        found = [*fake_records.quality(arch, 1.3, documents), metric("surprise", 11.5)]
        fake_records.write_run(tmp_path, arch, 0, metrics=found, documents=documents)
        measured = [*fake_records.speeds(arch, 5, 0), metric("heat", 0.25)]
        fake_records.write_measure(tmp_path, arch, metrics=measured)
    page = unescape(reporting.make_report(tmp_path)[0].read_text(encoding="utf-8"))
    runs = pd.read_csv(tmp_path / "report" / "runs.csv")
    assert list(runs.loc[runs["metric"] == "surprise", "value"]) == [11.5, 11.5]
    assert list(runs.loc[runs["metric"] == "heat", "value"]) == [0.25, 0.25]
    likelihoods = table(page, "comparison-1-bits_per_byte-0-table")
    assert 'title="Worst token.">surprise<' in likelihoods
    assert 'data-value="11.5" class="g-quality">11.500' in likelihoods
    tables = [part.partition("</table>")[0] for part in page.split("<table")[1:]]
    beside, memory = [part for part in tables if "heat of a step" in part]
    assert 'data-value="0.25">250 mJ' in beside.replace(' class="g-parts"', "")
    assert 'title="Heat of one step.">heat of a step<' in memory
    assert 'data-value="0.25">250 mJ' in memory
    assert {"heat", "surprise"} <= {row[0] for row in metrics.metric_rows()}


def test_every_column_of_every_csv_file_is_explained_in_order(tmp_path: Path) -> None:
    fake_records.write_deep(tmp_path, ("lstm", "decoder"))
    fake_records.write_run(tmp_path, "lstm", 0)
    reporting.make_report(tmp_path)
    assert all(row.help for row in csv_rows())
    for path in (tmp_path / "report").glob("*.csv"):
        names = [row.column for row in csv_rows() if row.file == path.name]
        table = pd.read_csv(path)
        assert list(table.columns) == [name for name in names if name in table]
        assert not table.isna().all().any() or table.empty
    assert {row.file for row in csv_rows()} == {
        path.name for path in (tmp_path / "report").iterdir() if path.suffix in (".csv", ".parquet")
    }
    assert np.unique([row.file for row in csv_rows()]).size == len(FILES)
