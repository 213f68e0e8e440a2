"""A tiny suite with a record of every kind, made by the real commands, for campaigns of faults."""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.config.schema import Run
from bench.planning import budget
from bench.records import contract_results, load_record, store
from bench.training import read_run
from tests import fake_records
from tests.conftest import write_words
from tests.execution.disturbance import children, is_alive, until
from tests.hostile import forked
from tests.tasks.test_examples import write_reviews

RUN = (
    "arch=gru data=text size.parameters=5000 size.context=32 measure=off figures=none "
    "train.steps=60 train.batch=4 train.log_every=2 train.validations=2 train.learning_rate=0.03 "
    "train.checkpoint_seconds=0 evaluate.sample_tokens=10 evaluate.stretches=2 evaluate.windows=2 "
    "evaluate.fillings=2"
)
TASK = (
    "results/single task=labels task.path=reviews.csv task.steps=20 task.batch=8 task.trials=2 "
    "task.start=pretrained hydra/launcher=basic figures=none"
)
STAGE = (
    "results/single preference=quick preference.prompt=8 preference.response=12 "
    "preference.labels=128 preference.held_out=128 preference.policy.updates=4 "
    "preference.policy.dpo_epochs=2 preference.look_prompts=4 preference.looks=4 "
    "preference.reward.epochs=4 hydra/launcher=basic"
)


def environment(place: Path) -> dict[str, str]:
    """Return the variables under which nothing outside a place is read or written."""
    return {
        "BENCH_CACHE": str(place / "cache"),
        "XDG_CACHE_HOME": str(place / "user"),
        "OMP_NUM_THREADS": "1",
    }


def write_inputs(place: Path) -> None:
    """Write the text and the labelled texts that the commands name."""
    place.mkdir(parents=True, exist_ok=True)
    write_words(place / "words.txt", 4_000)
    write_reviews(place / "reviews.csv")


def run_words(*more: str) -> list[str]:
    return [*RUN.split(), "data.path=words.txt", *more]


def require(module: str, words: list[str], place: Path) -> None:
    """Run a command; raise AssertionError where it does not end with exit code 0."""
    code = forked.run(module, words, place)
    assert code == 0, (place / "output.txt").read_text()


def make_suite(place: Path) -> Path:
    """Make a run, one that is half trained, a fine-tuning, a stage, and what they share.

    `place` is the working folder.
    """
    write_inputs(place)
    forked.preload()
    require("run", run_words(), place)
    require("finetune", TASK.split(), place)
    require("preferences", STAGE.split(), place)
    suite = place / "results" / "single"
    (run,) = suite.glob("runs/gru-*")
    previous = "runs/gru-*-s1-*/checkpoint/training.previous.pt"
    disturb(
        "run", run_words("seed=1", "train.steps=4000"), place, lambda: any(suite.glob(previous))
    )
    fake_records.write_measure(suite, "gru", rounds=4)
    fake_records.write_measure(suite, "gru", rounds=4, twin=True)
    (session,) = (suite / "measure").iterdir()
    store.write_json(session / "doctor.json", fake_records.DOCTOR)
    trial = {"score": 1.5, "values": {"learning_rate": 0.1}, "uniform": 8.0, "repeats": []}
    search = {"arch": "gru", "metric": "regret", "steps": 1, "batch": 1, "context": 8, "space": {}}
    store.write_json(suite / "tune" / "searches" / "gru-0.json", search | {"trials": [trial]})
    base = replace(read_run(run), results=str(place / "results"))
    findings = [{"name": "rows", "status": "passed", "came": "no difference"}]
    contract_results.write_contract_results(base, findings)
    budget.plan_runs([planned(base)])
    return suite


def planned(run: Run) -> Run:
    """Return a run whose steps a plan counts."""
    return replace(run, train=replace(run.train, match="flops", budget=1e9))


def recorded_digests(folder: Path) -> dict[str, str]:
    return dict(load_record(folder).provenance["digests"])


def disturb(
    module: str,
    words: list[str],
    place: Path,
    moment: Callable[[], bool],
    seconds: float = 0.0,
    command_only: bool = False,
) -> bool:
    """Start a command, kill it a while after a moment; return False where it ended before.

    `command_only`: its workers are not killed, and have to end by themselves.
    """
    process, ended = forked.start(module, words, place), list[int]()

    def has_ended() -> bool:
        if not ended and os.waitpid(process, os.WNOHANG)[0]:
            ended.append(process)
        return bool(ended)

    until(lambda: has_ended() or moment())
    end = time.monotonic() + seconds
    while time.monotonic() < end and not has_ended():
        time.sleep(0.001)
    started = children(process)
    for number in [] if has_ended() else [process, *([] if command_only else started)]:
        with contextlib.suppress(ProcessLookupError):  # a worker that has just ended
            os.kill(number, signal.SIGKILL)
    if not ended:
        os.waitpid(process, 0)
    until(lambda: not any(map(is_alive, started)))
    return not ended


def table(outcomes: Counter[tuple[str, str]]) -> str:
    """Return counts as a table: a row per kind, a column per outcome."""
    kinds, results = ({key[place]: None for key in outcomes} for place in (0, 1))
    lines = ["  ".join([" " * 36, *(f"{result:>12}" for result in results), "         all"])]
    for kind in kinds:
        counts = [outcomes[kind, result] for result in results]
        lines.append("  ".join([f"{kind:36}", *(f"{one:12}" for one in (*counts, sum(counts)))]))
    totals = [sum(outcomes[kind, result] for kind in kinds) for result in results]
    return "\n".join(
        [*lines, "  ".join(["all".ljust(36), *(f"{n:12}" for n in (*totals, sum(totals)))])]
    )
