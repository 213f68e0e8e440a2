"""The scripts of benchmarks/ run, at a tiny setting, and print their table."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"
PAIRS = {
    "steps.py --no-compile": [
        "bench again / bench",
        "bench / hugging face",
        "bench / hugging face fused",
    ],
    "harness.py": ["bare again / bare", "harness / bare"],
    "decoding.py": ["greedy: bench / hugging face", "sampled: bench / hugging face"],
    "mixers.py --arch mingru --parameters 50000": [
        "transformer again / transformer",
        "mingru / transformer",
    ],
    "flatness.py --arch mingru gpt --parameters 50000": ["mingru: 512 / 128", "mingru: 8192 / 128"],
    "utilisation.py --arch gpt --parameters 50000 --context 32": ["gpt: step / product"],
}


@pytest.mark.slow
@pytest.mark.parametrize("words", PAIRS)
def test_a_comparison_runs_and_prints_a_ratio_for_each_pair(words: str) -> None:
    script, *options = words.split()
    command = [sys.executable, str(FOLDER / script), *options, "--rounds", "2", "--seconds", "0.01"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    rows = {
        line.split("  ")[0]: line.removeprefix(line.split("  ")[0]).split()
        for line in done.stdout.splitlines()[2:]
    }
    assert set(PAIRS[words]) <= set(rows)
    for pair in PAIRS[words]:
        first, second, ratio = (float(cell.replace(",", "")) for cell in rows[pair][:3])
        assert ratio == pytest.approx(
            first / second, rel=0.5
        )  # the median of ratios, and the ratio of medians
        assert rows[pair][-1] == "2"


def test_a_wrong_checkout_is_said_in_one_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(FOLDER / "steps.py"),
        "--nanogpt",
        str(tmp_path),
        "--inside",
        "nanogpt",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 1
    assert "there is no model.py" in done.stderr
    assert "Traceback" not in done.stderr
