"""The report of known floors, from records: tables, small multiples, sentences."""

from pathlib import Path

import pandas as pd
import pytest

from bench import reporting
from bench.analysis import aggregate
from bench.analysis.build import build
from bench.analysis.comparisons import Comparison
from bench.records.metrics import Metric
from bench.records.tables import read_records
from bench.reporting import panel_data
from bench.reporting.sections import regrets
from bench.reporting.views import build_views
from tests.fake_records import make_run, quality, write_run

SOURCES = ("markov", "recall", "parity")
CAN = {"lstm": 0.02, "gru": 0.03, "convolution": 0.4, "decoder": 0.1, "pairs": 0.7}


def floor(regret: float, oracle: float, state: float, error: float = 0.002) -> list[Metric]:
    """The metrics of a finished run on a known law: certain where the oracle pays nothing."""
    right = (0.99 - regret) if oracle == 0 else 0.4
    values = {
        "regret": regret, "regret_standard_error": error, "nats_per_token": oracle + regret, "oracle_nats_per_token": oracle,
        "accuracy": right, "oracle_accuracy": 1.0 if oracle == 0 else 0.45, "state_bytes": state,
    }  # fmt: skip
    shape = [metric for metric in quality("encoder", 1.0, None) if "pseudo" not in metric.name]  # type: ignore[arg-type]
    return shape + [Metric(name, "", "neither", (value,)) for name, value in values.items()]


def write_floors(root: Path, seeds: int = 1) -> None:
    for number, source in enumerate(SOURCES):
        named = {"data": source, "data_digest": source, "tokenizer": "symbols"}
        for place, (arch, regret) in enumerate(CAN.items()):
            for seed in range(seeds):
                state = 0.0 if arch == "pairs" else 200.0 * 3**place
                metrics = floor(regret * (1 + 0.2 * seed), 1.5 if number == 0 else 0.0, state)
                write_run(root, arch, seed, metrics=metrics, **named)
        write_run(root, "encoder", 0, **named)


@pytest.fixture
def parts(tmp_path: Path) -> list[Comparison]:
    write_floors(tmp_path)
    return build(read_records(tmp_path)).comparisons


def test_each_source_has_its_table_with_the_least_regret_first(parts: list[Comparison]) -> None:
    assert sorted(part.rows["data"].iloc[0] for part in parts) == sorted(SOURCES)
    for part in parts:
        (rows,) = part.regrets
        assert list(rows["label"]) == sorted(CAN, key=lambda arch: CAN[arch])
        assert not part.likelihoods
        assert len(part.pseudo) == 1
        table = regrets.regret_table("t", rows, pd.DataFrame())
        assert [cell.text for cell in table.rows[0][:3]][:2] == ["lstm", "0.020"]
        assert table.rows[0][1].small == "± 0.002"


def test_who_can_do_what_in_one_table(parts: list[Comparison]) -> None:
    table = regrets.regret_overview(parts)
    assert table is not None
    assert set(table.titles[1:]) == set(SOURCES)
    assert [row[0].text for row in table.rows] == ["lstm", "gru", "decoder", "convolution", "pairs"]
    certain = table.titles.index("recall")
    assert table.rows[0][certain].small == "accuracy 97.0 %"
    assert regrets.regret_overview(parts[:1]) is None


def test_a_panel_for_each_source(tmp_path: Path) -> None:
    write_floors(tmp_path)
    analysis = build(read_records(tmp_path))
    views = build_views(analysis)
    table = panel_data.regret_data(views, analysis.comparisons)
    assert set(table["panel"]) == set(SOURCES)
    points = table[table["panel"] == "markov"].set_index("base")
    assert dict(points["point"]) == {arch: CAN[arch] for arch in CAN if arch != "pairs"}
    assert points.loc["gru", "x"] == 600
    assert table["y"].isna().all()  # points without a line
    assert "pairs" in panel_data.undrawn_regrets(views)


def test_the_error_over_seeds_joins_the_one_over_windows(tmp_path: Path) -> None:
    write_floors(tmp_path, seeds=2)
    summary = aggregate.aggregate_variants(read_records(tmp_path), []).summary.set_index(
        ["data", "arch"]
    )
    row = summary.loc[("markov", "lstm")]
    assert row["regret"] == pytest.approx(0.022)
    assert row["regret_standard_error"] == pytest.approx(
        (0.002**2 + 0.002**2) ** 0.5
    )  # seeds: 0.020 and 0.024


def test_the_page_and_the_terminal(tmp_path: Path) -> None:
    write_floors(tmp_path)
    page, text = reporting.make_report(tmp_path)
    html = page.read_text()
    assert 'data-chart="regrets"' in html
    assert "<h2>Synthetic tasks</h2>" in html
    assert "Nearest: lstm, 0.020 ± 0.002 above; furthest: pairs, 0.700" in html
    assert "bits per byte" not in html.partition("<form")[0].partition("<h1>")[2]
    assert text.count("\nlstm") == 1
    assert "regret" in (tmp_path / "report" / "summary.csv").read_text().splitlines()[0]


def test_the_records_of_texts_have_none_of_it(tmp_path: Path) -> None:
    write_run(tmp_path, "lstm", 0)
    page, _ = reporting.make_report(tmp_path)
    assert "Synthetic tasks" not in page.read_text()
    assert make_run(tmp_path, "lstm").data.synthetic.kind == "none"
