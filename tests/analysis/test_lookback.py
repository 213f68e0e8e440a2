"""How far back predictions look: numbers from known shares, and what the page shows of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.build import build
from bench.analysis.lookback import Lookback, build_lookback
from bench.records.tables import read_records
from bench.reporting.sections.lookback import lookback_section
from bench.reporting.views import build_views
from tests import fake_records

FLAT = [[1 / 8, 1 / 8, 2 / 8, 4 / 8]] * 6  # all 8 tokens alike
LAST = [[1.0, 0.0, 0.0, 0.0]] * 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results") / "suite"
    contents: dict[str, Any] = {
        "lstm": {"shares": LAST},
        "decoder": {"shares": FLAT, "heads": 2},
        "gru": {"shares": [], "reason": "no gradient here"},
    }
    for arch, content in contents.items():
        for seed in range(2):
            fake_records.write_saliency(fake_records.write_run(root, arch, seed), **content)
    fake_records.write_run(root, "encoder", 0)
    return root


@pytest.fixture(scope="module")
def lookback(root: Path) -> Lookback:
    records = read_records(root)
    analysis = build(records)
    (table,) = analysis.comparisons[0].likelihoods
    result = build_lookback(table, records, analysis.variants)
    assert result is not None
    return result


def row_of(root: Path, arch: str) -> int:
    runs = build(read_records(root)).variants.runs
    return int(runs.loc[runs["arch"] == arch, "row"].iloc[0])


def test_shares_within_a_distance_are_sums(root: Path, lookback: Lookback) -> None:
    flat = row_of(root, "decoder")
    assert [lookback.within(flat, n) for n in (1, 2, 4, 8)] == pytest.approx(
        [1 / 8, 1 / 4, 1 / 2, 1]
    )
    assert np.isnan(lookback.within(flat, 16))
    assert lookback.half(flat) == pytest.approx(4)
    assert lookback.within(row_of(root, "lstm"), 1) == 1
    assert lookback.predictions[flat] == 6


def test_heads_say_where_they_look(root: Path, lookback: Lookback) -> None:
    assert len(lookback.heads) == 2
    head = lookback.heads.iloc[0]
    assert (head["row"], head["last"], head["near"], head["first"]) == pytest.approx(
        (row_of(root, "decoder"), 0.05, 1.0, 0.5)
    )


def test_a_row_without_numbers_is_named_with_its_reason(root: Path, lookback: Lookback) -> None:
    assert dict(lookback.unexplained) == {row_of(root, "gru"): "no gradient here"}


def test_the_section_escapes_text_and_names_what_it_leaves_out(root: Path) -> None:
    analysis = build(read_records(root))
    section = lookback_section(analysis, build_views(analysis))
    assert section is not None
    assert "<script>" not in section.html
    assert "&lt;script&gt;" in section.html
    assert "gru is left out: no gradient here." in section.html
    assert section.html.count("<article") == 2 + 2  # passages, heads
    shares = section.datasets["lookback"]
    assert set(shares["key"]) == {f"r{row_of(root, arch)}" for arch in ("lstm", "decoder")}
    assert shares["value"].between(0, 1).all()


def test_without_records_there_is_no_section(tmp_path: Path) -> None:
    fake_records.write_run(tmp_path / "suite", "lstm", 0)
    analysis = build(read_records(tmp_path / "suite"))
    assert lookback_section(analysis, build_views(analysis)) is None
