"""The real command under kills, preemption, concurrent runs, full disks, bad runs. Slow."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.commands.test_run import OWN, own, results
from tests.conftest import ROOT, assert_one_error
from tests.execution.disturbance import (
    LONG,
    OVERRIDES,
    STEPS,
    CommandFolder,
    assert_readable,
    assert_same,
    children,
    is_alive,
    kill,
    starts,
    until,
    workers,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of the run that nobody disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        place = CommandFolder(tmp_path_factory.mktemp("undisturbed"))
        done = place.run()
    assert done.returncode == 0, done.stderr
    return place.runs()[0]


# --- kills ----------------------------------------------------------------------------------------


def test_killed_at_20_random_moments_the_run_ends_as_if_nothing_had_been(
    undisturbed: Path, tmp_path: Path
) -> None:
    place, draw = CommandFolder(tmp_path / "killed"), random.Random(20)
    at_steps = [("steps", float(step)) for step in sorted(draw.sample(range(1, STEPS), 13))]
    at_starts = [("seconds", draw.uniform(0, 4)) for _ in range(4)]
    for number, (kind, at) in enumerate([*at_starts, *at_steps, *[("end", 0.0)] * 3]):
        process, began = place.start(), time.time()
        if kind == "steps":
            until(lambda at=at: place.steps() >= at, process)  # type: ignore[misc]
        elif kind == "end":
            until(lambda began=began: place.weights_since(began), process)  # type: ignore[misc]
        time.sleep(at if kind == "seconds" else draw.uniform(0, 0.05))
        assert process.poll() is None, process.communicate()
        everyone = [process.pid, *children(process.pid)]
        draw.shuffle(everyone)
        kill(process, [process.pid] if number % 4 == 0 else everyone)
        for run in place.runs():
            assert_readable(run)
            assert not (run / "result.json").exists()
    done = place.run()
    assert done.returncode == 0, done.stderr
    assert_same(undisturbed, place.runs()[0])
    assert len(place.runs()) == 1
    assert 16 <= len(starts(place.runs()[0])) <= 21


def test_a_cell_that_is_killed_alone_is_failed_and_again_goes_on_from_its_checkpoint(
    undisturbed: Path, tmp_path: Path
) -> None:
    place = CommandFolder(tmp_path / "cell")
    process = place.start()
    until(lambda: place.steps() > STEPS // 2, process)
    os.kill(workers(process)[0], signal.SIGKILL)
    out, error = process.communicate(timeout=LONG)
    assert process.returncode == 1, error
    assert "failed: killed (SIGKILL)" in out
    assert place.run().returncode == 1  # as before: it is failed
    words = shlex.split(
        next(line for line in out.splitlines() if line.startswith("  again: ")).partition(":")[2]
    )
    assert words[:3] == ["python", "-m", "bench.run"]
    place.words = []
    done = place.run(*words[3:])
    assert done.returncode == 0, done.stderr
    first, second = place.runs()
    assert second.name == f"{first.name}-a2"
    assert_same(undisturbed, second)
    assert json.loads((first / "result.json").read_text())["status"] == "failed"


# --- preemption -----------------------------------------------------------------------------------


@pytest.mark.parametrize("whom", ["command", "cell", "everyone"])
@pytest.mark.parametrize("when", ["start", "training", "scoring"])
def test_asked_to_end_a_run_saves_and_the_next_start_goes_on(
    undisturbed: Path, tmp_path: Path, whom: str, when: str
) -> None:
    place = CommandFolder(tmp_path / "asked", OVERRIDES.replace("seconds=0.02", "seconds=1000"))
    process = place.start()
    until(lambda: workers(process), process)
    if when == "training":
        until(lambda: place.steps() > STEPS // 3, process)
    elif when == "scoring":
        until(lambda: place.weights_since(0), process)
    everyone = [process.pid, *workers(process)]
    for number in {"command": everyone[:1], "cell": everyone[1:], "everyone": everyone}[whom]:
        os.kill(number, signal.SIGTERM)
    out, error = process.communicate(timeout=LONG)
    assert "Traceback" not in error, error
    assert process.returncode == (1 if whom == "cell" else 143), (out, error)
    assert ("again: python -m bench.run" in out) == (whom == "cell")
    assert not any(is_alive(number) for number in everyone)
    assert not (place.runs()[0] / "result.json").exists()
    states = sorted(path.name for path in (place.runs()[0] / "checkpoint").glob("training*"))
    assert states == ([] if when == "start" else ["training.pt"])
    if when == "training":
        state = torch.load(place.runs()[0] / "checkpoint" / "training.pt", weights_only=True)
        assert 0 <= state["step"] - place.steps() < 7
    done = place.run()
    assert done.returncode == 0, done.stderr
    assert_same(undisturbed, place.runs()[0])


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_of_a_launcher_do_not_outlive_their_command(
    tmp_path: Path, end: signal.Signals
) -> None:
    place = CommandFolder(tmp_path / "workers", OVERRIDES.replace(f"steps={STEPS}", "steps=4000"))
    sweep = ["seed=0,1,2", "-m", "hydra.launcher.n_jobs=2"]
    process = place.start(*sweep)
    until(
        lambda: sum((run / "checkpoint" / "training.pt").exists() for run in place.runs()) == 2,
        process,
    )
    trained, everyone = workers(process), children(process.pid)
    assert len(trained) == 2
    os.kill(process.pid, end)
    error = process.communicate(timeout=LONG)[1]
    assert process.returncode == (-9 if end == signal.SIGKILL else 128 + end), error
    assert "Traceback" not in error
    until(lambda: not any(is_alive(number) for number in everyone))
    time.sleep(2)
    assert len(place.runs()) == 2  # none was begun after the end
    done = place.run(*sweep)
    assert done.returncode == 0, done.stderr
    assert [len(starts(run)) for run in place.runs()] == [2, 2, 1]


@pytest.mark.parametrize("sweep", [[], ["seed=0,1", "-m", "hydra.launcher.n_jobs=2"]])
def test_a_second_ctrl_c_ends_what_the_first_waits_for(tmp_path: Path, sweep: list[str]) -> None:
    place = CommandFolder(tmp_path / "twice", OVERRIDES.replace(f"steps={STEPS}", "steps=4000"))
    process = place.start(*sweep)
    until(lambda: place.steps() > 0, process)
    trained, everyone = workers(process), children(process.pid)
    for number in trained:
        os.kill(number, signal.SIGSTOP)  # it cannot save
    os.kill(process.pid, signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    began = time.monotonic()
    until(lambda: not any(is_alive(number) for number in trained))
    assert time.monotonic() - began < 2
    error = process.communicate(timeout=LONG)[1]
    until(lambda: not any(is_alive(number) for number in everyone))
    assert process.returncode == 130, error
    assert "Traceback" not in error


# --- neighbours -----------------------------------------------------------------------------------


def test_two_commands_share_a_sweep(tmp_path: Path) -> None:
    place = CommandFolder(tmp_path / "shared")
    sweep = ["seed=0,1,2,3", "-m", "hydra/launcher=basic"]
    commands = [place.start(*sweep) for _ in range(2)]
    ends = [command.communicate(timeout=LONG) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], ends
    assert "another command runs it; back to it at the end" in ends[0][1] + ends[1][1]
    assert len(place.runs()) == 4
    began = [starts(run) for run in place.runs()]
    assert [len(each) for each in began] == [1] * 4
    assert {each[0]["process"] for each in began} == {command.pid for command in commands}
    for run in place.runs():
        steps = [
            json.loads(line)["step"] for line in (run / "curve.jsonl").read_text().splitlines()
        ]
        assert steps == sorted({*range(7, STEPS, 7), STEPS})
        assert json.loads((run / "result.json").read_text())["status"] == "done"


def test_what_a_killed_command_had_locked_is_taken_up_by_the_one_that_waits(
    undisturbed: Path, tmp_path: Path
) -> None:
    place = CommandFolder(tmp_path / "stale")
    first = place.start()
    until(lambda: place.steps() > STEPS // 3, first)
    everyone = [first.pid, *children(first.pid)]
    for number in everyone:
        os.kill(number, signal.SIGSTOP)
    second = place.start("seed=0,1", "-m", "hydra/launcher=basic")
    until(
        lambda: len(results_of(place)) == 1 and not workers(second), second
    )  # the other cell is done
    time.sleep(1)
    assert second.poll() is None
    kill(first, everyone)
    error = second.communicate(timeout=LONG)[1]
    assert second.returncode == 0, error
    assert "waiting for its end" in error
    assert results_of(place) == ["done", "done"]
    taken, other = place.runs()
    assert_same(undisturbed, taken)
    assert [len(starts(taken)), len(starts(other))] == [2, 1]


def results_of(place: CommandFolder) -> list[str]:
    return [
        json.loads((run / "result.json").read_text())["status"]
        for run in place.runs()
        if (run / "result.json").exists()
    ]


# --- full disks -----------------------------------------------------------------------------------

SMALL_DISK = """
import os, shutil, subprocess, sys, time
from pathlib import Path
results, command = Path("results"), [sys.executable, "-m", "bench.run", *sys.argv[1:]]
results.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", "results"], check=True)
print("mounted", flush=True)
process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
while not list(results.glob("single/runs/*/checkpoint/training.previous.pt")):
    time.sleep(0.01)
