"""Hold one architecture's worker, samples and status within a session."""

from dataclasses import asdict, dataclass, field
from typing import Any

from bench.config import MeasureConfig, Run, workload_id
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
    """Measure one run; `duplicate` marks the second entry of the first run, an A/A control."""

    run: Run
    vocabulary: int
    options: MeasureConfig
    duplicate: bool = False
    worker: WorkerClient | None = None
    samples: Samples = field(default_factory=Samples)
    environment: dict[str, Any] = field(default_factory=dict)
    status: str = "done"
    reason: str = ""

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        suffix = "-again" if self.duplicate else ""
        return f"{self.run.names['arch']}-{workload_id(self.run)}{suffix}"

    def start(self) -> None:
        """Start a worker without waiting for it."""
        self.stop()
        self.worker = WorkerClient(self.run.threads, self.options.limit_seconds)

    def renew(self) -> None:
        """Replace the worker's process by a fresh fork, without imports."""
        try:
            if self.worker is None:
                self.start()
            else:
                self.worker.ask("renew")
        except WorkerDied:
            self.start()

    def stop(self) -> None:
        """End the worker, if there is one."""
        if self.worker is not None:
            self.worker.end()
            self.worker = None

    def prepare(self, quantity: str = "prepare") -> bool:
        """Build the model in the started worker; return whether that worked.

        `quantity`: what is recorded as missing otherwise. For "memory" the worker notes the memory
        of its process before it builds the model.
        """
        arguments = {"vocabulary": self.vocabulary, "tracks_process": quantity == "memory"}
        run = asdict(self.run) | {"measure": asdict(self.options)}
        answer = self.ask("prepare", quantity, run=run, **arguments)
        if answer is not None:
            self.samples.facts = self.samples.facts or answer["facts"]
            self.environment = self.environment or answer["environment"]
        return answer is not None

    def window(self, kind: str) -> Any:
        """Return a window of a kind, as "train" or "train@length=256"; None records the reason."""
        if kind in self.samples.refused or self.status != "done":
            return None
        if self.worker is None:  # the last one died of another request
            self.start()
            if not self.prepare(kind):
                return None
        name, at = parse_kind(kind)
        return self.ask("window", kind, name=name, at=at)

    def ask(self, request: str, quantity: str, **arguments: Any) -> Any:
        """Return the worker's answer; None records the reason under `quantity`.

        Without a required quantity the entry leaves the session. After any other death of its
        worker the next request starts a fresh one.
        """
        assert self.worker is not None
        try:
            return self.worker.ask(request, **arguments)
        except (RequestUnsupported, RequestFailed, WorkerDied) as error:
            self.samples.refused[quantity] = str(error)
            if quantity in REQUIRED:
                self.reason = str(error) if quantity == "prepare" else f"{quantity}: {error}"
                self.status = "skipped" if isinstance(error, RequestUnsupported) else "failed"
            if quantity in REQUIRED or isinstance(error, WorkerDied):
                self.stop()
        return None
