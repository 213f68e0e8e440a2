"""Cost to reach a target: read off evaluations, by their bytes; a missed target has no value."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import reporting
from bench.analysis import time_to_target
from bench.analysis.build import build
from bench.analysis.time_to_target import Target
from bench.config.errors import UserError
from bench.records import store
from bench.records import tables as reading
from bench.reporting.sections.protocols import target_table
from tests import fake_records

BYTES = 0.8  # a target
LOOKS = 10


def write(
    root: Path, arch: str, seed: int, ends: float, flops: float = 1000.0, known: bool = True
) -> None:
    """A run whose validation curve falls evenly from 3 to `ends` bits per byte in ten points."""
    folder = fake_records.write_run(root, arch, seed)
    lines = []
    for look in range(1, LOOKS + 1):
        bits = 3 + (ends - 3) * look / LOOKS
        lines.append(
            {
                "step": look,
                "tokens": 1000 * look,
                "nats": 1.0,
                "validation_nats": bits * BYTES * math.log(2),
            }
        )
    (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    fake_records.seal(folder)
    result = store.read_json(folder / "result.json")
    assert result is not None
    more = {"flops_per_token": flops} | ({"validation_bytes_per_token": BYTES} if known else {})
    result["metrics"] = [one for one in result["metrics"] if one["name"] not in more] + [
        {
            "name": n,
            "unit": "",
            "better": "neither",
            "values": [v],
            "note": "",
            "at": {},
            "rounds": [],
        }
        for n, v in more.items()
    ]
    store.write_json(folder / "result.json", result)


def found(root: Path, given: float | None = None) -> Target:
    records = reading.read_records(root)
    (part,) = build(records, given).comparisons
    (target,) = part.targets
    assert target is not None
    return target


def test_tokens_flops_and_seconds_at_the_first_look_that_reached_it(tmp_path: Path) -> None:
    write(tmp_path, "lstm", 0, ends=2.0)
    write(tmp_path, "gru", 0, ends=2.5)
    fake_records.write_measure(tmp_path, "lstm")
    target = found(tmp_path, 2.75)
    rows = target.rows.set_index("label")
    assert target.unit == "bits per byte"
    assert not target.average
    assert list(rows["tokens_to_target"]) == [
        3000,
        5000,
    ]  # 2.7 at the third look; 2.75 at the fifth
    assert list(rows["flops_to_target"]) == [3 * 1000 * 3000, 3 * 1000 * 5000]
    assert rows.loc["lstm", "seconds_to_target"] == pytest.approx(3000 / 31_000, rel=0.01)
    assert math.isnan(rows.loc["gru", "seconds_to_target"])  # no rate was measured for it


def test_a_miss_is_a_miss_and_the_median_over_seeds_decides(tmp_path: Path) -> None:
    for seed, ends in enumerate((2.0, 2.0, 2.9)):
        write(tmp_path, "lstm", seed, ends)
    for seed, ends in enumerate((2.0, 2.9, 2.9)):
        write(tmp_path, "gru", seed, ends)
    for seed, ends in enumerate(
        (2.0, 2.9)
    ):  # of two seeds one: the middle of a number and a miss is a miss
        write(tmp_path, "decoder", seed, ends)
    rows = found(tmp_path, 2.5).rows.set_index("label")
    assert rows["tokens_to_target"].to_dict() == {
        "lstm": 5000,
        "gru": math.inf,
        "decoder": math.inf,
    }
    assert rows["target_reached"].to_dict() == {"lstm": 2, "gru": 1, "decoder": 1}
    text = target_table("t", found(tmp_path, 2.5))
    said = {row[0].text: (row[1].text, row[2].text) for row in text.rows}
    assert said == {
        "lstm": ("2 of 3", "5.00 k"),
        "gru": ("1 of 3", "missed"),
        "decoder": ("1 of 2", "missed"),
    }


def test_a_seed_that_diverged_has_missed(tmp_path: Path) -> None:
    write(tmp_path, "lstm", 0, 2.0)
    fake_records.write_run(
        tmp_path, "lstm", 1, "failed", "diverged at step 340: the loss is not finite"
    )
    fake_records.write_run(
        tmp_path, "lstm", 2, "failed", "diverged at step 20: the loss is not finite"
    )
    rows = found(tmp_path, 2.5).rows.set_index("label")
    assert rows.loc["lstm", "seeds"] == 3
    assert rows.loc["lstm", "tokens_to_target"] == math.inf


def test_without_one_the_target_is_the_best_that_two_rows_reach(tmp_path: Path) -> None:
    for arch, ends in (("lstm", 2.0), ("gru", 2.223), ("decoder", 2.6)):
        write(tmp_path, arch, 0, ends)
    target = found(tmp_path)
    assert target.level == pytest.approx(2.23)
    assert not target.given
    assert np.isfinite(target.rows["tokens_to_target"]).sum() == 2


def test_older_records_go_by_the_average_and_those_without_bytes_by_nats(tmp_path: Path) -> None:
    for arch in ("lstm", "gru"):
        write(tmp_path, arch, 0, 2.0, known=False)
    target = found(tmp_path)
    assert target.unit == "nats per token"
    assert target.level == pytest.approx(math.ceil(100 * 2 * BYTES * math.log(2)) / 100)
    for path in tmp_path.glob("runs/*/provenance.json"):
        provenance = store.read_json(path)
        assert provenance is not None
        provenance["data"] |= {"bytes": {"validation": 90}, "tokens": {"validation": 100}}
        store.write_json(path, provenance)
    target = found(tmp_path)
    assert (target.unit, target.average) == ("bits per byte", True)
    assert target.level == pytest.approx(math.ceil(100 * 2 * BYTES / 0.9) / 100)
    assert any("mean bytes per token" in note for note in target_table("t", target).notes)


def test_an_unreachable_target_is_missed_by_all_on_page_and_in_csv(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for arch, ends in (("lstm", 2.0), ("gru", 2.5)):
        write(root, arch, 0, ends)
    command = [sys.executable, "-m", "bench.report", str(root), "target=0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    page = (root / "report" / "index.html").read_text()
    assert page.count(">missed</td>") == 4
    assert "Target: 0.500 bits per byte, as given." in page
    table = pd.read_csv(root / "report" / "summary.csv")
    assert np.isinf(table["tokens_to_target"]).all()
    assert (table["target_reached"] == 0).all()


@pytest.mark.parametrize(
    "word", ["target=", "target=-1", "target=nan", "target=inf", "goal=2.2", "2.2"]
)
def test_a_wrong_word_is_one_line(word: str) -> None:
    with pytest.raises(UserError, match=r"target=2\.2"):
        time_to_target.parse_target([word])
    assert time_to_target.parse_target(["target=2.2"]) == 2.2
    assert time_to_target.parse_target([]) is None


def test_no_look_gives_no_table(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    write(root, "lstm", 0, 2.0)
    for path in root.glob("runs/*/curve.jsonl"):
        path.write_text('{"step": 1, "tokens": 10, "nats": 2.0}\n')
        fake_records.seal(path.parent)
    assert "What it takes to reach a target" not in reporting.make_report(root)[0].read_text()
