"""The page's section on preferences, and its CSV files."""

import json
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import reporting
from bench.records import store
from tests import fake_records
from tests.fake_preferences import KL, gold_at, write_stage


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("learned")
    for seed in (0, 1, 2):
        for arch, slope in (("lstm", 0.10), ("gru", 0.16)):
            write_stage(root, arch, seed, 0.4, slope + 0.002 * seed)
            fake_records.write_run(root, arch, seed)
        write_stage(root, "lstm", 100 + seed, 0.4, 0.1)
    failed = write_stage(root, "decoder")
    result = store.read_json(failed / "result.json")
    result["facts"]["parts"][1] |= {"status": "failed", "reason": "diverged at update 3"}
    store.write_json(failed / "result.json", result)
    reporting.make_report(root)
    return root / "report"


def test_every_number_is_in_the_csv_file(suite: Path) -> None:
    table = pd.read_csv(suite / "preferences.csv")
    row = table.query(
        "arch == 'gru' and seed == 1 and method == 'rloo' and beta == 0.3 and update == 60 "
        "and metric == 'gold_reward'"
    ).iloc[0]
    assert row["value"] == pytest.approx(gold_at(KL[0.3], 0.4, 0.162), abs=1e-6)
    assert row["samples"] == 16
    assert row["standard_error"] > 0


def test_verdicts_are_in_the_csv_file_and_on_the_page(suite: Path) -> None:
    table = pd.read_csv(suite / "preference_verdicts.csv")
    row = table.query("kl == 2 and measure == 'gain' and better == 'gru' and other == 'lstm'").iloc[
        0
    ]
    page = unescape((suite / "index.html").read_text(encoding="utf-8"))
    assert row["claimed"]
    assert row["sentence"] in page
    assert page.count("diverged at update 3") == 1
    assert "gru, best of n: gain = d(α − β·d) with d = √KL, α = 0.243, β = 0.030, R² = 1.00" in page


def test_the_chart_has_the_start_and_every_setting_of_every_method(suite: Path) -> None:
    page = (suite / "index.html").read_text(encoding="utf-8")
    start = page.index('"preferences-1-frontier"')
    assert "preferences-1-chart" in page
    data = json.loads(page[page.index("{", start) :].split("}", 1)[0] + "}")
    rows = pd.DataFrame({name: pd.Series(column) for name, column in data.items()})
    assert set(rows["base"]) == {"decoder", "gru", "lstm"}  # what the page's filter acts on
    own = rows[rows["label"] == "gru"]
    assert set(own["setting"]) == {"start", "β=0.1", "β=0.3", "n=1", "n=4", "n=16"}
    far = own[(own["method"] == "RLOO") & (own["setting"] == "β=0.1")].iloc[0]
    assert far["root"] == pytest.approx(np.sqrt(KL[0.1]))
    assert far["end"] == "gru"
