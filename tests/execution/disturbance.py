"""Start the real command in a folder of its own, disturb it, and compare what it left."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from tests.conftest import ROOT, write_words

LONG = 240  # seconds that nothing here may take
STEPS = 900
OVERRIDES = (
    f"data=text size=tiny measure=off arch=gru train.steps={STEPS} train.batch=4 train.log_every=7 "
    "train.validations=3 train.checkpoint_seconds=0.02 "
    "evaluate.sample_tokens=4000"  # what is written last gives time to disturb
)


class CommandFolder:
    """A folder with a text, in which the real command is started."""

    def __init__(self, folder: Path, words: str = OVERRIDES) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.words = [*words.split(), f"data.path={write_words(folder / 'words.txt', 20_000)}"]

    def start(self, *more: str, **options: object) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "bench.run", *self.words, *more],
            cwd=self.folder, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.folder}"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            **options,
        )  # type: ignore[call-overload]  # fmt: skip

    def run(self, *more: str, **options: object) -> subprocess.CompletedProcess:
        process = self.start(*more, **options)
        out, error = process.communicate(timeout=LONG)
        return subprocess.CompletedProcess(more, process.returncode, out, error)

    def runs(self) -> list[Path]:
        return sorted(
            path for path in self.folder.glob("results/single/runs/*") if path.name != ".locks"
        )

    def steps(self) -> int:
        """Steps logged in the last of the curves."""
        curves = [path / "curve.jsonl" for path in self.runs() if (path / "curve.jsonl").exists()]
        rows = re.findall(r'{"step": (\d+).*}\n', curves[-1].read_text()) if curves else []
        return int(rows[-1]) if rows else 0

    def weights_since(self, moment: float) -> bool:
        """Whether trained weights were written after a moment."""
        paths = [run / "checkpoint" / "weights.pt" for run in self.runs()]
        return any(path.exists() and path.stat().st_mtime > moment for path in paths)


def children(process: int) -> list[int]:
    """Every process that a process started, and theirs."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            direct = [int(word) for word in path.read_text().split()]
        except OSError:
            continue
        found += [each for child in direct for each in (child, *children(child))]
    return found


def workers(process: subprocess.Popen) -> list[int]:
    """The processes that train for a command."""
    found = []
    for number in children(process.pid):
        try:
            if b"bench.execution.worker" in Path(f"/proc/{number}/cmdline").read_bytes():
                found.append(number)
        except OSError:
            continue
    return found


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill(process: subprocess.Popen, numbers: list[int]) -> None:
    """Kill processes, and wait for the command's end and for the end of all that it had started."""
    everyone = children(process.pid)
    for number in numbers:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate(timeout=LONG)
    until(lambda: not any(is_alive(number) for number in everyone))


def assert_readable(folder: Path) -> None:
    """Assert that no file of a run's record is half-written."""
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    for path in folder.rglob("*.pt"):
        torch.load(path, weights_only=True)


def assert_same(one: Path, other: Path) -> None:
    """Assert that two runs left the same, bit for bit, but for the clock; and nothing behind."""
    curves = [
        [
            json.loads(line) | {"seconds": 0}
            for line in (run / "curve.jsonl").read_text().splitlines()
        ]
        for run in (one, other)
    ]
    assert curves[0] == curves[1]
    weights = [
        torch.load(run / "checkpoint" / "weights.pt", weights_only=True)["model"]
        for run in (one, other)
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert pd.read_parquet(one / "documents.parquet").equals(
        pd.read_parquet(other / "documents.parquet")
    )
    found = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    metrics = [
        [row for row in result["metrics"] if row["name"] != "train_seconds"] for result in found
    ]
    assert metrics[0] == metrics[1]
    assert found[0]["status"] == found[1]["status"] == "done"
    for run in (one, other):
        assert_readable(run)
        assert not [path for path in run.rglob(".*") if path.name != ".lock"]
        assert sorted(path.name for path in (run / "checkpoint").iterdir()) == [
            "vocabulary.json",
            "weights.pt",
        ]


def starts(run: Path) -> list[dict]:
    return json.loads((run / "provenance.json").read_text())["starts"]


def until(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Wait until a condition holds, or a process has ended."""
    end = time.monotonic() + LONG
    while not condition() and (process is None or process.poll() is None):
        assert time.monotonic() < end
        time.sleep(0.002)
