"""Workers: their answers, fresh processes, and what becomes of an entry when one fails."""

import os
import signal
from dataclasses import asdict

import pytest

from bench.performance.entry import Entry
from bench.performance.worker import WorkerServer
from bench.performance.worker_client import (
    RequestFailed,
    RequestUnsupported,
    WorkerClient,
    WorkerDied,
)
from tests.performance.conftest import OPTIONS, make_run


def test_the_server_tells_unsupported_requests_from_failures() -> None:
    server, run = WorkerServer(), make_run("Encoder", "causal")
    unsupported = server.answer("prepare", {"run": asdict(run), "vocabulary": 30})
    assert isinstance(unsupported, RequestUnsupported)
    small = asdict(run) | {"size": {"parameters": 3, "context": 16}}
    failed = server.answer("prepare", {"run": small, "vocabulary": 30})
    assert isinstance(failed, RequestFailed)
    assert "parameters" in str(failed)
    assert isinstance(server.answer("dance", {}), RequestFailed)


def test_a_renewed_worker_is_another_process_and_none_is_left() -> None:
    entry = Entry(make_run("Sum"), 30, OPTIONS)
    entry.start()
    assert entry.worker is not None
    started, pids = entry.worker.process, list[int]()
    for _ in range(3):
        assert entry.prepare()
        assert entry.window("train")["tokens"] > 0
        pids.append(entry.environment["pid"])
        entry.environment = {}
        entry.renew()
    assert entry.worker.process is started, "only the child that computes is new"
    assert len({*pids, started.pid}) == 4
    assert entry.prepare()
    last = entry.environment["pid"]
    os.kill(last, signal.SIGKILL)
    assert entry.window("decode") is None
    assert "signal 9" in entry.samples.refused["decode"]
    assert started.poll() is not None
    for pid in (*pids, last):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class FailingWorker(WorkerClient):
    """A worker without a process whose answer is an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def ask(self, request: str, **arguments: object) -> object:
        raise self.error

    def end(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "quantity", "status", "keeps_worker"),
    [
        (RequestUnsupported("no such objective"), "prepare", "skipped", False),
        (RequestFailed("gave up"), "train", "failed", False),
        (WorkerDied("gone"), "decode", "done", False),
        (RequestFailed("gave up"), "decode", "done", True),
        (WorkerDied("gone"), "memory", "done", False),
    ],
)
def test_a_failure_ends_an_entry_only_where_nothing_is_left_to_compare(
    error: Exception, quantity: str, status: str, keeps_worker: bool
) -> None:
    entry = Entry(make_run("Sum"), 30, OPTIONS, worker=FailingWorker(error))
    assert entry.ask("window", quantity) is None
    assert (entry.status, entry.worker is not None) == (status, keeps_worker)
    assert entry.samples.refused[quantity] == str(error)
    assert (str(error) in entry.reason) is (status != "done")
