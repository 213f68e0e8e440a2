"""One architecture's place in a sitting: its worker, what it gave so far, and what became of it."""

from dataclasses import asdict, dataclass, field
from typing import Any

from bench.config.identity import workload_id
from bench.config.schema import MeasureConfig, Run
from bench.performance.metrics import Samples, parse_kind
from bench.performance.worker_client import (
    RequestFailed,
    RequestUnsupported,
    WorkerClient,
    WorkerDied,
)

REQUIRED = ("prepare", "train")  # without these there is nothing to compare


@dataclass
class Entry:
    """A place in a sitting. The twin is the first one entered again: what they differ by is noise."""

    run: Run
    vocabulary: int
    options: MeasureConfig
    twin: bool = False
    worker: WorkerClient | None = None
    samples: Samples = field(default_factory=Samples)
    environment: dict[str, Any] = field(default_factory=dict)
    status: str = "done"
    reason: str = ""

    @property
    def name(self) -> str:
        """Its folder's name."""
        return f"{self.run.names['arch']}-{workload_id(self.run)}" + ("-again" if self.twin else "")

    def start(self) -> None:
        """Start a worker; it is not waited for."""
        self.stop()
        self.worker = WorkerClient(self.run.threads, self.options.limit_seconds)

    def renew(self) -> None:
        """A fresh process in place of the worker's, with nothing of what it had."""
        try:
            if self.worker is None or not self.worker.renew():
                self.start()
        except (WorkerDied, RequestFailed):
            self.start()

    def stop(self) -> None:
        """End the worker, if there is one."""
        if self.worker is not None:
            self.worker.end()
            self.worker = None

    def leave(self, status: str, reason: str) -> None:
        """Give the place up; the others go on."""
        self.status, self.reason = status, reason
        self.stop()

    def prepare(self, quantity: str = "prepare") -> bool:
        """Let a worker that has been started build its model. Whether it could; `quantity` is what lacks where it could not."""
        assert self.worker is not None
        try:
            self.worker.ready()
        except WorkerDied as error:
            self.record_failure(quantity, error)
            return False
        described = asdict(self.run) | {"measure": asdict(self.options)}
        weighs = (
            quantity == "memory"
        )  # the process itself is weighed too, from before its model is built
        given = self.ask(
            "prepare", quantity, run=described, vocabulary=self.vocabulary, weighs=weighs
        )
        if given is not None:
            self.samples.facts = self.samples.facts or given["facts"]
            self.environment = self.environment or given["environment"]
        return given is not None

    def window(self, kind: str) -> Any:
        """A window of a kind as "train" or "train@length=256"; None, with the reason noted, where there is none."""
        if kind in self.samples.refused or self.status != "done":
            return None
        if self.worker is None:  # the one before died of something else
            self.start()
            if not self.prepare(kind):
                return None
        name, at = parse_kind(kind)
        return self.ask("window", kind, name=name, at=at)

    def ask(self, what: str, quantity: str, **request: Any) -> Any:
        """What its worker gave; None, with the reason noted, where it gave nothing."""
        assert self.worker is not None
        try:
            return self.worker.ask(what, **request)
        except (RequestUnsupported, RequestFailed, WorkerDied) as error:
            self.record_failure(quantity, error)
        return None

    def record_failure(self, quantity: str, error: Exception) -> None:
        """Note why there is no such quantity.

        An architecture that can not be built or trained has nothing to be compared: its place is given up. One whose process ends
        over anything else gets a fresh one when it is asked next.
        """
        self.samples.refused[quantity] = str(error)
        if quantity in REQUIRED:
            said = str(error) if quantity == "prepare" else f"{quantity}: {error}"
            self.leave("skipped" if isinstance(error, RequestUnsupported) else "failed", said)
        elif isinstance(error, WorkerDied):
            self.stop()
