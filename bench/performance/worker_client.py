"""This side of the talk with a worker: ask, wait so long and no longer, and end it by its own process number."""

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
HAS_PROCESS_GROUPS = hasattr(
    os, "killpg"
)  # whether a process and its children can be ended together
START_SECONDS = 300.0  # for the imports, which take their time on a busy machine


class WorkerDied(Exception):
    """The worker is no more; the message says why."""


class RequestUnsupported(Exception):
    """What was asked for can not be given; the message is the reason."""


class RequestFailed(Exception):
    """Something broke while the worker did what was asked; the message is the reason."""


class WorkerClient:
    """A fresh process, and the lines that go to and fro."""

    def __init__(self, threads: int, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 (standard error, open as long as the worker lives: it tells why it died)
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr,
            text=True, encoding="utf-8", errors="replace", env=worker_environment(threads), start_new_session=HAS_PROCESS_GROUPS,
        )  # fmt: skip
        self.answers: queue.Queue[str | None] = queue.Queue()
        self.listener = Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(None)

    def ready(self) -> None:
        """Wait until it has imported everything. Raises Ended."""
        self._hear(START_SECONDS)

    def ask(self, what: str, **request: Any) -> Any:
        """What the worker gave. Raises Refused and Failed with its reason, and Ended where it hangs or dies."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"ask": what, **request}, default=str) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise WorkerDied(self._death()) from None
        answer = self._hear(self.limit_seconds)
        if "refused" in answer:
            raise RequestUnsupported(answer["refused"])
        if "failed" in answer:
            raise RequestFailed(answer["failed"])
        return answer["gave"]

    def renew(self) -> bool:
        """A fresh process in place of the present one, in no time; whether this system can do that. Raises Ended."""
        if not hasattr(os, "fork"):
            return False
        self.ask("renew")
        return True

    def _hear(self, seconds: float) -> Mapping[str, Any]:
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.end()
            raise WorkerDied(
                f"did not answer within {seconds:g} s and was ended (measure.limit_seconds sets the limit)"
            ) from None
        if line is None:
            raise WorkerDied(self._death())
        return dict(json.loads(line))

    def _death(self) -> str:
        """Why it died, with the last line that it wrote to standard error."""
        code = self.process.wait(timeout=10)
        self.stderr.seek(0)
        lines = [
            line
            for line in self.stderr.read().decode("utf-8", "replace").splitlines()
            if line.strip()
        ]
        # signal 9 that nobody sent by hand comes from a system that ran out of memory
        how = (
            f"was killed by signal {-code}{' (out of memory?)' * (code == -9)}"
            if code < 0
            else f"ended with exit code {code}"
        )
        return f"its process {how}" + (f": {lines[-1].strip()}" if lines else "")

    def end(self) -> None:
        """End the process, whatever it is doing, and close what belongs to it."""
        if self.process.poll() is None:
            if HAS_PROCESS_GROUPS:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        self.listener.join(timeout=5)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self.stderr.close()
