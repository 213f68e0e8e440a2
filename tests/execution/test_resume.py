"""Broken checkpoints, full disks, and requests to stop. The real command: test_kill.py."""

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench import performance
from bench.config.errors import UserError
from bench.performance.session import exclusive_session
from bench.records import store
from bench.system import files, signals
from bench.training import StepEvent, TrainState, checkpoint, train
from bench.training.checkpoint import Checkpointer
from tests.conftest import ROOT
from tests.execution.disturbance import LONG, until
from tests.records.test_store import make_run
from tests.records.test_store import write as write_record
from tests.training.toy import ORIGIN, PatternBlocks, make, train_all

# --- checkpoints ----------------------------------------------------------------------------------


def saved(folder: Path, steps: int = 3) -> tuple[Path, Path]:
    """Two training states, of steps 2 and 3: the newest, and the one before."""
    objective, adam, plan = make(log_every=1)
    for step in train(objective, adam, PatternBlocks(), plan):
        if step.step > steps:
            break
        checkpoint.save_train_state(
            folder, TrainState(step.step, float(step.step)), objective, adam, ORIGIN
        )
    newest, before = (folder / name for name in checkpoint.TRAINING_FILES)
    return newest, before


@pytest.mark.parametrize("damage", ["cut", "noise", "nothing", "another run"])
def test_a_broken_checkpoint_is_set_aside_and_the_one_before_is_taken(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    newest, _ = saved(tmp_path)
    if damage == "another run":
        torch.save(
            torch.load(newest, weights_only=True) | {"origin": ORIGIN | {"data": "e"}}, newest
        )
    else:
        newest.write_bytes(
            {"cut": newest.read_bytes()[:-900], "noise": bytes(range(256)) * 40, "nothing": b""}[
                damage
            ]
        )
    objective, adam, plan = make(log_every=1)
    place = checkpoint.load_train_state(tmp_path, objective, adam, ORIGIN)
    assert place == TrainState(2, 2.0)
    (record,) = caplog.records
    assert "training.pt.broken" in record.message
    assert "training.previous.pt" in record.message
    assert newest.with_name("training.pt.broken").exists()
    whole, whole_adam, _ = make(log_every=1)
    assert train_all(objective, adam, plan, place) == train_all(whole, whole_adam, plan)[2:]
    assert all(
        torch.equal(a, b) for a, b in zip(objective.parameters(), whole.parameters(), strict=True)
    )


def test_two_broken_checkpoints_are_set_aside_and_training_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in saved(tmp_path):
        path.write_bytes(b"")
    objective, adam, _ = make()
    assert checkpoint.load_train_state(tmp_path, objective, adam, ORIGIN) == TrainState()
    assert len(caplog.records) == 2


def test_between_the_two_renames_of_a_checkpoint_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest, before = saved(tmp_path)
    os.replace(newest, before)  # a kill here
    objective, adam, _ = make()
    assert checkpoint.load_train_state(tmp_path, objective, adam, ORIGIN).step == 3
    assert caplog.records == []


@pytest.mark.parametrize("at", [1, 4, 5, 6, 11])
def test_stopping_between_two_logged_steps_changes_nothing(tmp_path: Path, at: int) -> None:
    objective, adam, plan = make(log_every=4)
    whole = train_all(objective, adam, plan)
    stopped, half, _ = make(log_every=4)

    seen = []
    for event in train(
        stopped, half, PatternBlocks(), plan, checkpoint_due=lambda step: step == at
    ):
        if event.log:
            seen.append(event.log)
        if event.checkpoint_due:
            nats, count = event.unlogged.tolist()
            state = TrainState(event.step, 1.0, (nats, count))
            checkpoint.save_train_state(tmp_path, state, stopped, half, ORIGIN)
            break
    fresh, other, _ = make(log_every=4)
    state = checkpoint.load_train_state(tmp_path, fresh, other, ORIGIN)
    seen += train_all(fresh, other, plan, state)
    assert seen == whole
    assert all(
        torch.equal(a, b) for a, b in zip(objective.parameters(), fresh.parameters(), strict=True)
    )


def test_a_state_is_kept_when_due_and_never_one_that_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[TrainState] = []
    monkeypatch.setattr(
        checkpoint, "save_train_state", lambda folder, state, *_: saved.append(state)
    )
    objective, adam, settings = make(steps=8)
    checkpoints = Checkpointer(
        tmp_path, objective, adam, ORIGIN, settings, 1000.0, TrainState(5, 7.0)
    )

    def save(step: int, nats: float) -> None:
        checkpoints.save(StepEvent(step, torch.tensor([nats, 2.0]), None, False, True))

    assert not checkpoints.due(6)
    assert checkpoints.due(8)
    save(8, torch.nan)
    assert saved == []
    save(8, 3.0)
    assert (saved[0].step, saved[0].unlogged) == (8, (3.0, 2.0))
    assert saved[0].seconds >= 7.0
    monkeypatch.setattr(signals, "_received", [signal.SIGTERM])
    assert checkpoints.due(7)
    with pytest.raises(signals.StopRequested):
        save(7, 4.0)
    assert [state.step for state in saved] == [8, 7]


# --- disks ----------------------------------------------------------------------------------------


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Have the system refuse files above so many bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    newest, before = saved(tmp_path)
    contents = newest.read_bytes(), before.read_bytes()
    objective, adam, _ = make()
    small_files(4000)
    with pytest.raises(OSError, match="File too large") as caught:
        checkpoint.save_train_state(tmp_path, TrainState(4), objective, adam, ORIGIN)
    assert (
        "cannot be written (File too large): fix that, then the same command continues"
        in files.write_error_message(caught.value, tmp_path)
    )
    with pytest.raises(OSError, match="File too large"):
        store.write_json(tmp_path / "result.json", {"a": "b" * 5000})
    assert (newest.read_bytes(), before.read_bytes()) == contents
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(checkpoint.TRAINING_FILES)


def test_a_disk_without_room_locks_or_rights_is_said_before(
    tmp_path: Path, small_files: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"MB are free, and the runs write up to .* MB"):
        files.check_free_space(tmp_path, 1 << 60)
    for number in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
        with monkeypatch.context() as patch:

            def refuse(*_: object, number: int = number) -> None:
                raise OSError(number, os.strerror(number))

            patch.setattr(fcntl, "flock", refuse)
            with pytest.raises(UserError, match="has no file locks"):
                files.check_file_locks(tmp_path)
    files.check_file_locks(tmp_path)
    small_files(1000)
    with pytest.raises(UserError, match=r"cannot be written \(File too large\)"):
        files.check_writable(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f".weights.pt.{gone.pid}", f".result.json.{os.getppid()}", ".lock", "result.json"):
        (tmp_path / name).touch()
    files.remove_stale_temp(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        f".result.json.{os.getppid()}",
        ".lock",
        "result.json",
    }


# --- what is run again ----------------------------------------------------------------------------


def test_a_result_of_after_the_command_began_is_not_made_again_by_it(tmp_path: Path) -> None:
    began = time.time() - 100
    first = write_record(make_run(tmp_path), "failed")
    assert store.select_folder(make_run(tmp_path, again="failed"), began) == (first, False)
    assert store.select_folder(make_run(tmp_path, again="failed"), began + 200) == (
        first.with_name(f"{first.name}-a2"),
        True,
    )


@pytest.mark.parametrize("again", ["failed", "all"])
def test_a_failed_attempt_hands_its_training_on(tmp_path: Path, again: str) -> None:
    first = write_record(make_run(tmp_path), "failed")
    saved(first / "checkpoint")
    folder, _ = store.select_folder(make_run(tmp_path, again=again))
    store.create_record(folder, make_run(tmp_path, again=again), {}, {})
    handed = [(folder / "checkpoint" / name).exists() for name in checkpoint.TRAINING_FILES]
    assert handed == [again == "failed"] * 2
    assert (first / "curve.jsonl").exists()
    assert len(json.loads((folder / "provenance.json").read_text())["starts"]) == 1


# --- being asked to stop --------------------------------------------------------------------------

WORKER = """
import sys, time
from bench.system import signals as stop
stop.install_stop_handlers()
try:
    with stop.defer_stop():
        print("ready", flush=True)
        while not stop.stop_requested():
            time.sleep(0.01)
        raise stop.StopRequested
except stop.StopRequested:
    print("saved", flush=True)
"""
COMMAND = """
import os, subprocess, sys, time
from bench.system import signals as stop
with stop.hold_command_lock() as here:
    worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
    print(worker.pid, flush=True)
    if sys.stdin.readline() == "withdraw\\n":
        here.stop_workers()
        worker.wait()
"""


@pytest.mark.parametrize("end", ["withdraw", "kill"])
def test_who_trains_stops_with_its_command_however_that_ends(end: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert command.stdin
    assert command.stdout
    worker = int(command.stdout.readline())
    assert command.stdout.readline() == "ready\n"
    if end == "kill":
        command.kill()  # and nobody has asked how it ended yet: its number is still taken
    else:
        command.stdin.write("withdraw\n")
        command.stdin.flush()
    assert command.stdout.readline() == "saved\n"
    until(
        lambda: (
            not Path(f"/proc/{worker}/cmdline").exists()
            or not Path(f"/proc/{worker}/cmdline").read_bytes()
        )
    )
    assert command.wait(LONG) == (0 if end == "withdraw" else -signal.SIGKILL)
    command.stdin.close()
    command.stdout.close()


def test_a_command_is_there_while_it_stands_and_on_its_own_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not signals.command_ended()
    assert not signals.defer("a", 1)
    with signals.hold_command_lock() as here:
        assert not signals.command_ended()
        assert signals.defer("a", [1, "b"])
        assert here.deferred() == [[1, "b"]]
        place = os.environ[signals.COMMAND_VARIABLE]
    monkeypatch.setenv(signals.COMMAND_VARIABLE, place)
    assert signals.command_ended()
    monkeypatch.setenv(signals.COMMAND_VARIABLE, json.dumps(["another machine", "/tmp"]))
    assert not signals.command_ended()


def test_training_and_measuring_on_a_machine_know_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bench")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert not performance.is_session_running()
    with exclusive_session():
        assert performance.is_session_running()
    assert not caplog.records
    with signals.hold_command_lock(elsewhere=True):
        assert signals.count_other_commands() == 0
    with signals.hold_command_lock():
        assert signals.count_other_commands() == 0  # itself
        os.environ[signals.COMMAND_VARIABLE] = '["", ""]'  # as another command sees it
        with exclusive_session():
            pass
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (tmp_path / f"{signals.LOCAL_PREFIX}killed").mkdir()
    (tmp_path / f"{signals.LOCAL_PREFIX}killed" / "alive").touch()
    assert signals.count_other_commands() == 0
