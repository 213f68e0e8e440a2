"""Compare what a worker measures of a reference model with its known cost. Imports no torch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.config import MeasureConfig, Run, SizeConfig, TrainConfig
from bench.performance.worker_client import RequestFailed, RequestUnsupported, WorkerClient

TOLERANCE = 0.02  # of seconds, FLOPs and copied bytes; retained bytes must be exact
MAX_WINDOWS = 12  # the least disturbed counts; one within half the tolerance ends the search
VOCABULARY, CONTEXT, BATCH, PARAMETERS = 8, 8, 2, 80  # of the negligible model around the backbone


class InvalidMeasurement(Exception):
    """A measurement cannot be right; the message says why."""


@dataclass(frozen=True)
class Quantity:
    """Name a known quantity; `subject` begins its sentence in the report."""

    name: str
    unit: str
    expected: float
    subject: str = ""
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class CalibrationResult:
    """Hold a measured quantity beside its true value; `observed` is None where there is none."""

    name: str
    expected: float
    observed: float | None
    unit: str
    failed: bool
    sentence: str


@dataclass
class CalibrationReport:
    """Hold the results of all reference models, and sentences about the machine."""

    results: list[CalibrationResult] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[CalibrationResult]:
        """Return the results outside their tolerance."""
        return [result for result in self.results if result.failed]

    def as_json(self) -> dict[str, Any]:
        """Return the form of doctor.json."""
        keys = {"observed": "came", "failed": "off"}
        findings = [
            {keys.get(name, name): value for name, value in asdict(result).items()}
            for result in self.results
        ]
        return {"schema": 1, "findings": findings, "sentences": self.sentences}

    def add(self, quantity: Quantity, expected: float, observed: float) -> None:
        """Compare an observed value with the expected one."""
        difference = abs(observed / expected - 1)
        digits = ".4g" if quantity.tolerance else ",.0f"
        sentence = (
            f"{quantity.subject}: expected {expected:{digits}} {quantity.unit}, "
            f"measured {observed:{digits}} {quantity.unit}"
            + ("." if observed == expected else f", {difference:.2%} apart.")
        )
        failed = not difference <= quantity.tolerance  # NaN fails
        self.results.append(
            CalibrationResult(quantity.name, expected, observed, quantity.unit, failed, sentence)
        )

    def add_failure(self, quantity: Quantity, sentence: str) -> None:
        """Add a quantity that could not be measured."""
        self.results.append(
            CalibrationResult(quantity.name, quantity.expected, None, quantity.unit, True, sentence)
        )


class ReferenceTime(NamedTuple):
    """Hold what a reference model logged of an interval: forward passes, seconds, CPU seconds."""

    forwards: int
    wall: float
    cpu: float


@dataclass
class ReferenceClock:
    """Read the file to which a reference model logs the end of each forward pass."""

    path: Path

    def last(self, tokens: float) -> ReferenceTime:
        """Return the last forward passes over `tokens` tokens. Raise InvalidMeasurement."""
        lines = [line.split() for line in self.path.read_text(encoding="ascii").splitlines()]
        seen, first = 0, len(lines)
        while first > 1 and seen < tokens:
            first -= 1
            seen += int(lines[first][0])
        if seen != tokens:
            raise InvalidMeasurement(
                f"the harness counted {tokens:g} tokens, where the model saw {seen}"
            )
        before, after = ([float(word) for word in lines[place]] for place in (first - 1, -1))
        return ReferenceTime(len(lines) - first, after[1] - before[1], after[2] - before[2])


class CalibrationHarness:
    """Measure one reference model after another in a worker."""

    def __init__(self, worker: WorkerClient, threads: int, device: str, folder: Path) -> None:
        self.worker, self.threads, self.device = worker, threads, device
        self.clock = ReferenceClock(folder / "reference_clock")
        self.report = CalibrationReport()
        self.facts: dict[str, Any] = {}

    def prepare(self, work: dict[str, Any], window: float = 0.1, **options: Any) -> None:
        """Build a reference model in the worker; `window`: seconds of a training window."""
        target = "bench.performance.calibration.reference_models.ReferenceModel"
        run = Run(
            arch={"_target_": target, "work": work, **options, "tune": {"learning_rate": 1e-3}},
            size=SizeConfig(parameters=PARAMETERS, context=CONTEXT),
            train=TrainConfig(batch=BATCH, device=self.device),
            measure=MeasureConfig(
                window_seconds=window, lengths=[], batches=[], energy_seconds=0.3
            ),
            names={"arch": "reference", "data": "none", "size": "own", "objective": "causal"},
            threads=self.threads,
        )
        run.objective.kind = "causal"
        self.facts = self.worker.ask("prepare", run=asdict(run), vocabulary=VOCABULARY)["facts"]

    def window(self, name: str) -> Mapping[str, float]:
        """Measure a window of a kind."""
        return dict(self.worker.ask("window", name=name, at={}))

    def seconds_per_forward(self, kind: str, clock: str = "wall") -> tuple[float, float]:
        """Return seconds per forward pass, by the model and by the harness.

        Of several windows, return the one on which they agree best.
        """
        best, difference = (0.0, 0.0), float("inf")
        for _ in range(MAX_WINDOWS):
            window = self.window(kind)
            reference = self.clock.last(window["tokens"])
            expected, observed = getattr(reference, clock), window[clock]
            if expected <= 0:
                raise InvalidMeasurement("the model's own clock stood still")
            if abs(observed / expected - 1) < difference:
                difference = abs(observed / expected - 1)
                best = expected / reference.forwards, observed / reference.forwards
            if difference <= TOLERANCE / 2:
                break
        return best

    def memory(self) -> Callable[[str], float]:
        """Measure the memory metrics; return a function from a metric's name to its number.

        That raises InvalidMeasurement for a missing metric, RequestUnsupported for one that has a
        reason instead of a number.
        """
        metrics = self.worker.ask("memory")

        def value(name: str) -> float:
            number = metrics.get(name)
            if isinstance(number, str):
                raise RequestUnsupported(number)
            if number is None:
                raise InvalidMeasurement(f"{name} was not measured")
            return float(number)

        return value

    def check(self, quantity: Quantity, measure: Callable[[], tuple[float, float]]) -> None:
        """Add what `measure` returns, an expected and an observed value, to the report."""
        with self.failures_reported(quantity):
            self.report.add(quantity, *measure())

    @contextmanager
    def failures_reported(self, quantity: Quantity) -> Iterator[None]:
        """Report a failed measurement as failed, and one that the system lacks as a sentence."""
        name = quantity.name
        try:
            yield
        except RequestUnsupported as reason:
            self.report.sentences.append(f"Measuring {name} could not be checked: {reason}.")
        except (InvalidMeasurement, RequestFailed, ValueError, KeyError) as error:
            self.report.add_failure(quantity, f"Measuring {name} gave no number: {error}.")
