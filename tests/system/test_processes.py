"""A process of its own: its death becomes a line."""

import os
import signal
import time
from pathlib import Path
from threading import Thread

import pytest

from bench.config.errors import UserError
from bench.system import host, processes
from bench.system.processes import BY_ESTIMATE, limit_for, run_module


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(body: str) -> str:
        (tmp_path / "body.py").write_text("import os, sys, time\n" + body)
        return "body"

    return write


def test_its_own_word_is_passed_on(module) -> None:  # type: ignore[no-untyped-def]
    assert run_module([module("sys.exit(2)")], 1) == (2, "")


def test_arguments_and_threads_reach_it(module) -> None:  # type: ignore[no-untyped-def]
    conditions = "sys.argv[1:] == ['a b'] and os.environ['OMP_NUM_THREADS'] == '3'"
    body = f"sys.exit(0 if {conditions} else 4)"
    assert run_module([module(body), "a b"], 3).code == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('the disk is full')", "exit code 1: RuntimeError: the disk is full"),
        ("os.kill(os.getpid(), 9)", "memory"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("print('last words', file=sys.stderr); os._exit(7)", "exit code 7: last words"),
    ],
)
def test_a_death_has_its_reason(module, body: str, words: str) -> None:  # type: ignore[no-untyped-def]
    end = run_module([module(body)], 1)
    assert words in end.reason


def test_a_process_that_hangs_is_ended(module) -> None:  # type: ignore[no-untyped-def]
    began = time.monotonic()
    end = run_module([module("time.sleep(600)")], 1, limit_seconds=1.0)
    assert "train.limit_seconds=1 and was ended" in end.reason
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(("limit", "code"), [(BY_ESTIMATE, -9), (0.0, 4), (None, 4)])
def test_a_worker_past_its_own_estimate_is_ended(  # type: ignore[no-untyped-def]
    module, monkeypatch: pytest.MonkeyPatch, limit: float | None, code: int
) -> None:
    assert [limit_for(estimate) for estimate in (0.0, 59.0, 120.0)] == [600.0, 600.0, 1200.0]
    monkeypatch.setattr(processes, "MIN_LIMIT_SECONDS", 0.1)
    body = "print('~seconds 0.05', file=sys.stderr, flush=True); time.sleep(1.5); sys.exit(4)"
    end = run_module([module(body)], 1, limit)
    assert end.code == code
    assert ("made no progress for 0.5 s" in end.reason) == (limit == BY_ESTIMATE)


@pytest.mark.parametrize(("name", "least"), [("RLIMIT_NOFILE", 64), ("RLIMIT_AS", 1 << 30)])
def test_a_shell_that_allows_too_little_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, least: int
) -> None:
    import resource

    limited = {getattr(resource, name): least}
    monkeypatch.setattr(resource, "getrlimit", lambda number: (limited.get(number, -1), -1))
    host.check_process_limits()
    limited = {getattr(resource, name): least - 1}
    with pytest.raises(UserError, match=f"{least - 1:,} .*{least:,}: give ulimit") as error:
        host.check_process_limits()
    assert error.value.code == "process-limit"


def test_progress_is_not_taken_for_last_words(module, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    caplog.set_level("INFO", "bench")
    body = "print('why', file=sys.stderr); print('~ 3/4 steps', file=sys.stderr); os._exit(9)"
    end = run_module([module(body)], 1, name="run")
    assert end.reason == "ended with exit code 9: why"
    assert [record.getMessage() for record in caplog.records if hasattr(record, "progress")] == [
        "run: 3/4 steps"
    ]


def test_ctrl_c_ends_what_was_started(module, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pid_file = tmp_path / "pid"
    module(f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    parent = os.fork()
    if parent == 0:
        try:
            run_module(["body"], 1)
        except KeyboardInterrupt:
            os._exit(130)
        os._exit(1)
    while not pid_file.exists() or not pid_file.read_text():
        time.sleep(0.05)
    os.kill(parent, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_launcher_whose_time_is_up_acts_once_what_trains_has_saved(
    module, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    """As submitit does: its signal comes, and what it does then ends every process of the job."""
    ready, saved, seen = tmp_path / "ready", tmp_path / "saved", list[bool]()
    module(f"""
from bench.system import signals as stop
stop.install_stop_handlers()
with stop.defer_stop():
    open({str(ready)!r}, "w").close()
    while not stop.stop_requested():
        time.sleep(0.01)
    time.sleep(0.3)
    open({str(saved)!r}, "w").close()
""")

    def theirs(number: int, frame: object) -> None:
        seen.append(saved.exists())
        raise SystemExit(7)

    def tell() -> None:
        while not ready.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, theirs)
    Thread(target=tell, daemon=True).start()
    try:
        with pytest.raises(SystemExit) as caught:
            run_module(["body"], 1)
        assert signal.getsignal(signal.SIGUSR2) is theirs
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert caught.value.code == 7
    assert seen == [True]
