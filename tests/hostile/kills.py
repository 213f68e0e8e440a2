"""Kill commands at random moments of every stage, give them again, and compare what they leave.

  python -m tests.hostile.kills [COUNT] [SEED] [STAGE …]      prints the outcomes by stage

After each kill no file is half-written; the same command then ends, and what it leaves equals bit
for bit what an undisturbed one leaves.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from bench.records import store
from tests.execution.disturbance import assert_readable, assert_same
from tests.hostile import campaign, forked
from tests.tasks.test_command import contents

MEASURE = (
    "measure=quick measure.processes=1 measure.rounds=2 measure.window_seconds=0.02 "
    "measure.lengths=[8,16] measure.side_rounds=1 measure.curve_rounds=1 measure.batches=[2] "
    "measure.energy_seconds=0.01 measure.cap_seconds=5"
)
SUITE = Path("results/single")


class Stage(NamedTuple):
    """A part of a command, between two states of its folder."""

    name: str
    module: str
    words: list[str]
    begun: Callable[[Path], bool]
    ended: Callable[[Path], bool]
    needs: str = ""  # the place that it starts in, by name
    weight: int = 1  # of the kills: those of measuring cost ten times as much


def there(pattern: str) -> Callable[[Path], bool]:
    return lambda place: any((place / SUITE).glob(pattern))


def always(place: Path) -> bool:
    return True


def has_cache(place: Path) -> bool:
    return any((place / "cache").glob("text-*/manifest.json"))


def is_measuring(place: Path) -> bool:
    return "measuring: building" in (place / "output.txt").read_text()


def page_is_whole(place: Path) -> bool:
    page = place / SUITE / "report" / "index.html"
    return page.exists() and page.read_text().rstrip().endswith("</html>")


RUN, MEASURED = campaign.run_words(), campaign.run_words(*MEASURE.split())
TASK, STAGE = campaign.TASK.split(), campaign.STAGE.split()
WEIGHTS = "runs/gru-*/checkpoint/weights.pt"
STAGES = (
    Stage("preparing", "run", RUN, always, has_cache),
    Stage("training", "run", RUN, there("runs/gru-*/curve.jsonl"), there(WEIGHTS), "cache", 3),
    Stage("evaluating", "run", RUN, there(WEIGHTS), there("runs/gru-*/result.json"), "cache", 2),
    Stage("report", "run", RUN, always, page_is_whole, "run", 2),
    Stage("measuring", "run", MEASURED, is_measuring, there("measure/*/*/result.json"), "run"),
    Stage("fine-tuning", "finetune", TASK, there("tasks/gru-*/config.yaml"),
          there("tasks/gru-*/result.json"), "run", 3),
    Stage("preferences", "preferences", STAGE, there("preferences/gru-*/parts/origin.json"),
          there("preferences/gru-*/result.json"), "run", 3),
)  # fmt: skip


# --- what is left ---------------------------------------------------------------------------------


def stage_files(folder: Path) -> dict[str, Any]:
    """Return what learning from preferences leaves that holds no times."""
    left: dict[str, Any] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for pattern in ("**/curve.jsonl", "labels.jsonl")
        for path in folder.glob(pattern)
    }
    for path in folder.glob("**/looks.parquet"):
        left[path.relative_to(folder).as_posix()] = pd.read_parquet(path).to_dict("list")
    for path in folder.glob("**/*.pt"):
        saved = torch.load(path, weights_only=True)
        left[path.relative_to(folder).as_posix()] = {
            name: value.numpy().tobytes() for name, value in saved.get("model", saved).items()
        }
    metrics = store.read_result(folder)["metrics"]
    left["metrics"] = [one for one in metrics if "cpu_second" not in one["name"]]
    return left


def assert_equal(module: str, undisturbed: Path, place: Path) -> None:
    """Assert that a command left the same in two places, but for the clock, and nothing behind."""
    one, other = (path / SUITE for path in (undisturbed, place))
    ((first,), (second,)) = (list(suite.glob("runs/gru-*")) for suite in (one, other))
    assert_same(first, second)
    if module == "finetune":
        ((first,), (second,)) = (list(suite.glob("tasks/gru-*")) for suite in (one, other))
        for expected, left in zip(contents(first), contents(second), strict=True):
            assert expected == left
    elif module == "preferences":
        ((first,), (second,)) = (list(suite.glob("preferences/gru-*")) for suite in (one, other))
        assert stage_files(first) == stage_files(second)
    assert page_is_whole(place)
    hidden = [path for path in other.rglob(".*") if path.name not in (".lock", ".locks")]
    assert not hidden, hidden
    assert_readable(other)


def assert_nothing_half_written(place: Path) -> None:
    """Assert that every file of a suite that has its final name is whole."""
    suite = place / SUITE
    for folder in [*suite.glob("*/*/"), *suite.glob("measure/*/*/")]:
        if folder.name not in (".locks", "static"):
            assert_readable(folder)
    for path in suite.rglob("*.parquet"):
        if not path.name.startswith("."):
            pd.read_parquet(path)


# --- the campaign ---------------------------------------------------------------------------------


class Campaign:
    """Places that commands start in, what they leave undisturbed, and how long stages last."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.draw = root, random.Random(seed)
        self.starts, self.undisturbed = dict[str, Path](), dict[tuple[str, ...], Path]()
        self.lengths = dict[str, float]()
        campaign.write_inputs(root / "start")
        self.starts[""] = root / "start"
        forked.preload()
        done = self.finish("run", RUN, self.place("", "undisturbed"))
        self.starts["run"] = self.starts["cache"] = done
        cached = self.root / "cached"
        shutil.copytree(done, cached)
        shutil.rmtree(cached / "results")
        self.starts["cache"] = cached
        shutil.rmtree(done / SUITE / "report")

    def place(self, start: str, name: str) -> Path:
        """Return a new copy of a place, in which alone commands read and write from now on."""
        place = self.root / name
        shutil.copytree(self.starts[start], place)
        (place / "output.txt").write_text("")
        os.environ |= campaign.environment(place)
        return place

    def finish(self, module: str, words: list[str], place: Path) -> Path:
        campaign.require(module, words, place)
        return place

    def length(self, stage: Stage) -> float:
        """Return how long a stage lasts undisturbed, whose command ends in a place of its own."""
        if stage.name not in self.lengths:
            place, times = self.place(stage.needs, f"undisturbed-{stage.name}"), list[float]()

            def watch() -> bool:
                if len(times) < 2 and (stage.ended if times else stage.begun)(place):
                    times.append(time.monotonic())
                return False

            campaign.disturb(stage.module, stage.words, place, watch)
            watch()
            self.lengths[stage.name] = max(times[-1] - times[0], 0.05)
            self.undisturbed.setdefault((stage.module, *stage.words), place)
        return self.lengths[stage.name]

    def kill(self, stage: Stage, number: int) -> str:
        """Kill a command in a stage and give it again; return where the kill met it."""
        after = self.draw.uniform(0, self.length(stage))
        place = self.place(stage.needs, f"killed-{number}")
        killed = campaign.disturb(
            stage.module, stage.words, place, lambda: stage.begun(place), after, number % 5 == 4
        )
        if not killed:
            met = "after its end"
        else:
            met = "in the next" if stage.ended(place) else "in the stage"
        assert_nothing_half_written(place)
        self.finish(stage.module, stage.words, place)
        assert_equal(stage.module, self.undisturbed[stage.module, *stage.words], place)
        shutil.rmtree(place)
        return met


def kills(count: int, seed: int, root: Path, names: Sequence[str] = ()) -> Counter[tuple[str, str]]:
    """Return how many kills met each stage, or those of some names.

    Raise AssertionError where one left a trace.
    """
    outcomes, made = Counter[tuple[str, str]](), Campaign(root, seed)
    stages = [stage for stage in STAGES if not names or stage.name in names]
    order = [stage for stage in stages for _ in range(stage.weight)]
    for number in range(count):
        stage = order[number % len(order)]
        outcomes[stage.name, made.kill(stage, number)] += 1
    return outcomes


def main(count: str = "50", seed: str = "0", *names: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        print(campaign.table(kills(int(count), int(seed), Path(folder), names)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
