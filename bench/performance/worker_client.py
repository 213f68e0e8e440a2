"""Start a worker process, send it requests with a time limit, and end it."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from threading import Thread
from typing import Any

from bench.system.host import worker_environment

MODULE = "bench.performance.worker"
HAS_PROCESS_GROUPS = hasattr(os, "killpg")
START_SECONDS = 300.0  # for the imports, which take long on a busy machine


class WorkerDied(Exception):
    """The worker process ended; the message says why."""


class RequestUnsupported(Exception):
    """The architecture does not support the request; the message is the reason."""


class RequestFailed(Exception):
    """The request failed in the worker; the message is the reason."""


class WorkerClient:
    """Run a worker process and exchange lines of JSON with it."""

    def __init__(self, threads: int, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the worker lives)
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.stderr, text=True, encoding="utf-8", errors="replace",
            env=worker_environment(threads), start_new_session=HAS_PROCESS_GROUPS,
        )  # fmt: skip
        self.answers: queue.Queue[str | None] = queue.Queue()
        self.reader = Thread(target=self._read_answers, daemon=True)
        self.reader.start()

    def _read_answers(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(None)

    def ready(self) -> None:
        """Wait until the worker has imported everything. Raise WorkerDied."""
        self._receive(START_SECONDS)

    def ask(self, request: str, **arguments: Any) -> Any:
        """Return the worker's result.

        Raise RequestUnsupported, RequestFailed, or WorkerDied where it hangs or dies.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"ask": request, **arguments}, default=str) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise WorkerDied(self._describe_death()) from None
        return read_answer(self._receive(self.limit_seconds))

    def renew(self) -> bool:
        """Replace the worker's process by a fresh fork, without imports. Raise WorkerDied.

        Return False where the system cannot fork.
        """
        if not hasattr(os, "fork"):
            return False
        self.ask("renew")
        return True

    def _receive(self, seconds: float) -> Mapping[str, Any]:
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.end()
            raise WorkerDied(
                f"did not answer within {seconds:g} s and was ended "
                "(measure.limit_seconds sets the limit)"
            ) from None
        if line is None:
            raise WorkerDied(self._describe_death())
        return dict(json.loads(line))

    def _describe_death(self) -> str:
        """Return the exit code or signal, and the last line of standard error."""
        code = self.process.wait(timeout=10)
        self.stderr.seek(0)
        lines = self.stderr.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        # the kernel sends signal 9 where memory runs out
        memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        how = (
            f"was killed by signal {-code}{memory}" if code < 0 else f"ended with exit code {code}"
        )
        return f"its process {how}" + (f": {last}" if last else "")

    def end(self) -> None:
        """Kill the process group and close the pipes."""
        if self.process.poll() is None:
            if HAS_PROCESS_GROUPS:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        self.reader.join(timeout=5)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self.stderr.close()


def read_answer(answer: Mapping[str, Any]) -> Any:
    """Return the result in an answer. Raise RequestUnsupported or RequestFailed with its reason."""
    if "unsupported" in answer:
        raise RequestUnsupported(answer["unsupported"])
    if "failed" in answer:
        raise RequestFailed(answer["failed"])
    return answer["result"]
