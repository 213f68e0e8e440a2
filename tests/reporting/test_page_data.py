"""The data of the page: views, measures with intervals, curves and verdicts, each once and as JSON."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.analysis.build import Analysis, build
from bench.records.tables import read_records
from bench.reporting import page_data
from bench.reporting.header import page_title
from bench.reporting.main_table import main_table
from bench.reporting.page import render_page
from bench.reporting.page_data import MAX_POINTS, curve_data
from bench.reporting.views import View, build_views
from tests import fake_records


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    root = fake_records.write(tmp_path_factory.mktemp("results") / "suite", machines=1)
    fake_records.write_references(root)
    return build(read_records(root))


@pytest.fixture(scope="module")
def views(analysis: Analysis) -> list[View]:
    return build_views(analysis)


def test_a_view_ranks_by_one_metric_and_differs_in_a_choice(views: list[View]) -> None:
    assert [view.quality for view in views] == ["bits_per_byte", "pseudo_perplexity"]
    assert len(views[0].rows) == 6
    assert list(views[1].rows["label"]) == ["encoder"]
    assert views[0].choices["scoring"] != views[1].choices["scoring"]
    best = views[0].rows.set_index("key").loc[views[0].reference]
    assert best["bits_per_byte"] == views[0].rows["bits_per_byte"].min()


def test_measures_are_the_medians_inside_their_intervals(
    analysis: Analysis, views: list[View]
) -> None:
    table = page_data.measure_table(views, analysis.variants.means).set_index(["key", "metric"])
    (session,) = analysis.sessions
    for row in views[0].rows.itertuples():
        rate = table.loc[row.key, "train_tokens_per_second"]
        assert rate["value"] == session.value(row.subject, "train_tokens_per_second")
        assert rate["low"] <= rate["value"] <= rate["high"] < 1.01 * rate["low"]
        memory = table.loc[row.key, "training_memory_bytes"]
        assert memory["value"] == session.training_memory(row.subject)
        assert memory["text"].endswith(" MB")
        quality = table.loc[row.key, "bits_per_byte"]
        assert (quality["low"], quality["high"]) == (row.bits_per_byte_low, row.bits_per_byte_high)


def test_verdicts_name_their_rows_by_key(analysis: Analysis, views: list[View]) -> None:
    table = page_data.verdict_data(views)
    assert len(table) == 15
    labels = views[0].rows.set_index("key")["label"]
    pairs = analysis.comparisons[0].verdicts[0].pairs
    assert list(labels[table["key"]]) == list(pairs["label"])
    assert list(labels[table["other"]]) == list(pairs["other_label"])
    assert list(table["p"]) == list(pairs["adjusted"])


def test_curves_are_thinned_to_finite_points_with_the_last(
    analysis: Analysis, views: list[View]
) -> None:
    steps = np.arange(1, 1001)
    run = str(analysis.comparisons[0].runs["run"].iloc[0])
    curves = pd.DataFrame(
        {"run": run, "tokens": steps * 7, "nats": 1.0 / steps, "validation_nats": np.nan}
    )
    curves.loc[[10, 999], "nats"] = [math.inf, 0.5]
    data = curve_data(views, curves)
    assert data["lines"]["kind"] == ["train"]
    (grid,), (nats,) = data["grids"], data["lines"]["nats"]
    assert len(grid) == len(nats) <= MAX_POINTS
    assert (grid[-1], nats[-1]) == (7000, 0.5)
    assert 77 not in grid
    assert all(
        value == pytest.approx(7 / tokens, rel=1e-3)
        for tokens, value in zip(grid[:-1], nats[:-1], strict=True)
    )
    assert data["lines"]["key"][0] in set(views[0].rows["key"])


def test_json_ends_no_script_and_holds_no_number_that_json_lacks() -> None:
    table = pd.DataFrame(
        {"name": ["</script>", "\u2028"], "value": [math.nan, 1 / 3], "seed": [pd.NA, 2]}
    )
    text = page_data.as_json(page_data.encode_table(table))
    assert "<" not in text
    assert json.loads(text) == {
        "name": ["</script>", "\u2028"],
        "value": [None, 0.333333],
        "seed": [None, 2],
    }


def test_the_table_has_groups_verdicts_and_baselines(analysis: Analysis, views: list[View]) -> None:
    table = main_table(views[0], analysis.variants.means)
    by_metric = {column.metric: n for n, column in enumerate(table.columns)}
    assert {column.group for column in table.columns[1:]} == {
        "quality", "verdict", "speed", "memory", "parts", "recipe", "tuning",
    }  # fmt: skip
    verdicts = [row[by_metric["verdict"]] for row in table.rows[:6]]
    assert [cell.text for cell in verdicts] == [
        "the reference",
        "not distinguishable",
        *["worse"] * 4,
    ]
    assert all(cell.value > 0 for cell in verdicts[1:])  # a worse row has more bits per byte
    lines = analysis.comparisons[0].baselines[0].lines
    assert [row[0].text for row in table.rows[6:]] == [line.name for line in reversed(lines)]
    assert table.rows[6][by_metric["train_tokens_per_second"]].value is None


def test_the_title_says_what_was_compared(analysis: Analysis) -> None:
    assert (
        page_title(analysis)
        == "7 architectures on python_docs, 800 k parameters, 1.02 M tokens, 3 seeds"
    )


def test_what_was_only_measured_has_a_view_of_its_own(tmp_path: Path) -> None:
    for arch in ("lstm", "gru"):
        fake_records.write_measure(tmp_path, arch)
    analysis = build(read_records(tmp_path))
    (view,) = build_views(analysis)
    assert (view.quality, set(view.rows["label"])) == ("", {"lstm", "gru"})
    assert page_data.row_table([view], analysis)["flops"].isna().all()
    measures = page_data.measure_table([view], analysis.variants.means)
    assert (measures["metric"] == "train_tokens_per_second").sum() == 2
    assert page_title(analysis) == "2 measured architectures"
    page = render_page("suite", analysis)
    assert 'id="side-by-side"' in page
    assert 'id="curves"' not in page
