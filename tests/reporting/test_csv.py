"""CSV files as an interface: keys in every file, numbers that can be computed again, odd texts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from syrupy.assertion import SnapshotAssertion

from bench import reporting, stats
from bench.config.errors import UserError
from bench.records.metrics import Metric
from bench.reporting.csv_export import FILES, NAME_COLUMNS
from bench.reporting.csv_safety import parse_safe, quote_formulas
from bench.reporting.markdown import escape
from tests import fake_records

WITHOUT_ROWS = {
    "columns.csv", "laws.csv", "preferences.csv", "preference_verdicts.csv", "tasks.csv",
    "task_verdicts.csv",
}  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a suite with everything measured and reference lines."""
    root = tmp_path_factory.mktemp("results") / "suite"
    for arch in ("lstm", "gru", "decoder"):
        for seed in range(3):
            folder = fake_records.write_run(root, arch, seed)
            fake_records.write_saliency(folder, [[0.5, 0.25, 0.125, 0.125]] * 3)
    fake_records.write_run(root, "broken", 0, "failed", "=1+1")
    fake_records.write_deep(root, ("lstm", "gru", "decoder"))
    fake_records.write_references(root)
    reporting.make_report(root)
    return root / "report"


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


@pytest.mark.parametrize("name", sorted(set(FILES) - WITHOUT_ROWS - {"scaling.csv"}))
def test_every_file_has_the_key_of_its_rows_and_no_empty_column(report: Path, name: str) -> None:
    table, summary = read(report / name), read(report / "summary.csv")
    assert set(NAME_COLUMNS) <= set(table)
    assert not table.isna().all().any()
    keys = set(table["row"].dropna())
    assert keys
    assert name == "references.csv" or keys <= set(summary["row"])


def test_points_on_an_axis_are_numbers(report: Path) -> None:
    speeds = read(report / "speeds.csv")
    along = speeds[speeds["at"].notna()]
    for column in ("length", "batch"):
        own = along[along[column].notna()]
        assert (own["at"] == [f"{column}={value:g}" for value in own[column]]).all()
        assert len(own)
    assert along[["length", "batch"]].notna().any(axis=1).all()


def test_p_values_can_be_computed_again_from_the_files(report: Path) -> None:
    documents, runs = read(report / "documents.parquet"), read(report / "runs.csv")
    verdicts = read(report / "verdicts.csv")
    scores = runs[runs["metric"] == "bits_per_byte"]
    rows = sorted(set(scores["row"]))
    seeds = [scores.loc[scores["row"] == row, "value"].to_numpy() for row in rows]
    means = documents.groupby(["row", "document"])["nats"].mean().unstack("document")
    sizes = documents.groupby("document")["bytes"].first().to_numpy(dtype=float)
    again = stats.pairwise_tests(seeds, means.loc[rows].to_numpy(), sizes)
    pairs = {(rows[one.first], rows[one.second]): one for one in again.itertuples()}
    assert len(verdicts) == 3
    for line in verdicts.itertuples():
        pair = pairs[line.row, line.other_row]
        assert [line.p, line.p_holm] == pytest.approx([pair.p, pair.adjusted], rel=1e-9)


def test_columns_csv_explains_every_column(report: Path) -> None:
    columns = read(report / "columns.csv")
    assert columns["help"].str.len().min() > 3
    explained = set(zip(columns["file"], columns["column"], strict=True))
    for name in FILES:
        assert {(name, column) for column in read(report / name)} <= explained


def test_text_that_a_spreadsheet_would_compute_is_quoted_on_request(report: Path) -> None:
    assert "=1+1" in set(read(report / "runs.csv")["reason"])
    reporting.make_report(report.parent, safe_csv=True)
    assert "'=1+1" in set(read(report / "runs.csv")["reason"])
    table = pd.DataFrame({"a": ["=x", "+1", "-", "@y", "x=1", ""], "b": [-1.0] * 6})
    safe = quote_formulas(table)
    assert list(safe["a"]) == ["'=x", "'+1", "'-", "'@y", "x=1", ""]
    assert list(safe["b"]) == [-1.0] * 6
    assert [parse_safe([]), parse_safe(["csv.safe=true"])] == [False, True]
    with pytest.raises(UserError, match="neither true nor false"):
        parse_safe(["csv.safe=yes"])


def test_report_md_is_the_answer_and_the_table(report: Path, snapshot: SnapshotAssertion) -> None:
    assert (report / "report.md").read_text(encoding="utf-8") == snapshot


# --- odd records ----------------------------------------------------------------------------------

NAMES = ["<script>alert(1)</script>", 'a "quote" | bar', "=cmd()", "🦙 llama", "long" * 50]


def test_hostile_names_reach_every_file_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for number, name in enumerate(NAMES):
        folder = root / "runs" / f"run-{number}"
        fake_records.write_run(root, name, 0, folder=folder)
    reporting.make_report(root)
    assert set(read(root / "report" / "summary.csv")["arch"]) == set(NAMES)
    text = (root / "report" / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert all(escape(name) in text for name in NAMES)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "bits" not in line]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_values_that_are_not_finite_are_counted_and_shown(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    documents = fake_records.make_documents(1.2, 0)
    for arch, value in (("lstm", np.nan), ("gru", np.inf)):
        metrics = [
            Metric("bits_per_byte", "bits/byte", "lower", (value,)),
            Metric("parameters", "parameters", "lower", (1e5,)),
        ]
        fake_records.write_run(root, arch, 0, metrics=metrics, documents=documents)
    fake_records.write_run(root, "decoder", 0, documents=documents)
    speeds = [Metric("train_tokens_per_second", "tokens/s", "higher", (np.inf, 5.0, np.nan))]
    fake_records.write_measure(root, "decoder", metrics=speeds)
    page, text = reporting.make_report(root)
    assert text.count("which is not finite") == 2
    assert "Without a result: 2 runs." in (page.parent / "report.md").read_text()
    runs = read(page.parent / "runs.csv")
    assert set(runs["status"].dropna()) == {"done", "unreadable"}


def test_rates_of_zero_and_suites_of_controls_alone_have_a_report(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for arch in ("lstm", "gru"):
        fake_records.write_run(root, arch, 0, family="control")
        for twin in (False, True):
            rate = Metric("train_tokens_per_second", "tokens/s", "higher", (0.0, 0.0))
            if arch == "gru" or not twin:
                fake_records.write_measure(root, arch, twin=twin, metrics=[rate])
    page, text = reporting.make_report(root)
    assert "Best quality" not in text
    assert "Fastest" not in (page.parent / "report.md").read_text()
    assert (read(page.parent / "runs.csv")["value"] == 0).sum() == 6


def test_a_finished_run_without_a_metric_of_the_others_has_an_empty_cell(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    documents = fake_records.make_documents(1.2, 0)
    bits = [Metric("bits_per_byte", "bits/byte", "lower", (1.9,))]
    fake_records.write_run(root, "lstm", 0, metrics=bits, documents=documents)
    fake_records.write_run(root, "gru", 0, documents=documents)
    page, _ = reporting.make_report(root)
    summary = read(page.parent / "summary.csv").set_index("arch")
    assert np.isnan(summary.loc["lstm", "parameters"])
    assert "| lstm | 1.900" in (page.parent / "report.md").read_text().replace("*", "")
