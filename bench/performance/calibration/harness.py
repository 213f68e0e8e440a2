"""A figure of the harness beside the truth: asking a worker about a model of known cost, and what was found. Imports no torch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.schema import MeasureConfig, Run, SizeConfig, TrainConfig
from bench.performance.worker_client import RequestFailed, RequestUnsupported, WorkerClient

TOLERANCE = (
    0.02  # what seconds, FLOPs and copied bytes may differ by; held bytes may not differ at all
)
MAX_WINDOWS = 12  # windows, of which the least disturbed one counts; one within half the tolerance ends the search
VOCABULARY, CONTEXT, BATCH, PARAMETERS = 8, 8, 2, 80  # of the model around a ruler: next to nothing


class InvalidMeasurement(Exception):
    """The harness gave what can not be right; the message says what."""


@dataclass(frozen=True)
class CalibrationResult:
    """One figure of the harness beside the truth. `came` is None where there was none."""

    name: str
    expected: float
    observed: float | None
    unit: str
    off: bool
    sentence: str


@dataclass
class CalibrationReport:
    """What was found: the rulers one by one, and what can be said of the machine in plain sentences."""

    findings: list[CalibrationResult] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    @property
    def off(self) -> list[CalibrationResult]:
        """The rulers that no figure should be taken with."""
        return [finding for finding in self.findings if finding.off]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "findings": [asdict(finding) for finding in self.findings],
            "sentences": self.sentences,
        }


class ReferenceTime(NamedTuple):
    """What a ruler noted of an interval: forwards, seconds by its own clock, seconds of processor time."""

    forwards: int
    wall: float
    cpu: float


@dataclass
class ReferenceClock:
    """Where a ruler in a worker notes the end of each forward."""

    path: Path

    def last(self, tokens: float) -> ReferenceTime:
        """The last forwards that saw so many tokens together. Raises Bad where no such forwards end here."""
        lines = [line.split() for line in self.path.read_text(encoding="ascii").splitlines()]
        seen, at = 0, len(lines)
        while at > 1 and seen < tokens:
            at -= 1
            seen += int(lines[at][0])
        if seen != tokens:
            raise InvalidMeasurement(
                f"the harness counted {tokens:g} tokens, where the model saw {seen}"
            )
        before, after = ([float(word) for word in lines[place]] for place in (at - 1, -1))
        return ReferenceTime(len(lines) - at, after[1] - before[1], after[2] - before[2])


# --- asking -----------------------------------------------------------------------------------------------------------


class CalibrationHarness:
    """A worker that one ruler after another is given to, and what was found with it."""

    def __init__(self, worker: WorkerClient, threads: int, device: str, folder: Path) -> None:
        self.worker, self.threads, self.device = worker, threads, device
        self.logbook = ReferenceClock(folder / "logbook")
        self.found = CalibrationReport()
        self.facts: dict[str, Any] = {}

    def prepare(self, ruler: str, window: float = 0.1, **options: Any) -> None:
        """Let the worker build a ruler. `window`: seconds of a window of training."""
        arch = {
            "_target_": f"bench.performance.calibration.reference_models.{ruler}",
            **options,
            "tune": {"learning_rate": 1e-3},
        }
        run = Run(
            arch=arch,
            size=SizeConfig(parameters=PARAMETERS, context=CONTEXT),
            train=TrainConfig(batch=BATCH, device=self.device),
            measure=MeasureConfig(
                window_seconds=window, lengths=[], batches=[], energy_seconds=0.3
            ),
            names={"arch": ruler.lower(), "data": "none", "size": "own", "objective": "causal"},
            threads=self.threads,
        )
        run.objective.kind = "causal"
        self.facts = self.worker.ask("prepare", run=asdict(run), vocabulary=VOCABULARY)["facts"]

    def window(self, name: str) -> Mapping[str, float]:
        return dict(self.worker.ask("window", name=name))

    def best(self, window: str, clock: str = "wall") -> tuple[ReferenceTime, float, float]:
        """Of some windows the one that a ruler and the harness agree best on: what the ruler noted, then seconds of each."""
        found = []
        for _ in range(MAX_WINDOWS):
            taken = self.window(window)
            spent = self.logbook.last(taken["tokens"])
            own, came = getattr(spent, clock), taken[clock]
            if own <= 0:
                raise InvalidMeasurement("the model's own clock stood still")
            found.append((abs(came / own - 1), spent, own, came))
            if found[-1][0] <= TOLERANCE / 2:
                break
        return min(found, key=lambda one: one[0])[1:]

    def weigh(self) -> Callable[[str], float]:
        """The scales' figures by metric, as numbers. What lacks raises Bad, what has a reason instead of a number Refused."""
        weighed = self.worker.ask("weigh")

        def figure(name: str) -> float:
            value = weighed.get(name)
            if isinstance(value, str):
                raise RequestUnsupported(value)
            if value is None:
                raise InvalidMeasurement(f"the scales gave no {name}")
            return float(value)

        return figure

    def note(
        self,
        name: str,
        expected: float,
        came: float,
        unit: str,
        what: str,
        tolerance: float = TOLERANCE,
    ) -> None:
        """Keep a figure that came, beside what was expected."""
        apart = abs(came / expected - 1)
        truth, said = (
            f"{value:.4g}" if tolerance else f"{value:,.0f}" for value in (expected, came)
        )
        sentence = f"{what}: {truth} {unit} in truth, {said} {unit} by the harness"
        sentence += "." if came == expected else f", {apart:.2%} apart."
        self.found.findings.append(
            CalibrationResult(name, expected, came, unit, not apart <= tolerance, sentence)
        )

    @contextmanager
    def recording(self, name: str, expected: float, unit: str) -> Iterator[None]:
        """What can not be measured at all is off as well; what the system does not tell is said, and puts nothing off."""
        try:
            yield
        except RequestUnsupported as reason:
            self.found.sentences.append(f"The ruler for {name} could not be examined: {reason}.")
        except (InvalidMeasurement, RequestFailed, ValueError, KeyError) as error:
            self.found.findings.append(
                CalibrationResult(
                    name, expected, None, unit, True, f"Measuring {name} gave nothing: {error}."
                )
            )
