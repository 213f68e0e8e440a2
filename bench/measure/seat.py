"""One architecture's place in a sitting: its worker, what it gave so far, and what became of it."""

from dataclasses import dataclass, field
from typing import Any

from bench.config import Run
from bench.identity import subject
from bench.measure.conversation import Ended, Failed, Refused, Worker
from bench.measure.figures import Samples


@dataclass
class Seat:
    """A place in a sitting. The twin is the first one entered again: what they differ by is noise."""

    run: Run
    vocabulary: int
    twin: bool = False
    worker: Worker | None = None
    samples: Samples = field(default_factory=Samples)
    environment: dict[str, Any] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)  # names of the windows it can still be asked for
    status: str = "done"
    reason: str = ""

    @property
    def name(self) -> str:
        """Its folder's name."""
        return f"{self.run.names['arch']}-{subject(self.run)}" + ("-again" if self.twin else "")

    def leave(self, status: str, reason: str) -> None:
        """End its worker; the others go on."""
        self.status, self.reason, self.waiting = status, reason, []
        if self.worker is not None:
            self.worker.end()
            self.worker = None

    def ask(self, what: str, quantity: str, **request: Any) -> Any:
        """What its worker gave; None, with the reason noted, where it gave nothing.

        An architecture that can not be trained has nothing to be compared: its place is given up.
        """
        assert self.worker is not None
        try:
            return self.worker.ask(what, **request)
        except Ended as error:
            self.samples.refused[quantity] = str(error)
            if quantity == "memory":  # the last pass: the rates stand without it
                self.leave("done", "")
            else:
                self.leave("failed", f"{quantity}: {error}")
        except (Refused, Failed) as error:
            if quantity in ("prepare", "train"):
                self.leave("skipped" if isinstance(error, Refused) else "failed", str(error))
            self.samples.refused[quantity] = str(error)
            self.waiting = [window for window in self.waiting if window != quantity]
        return None