with open(results / "filler", "wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
out, error = process.communicate()
Path("first").write_text(f"{process.returncode}\\n{out}{error}")
shutil.copytree(results, "while-full")
for name, change in (("second", []), ("third", ["mount", "-o", "remount,ro", "results"])):
    subprocess.run(change or ["true"], check=True)
    done = subprocess.run(command, capture_output=True, text=True)
    Path(name).write_text(f"{done.returncode}\\n{done.stdout}{done.stderr}")
subprocess.run(["mount", "-o", "remount,rw", "results"], check=True)
(results / "filler").unlink()
done = subprocess.run(command, capture_output=True, text=True)
Path("fourth").write_text(f"{done.returncode}\\n{done.stdout}{done.stderr}")
shutil.copytree(results, "after")
"""


def test_a_disk_that_fills_up_while_training(undisturbed: Path, tmp_path: Path) -> None:
    """On a small file system of its own, in a name space of its own."""
    place = CommandFolder(tmp_path / "full")
    alone = ["unshare", "-Urm", sys.executable, "-c", SMALL_DISK, *place.words]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            alone,
            cwd=place.folder,
            env=path,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if "mounted" not in done.stdout:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = (
        (place.folder / name).read_text() for name in ("first", "second", "third", "fourth")
    )
    assert first.startswith("1\n"), first
    assert "Traceback" not in first + second + third + fourth
    assert (
        "cannot be written (No space left on device): fix that, then the same command continues"
        in first
    )
    assert ": unfinished" in first
    run = next((place.folder / "while-full").glob("single/runs/gru*"))
    assert_readable(run)
    assert not (run / "result.json").exists()
    assert second.startswith("2\n"), second
    assert re.search(
        r"error: results=results/single/runs.*(free some space|No space left on device)", second
    )
    assert third.startswith("2\n"), third
    assert "Read-only file system" in third
    assert fourth.startswith("0\n"), fourth
    assert_same(undisturbed, next((place.folder / "after").glob("single/runs/gru*")))


def test_a_disk_that_takes_no_checkpoint(undisturbed: Path, tmp_path: Path) -> None:
    import resource

    place = CommandFolder(tmp_path / "small")
    limit = 200_000  # below a training state, above what is tried before
    done = place.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert ": unfinished" in done.stdout
    assert not [path for path in place.runs()[0].rglob(".*") if path.name != ".lock"]
    done = place.run()
    assert done.returncode == 0, done.stderr
    assert_same(undisturbed, place.runs()[0])
    limit = 1000
    assert_one_error(
        place.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
        2,
        "cannot be written",
    )


# --- bad cells ------------------------------------------------------------------------------------

BAD = OWN.replace("layers=1", "layers=1, fault=''").replace(
    "        self.mix",
    "        self.fault = fault\n        self.mix",
).replace(
    "        return x + self.mix",
    "        if self.training and bool((self.mix.bias != 0).any()) and os.path.exists('faulty'):\n"
    "            x = x * FAULTS.get(self.fault, lambda: 1.0)()\n"
    "        return x + self.mix",
).replace("import torch\n", "import os, resource, signal, time\nimport torch\n", 1) + """

def exhaust():
    used = int(open('/proc/self/statm').read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
    return torch.ones(1 << 27).sum()

FAULTS = {
    'crash': os.abort,
    'memory': exhaust,
    'number': lambda: float('nan'),
    'hang': lambda: time.sleep(10_000),
    'killed': lambda: os.kill(os.getpid(), signal.SIGKILL),
    'exception': lambda: {}['a key that is not there'],
}
"""  # fmt: skip


def test_bad_cells_become_their_records_and_the_command_that_is_named_mends_them(
    tmp_path: Path,
) -> None:
    place = CommandFolder(
        tmp_path / "bad", OVERRIDES.replace("arch=gru", "").replace(str(STEPS), "30")
    )
    flags = own(place.folder, BAD)
    (place.folder / "faulty").touch()
    faults = ["crash", "memory", "number", "hang", "killed", "exception", "none"]
    sweep = [
        "arch=mean",
        f"+arch.fault={','.join(faults)}",
        "-m",
        "hydra/launcher=basic",
        "train.limit_seconds=40",
    ]
    done = place.run(*flags, *sweep)
    assert done.returncode == 1, done.stderr
    configs = {run: json.loads((run / "result.json").read_text()) for run in place.runs()}
    found = {
        re.search(r"fault: (\w+)", (run / "config.yaml").read_text()).group(1): result
        for run, result in configs.items()
    }  # type: ignore[union-attr]
    assert {name: result["status"] for name, result in found.items()} == dict.fromkeys(
        faults, "failed"
    ) | {"none": "done"}
    said = {
        "crash": "SIGABRT",
        "memory": "out of memory",
        "number": "diverged",
        "hang": "train.limit_seconds=40",
        "killed": "SIGKILL",
    }
    for name, words in (said | {"exception": "a key that is not there"}).items():
        assert words in found[name]["reason"], found[name]
        assert found[name]["reason"] in done.stdout
    assert "6 of 7 runs are not done" in done.stdout
    (place.folder / "faulty").unlink()
    commands = [
        line.partition("again: ")[2] for line in done.stdout.splitlines() if "again: python" in line
    ]
    assert len(commands) == 7
    place.words = []
    one = place.run(*shlex.split(commands[0])[3:])
    assert one.returncode == 0, one.stderr
    rest = place.run(*shlex.split(commands[-1])[3:])
    assert rest.returncode == 0, rest.stderr
    assert sorted(results_of(place)) == ["done"] * 7 + ["failed"] * 6
    assert [len(starts(run)) for run in place.runs()] == [1] * 13
    assert results(place.folder)
