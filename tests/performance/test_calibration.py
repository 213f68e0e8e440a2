"""Calibration: correct measurements pass, and each one broken on purpose fails by name."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import doctor
from bench.config.schema import MeasureConfig, Run
from bench.model.language_model import LanguageModel
from bench.performance import hardware_peak, noise_floor, timing, worker_client
from bench.performance.calibration import checks, harness, page
from bench.performance.calibration.harness import (
    CalibrationReport,
    InvalidMeasurement,
    Quantity,
    ReferenceClock,
)
from bench.performance.calibration.reference_models import ReferenceModel
from bench.performance.entry import Entry
from bench.performance.tensor_tracker import TensorTracker
from bench.performance.timing import TimedWindow
from bench.performance.worker import WorkerServer
from bench.performance.workload import Workload
from tests.conftest import ROOT, Command, assert_one_error
from tests.performance.fast_clock_worker import FAST

pytestmark = pytest.mark.xdist_group("clocks")  # one at a time

BY_WALL_CLOCK = {
    "seconds of a training step",
    "seconds of a prefill",
    "seconds of a decoded token",
    "FLOPs per second",
    "copied bytes per second",
}


class LocalWorker(worker_client.WorkerClient):
    """A worker without a process: the server itself."""

    def __init__(self, threads: int, limit_seconds: float) -> None:
        self.server = WorkerServer()

    def ask(self, request: str, **arguments: Any) -> Any:
        answer = self.server.answer(request, arguments)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        pass


@pytest.fixture
def local_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run workers in this process, with shorter sleeps and smaller copies."""
    monkeypatch.setattr(worker_client, "WorkerClient", LocalWorker)
    monkeypatch.setattr(harness, "MAX_WINDOWS", 4)
    monkeypatch.setattr(checks, "SLEEP_SECONDS", 0.03)
    monkeypatch.setattr(checks, "COPY_BYTES", 8 << 20)
    monkeypatch.setattr(hardware_peak, "COPY_BYTES", {"cpu": 1 << 20})
    monkeypatch.setattr(hardware_peak, "MATRIX_SIDE", {"cpu": 64})


# --- the command ----------------------------------------------------------------------------------


def test_correct_measurements_pass(run_command: Command, tmp_path: Path) -> None:
    done = run_command("--quick", module="bench.doctor", TMPDIR=str(tmp_path))
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "FAILED" not in done.stdout
    assert done.stdout.count("\n  ok ") == 13
    assert "GFLOP/s" in done.stdout
    assert "GB/s" in done.stdout


@pytest.mark.parametrize(
    ("argument", "code"),
    [("--quik", "invalid-command"), ("threads=0", "invalid-value"), ("threads=x", "'x'")],
)
def test_a_mistake_in_the_command_is_one_line(
    run_command: Command, argument: str, code: str
) -> None:
    assert_one_error(run_command(argument, module="bench.doctor"), 2, code)


@pytest.mark.slow
def test_a_worker_with_a_wrong_clock_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker_client, "MODULE", "tests.performance.fast_clock_worker")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert doctor.main(["--quick"]) == 1
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert all(name in last for name in BY_WALL_CLOCK)


# --- measurements broken on purpose ---------------------------------------------------------------


def fast_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(timing, "time", FAST)


def slow_processor_clock(patch: pytest.MonkeyPatch) -> None:
    slow = SimpleNamespace(
        perf_counter=time.perf_counter, process_time=lambda: 0.9 * time.process_time()
    )
    patch.setattr(timing, "time", slow)


def overlooked_tensor(patch: pytest.MonkeyPatch) -> None:
    """Overlook the first large tensor."""
    track = TensorTracker.track

    def overlook(self: TensorTracker, tensor: Tensor, *rest: Any, **options: Any) -> None:
        storage = tensor.untyped_storage()
        is_large = storage.nbytes() > 1 << 20
        if is_large and vars(self).setdefault("overlooked", storage._cdata) == storage._cdata:
            return
        track(self, tensor, *rest, **options)

    patch.setattr(TensorTracker, "track", overlook)


def half_the_flops(patch: pytest.MonkeyPatch) -> None:
    flops = LanguageModel.flops
    patch.setattr(LanguageModel, "flops", lambda self, *rest: flops(self, *rest) / 2)


def double_tokens(patch: pytest.MonkeyPatch) -> None:
    """Count twice the decoded tokens."""
    decode = Workload.decode

    def counted(self: Workload, rows: int = 1) -> TimedWindow:
        window = decode(self, rows)
        return TimedWindow(2 * window.tokens + 1, window.wall, window.cpu, window.passes)

    patch.setattr(Workload, "decode", counted)


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        pytest.param(fast_clock, BY_WALL_CLOCK, marks=pytest.mark.slow),
        (
            overlooked_tensor,
            {"bytes kept for the backward pass", "peak bytes of a training step"},
        ),
        pytest.param(slow_processor_clock, {"processor seconds"}, marks=pytest.mark.slow),
        pytest.param(half_the_flops, {"FLOPs of a forward pass"}, marks=pytest.mark.slow),
        pytest.param(double_tokens, {"seconds of a decoded token"}, marks=pytest.mark.slow),
    ],
)
def test_a_broken_measurement_fails_by_name(
    fault: Callable[[pytest.MonkeyPatch], None],
    failed: set[str],
    local_worker: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault(monkeypatch)
    for _ in range(3):  # a busy machine may fail a clock by itself, or hide one fault of several
        report = checks.calibrate(1, 10.0, quick=True)
        names = {result.name for result in report.failed}
        if names == failed:
            break
    assert names == failed
    assert all(name in page.verdict_line(report) for name in failed)


def test_a_worker_that_does_not_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "MODULE", "bench.no_such_module")
    (result,) = checks.calibrate(1, 10.0, quick=True).results
    assert result.failed
    assert "no_such_module" in result.sentence


# --- parts ----------------------------------------------------------------------------------------


def test_the_report_keeps_the_keys_of_doctor_json() -> None:
    report = CalibrationReport(sentences=["one"])
    report.add(Quantity("seconds", "s", 1.0, "A step"), 1.0, 1.5)
    report.add_failure(Quantity("bytes", "bytes", 2.0), "none")
    content = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert content["schema"] == 1
    assert content["sentences"] == ["one"]
    values = [(f["name"], f["expected"], f["came"], f["off"]) for f in content["findings"]]
    assert values == [("seconds", 1.0, 1.5, True), ("bytes", 2.0, None, True)]
    assert {"unit", "sentence"} < set(content["findings"][0])


def test_the_reference_clock_gives_the_time_between_two_forward_passes(tmp_path: Path) -> None:
    clock = ReferenceClock(tmp_path / "log")
    clock.path.write_text("8 1.0 0.1\n8 2.0 0.2\n8 2.5 0.25\n8 3.5 0.75\n")
    assert clock.last(16) == (2, 1.5, pytest.approx(0.55))
    for tokens in (12, 40):
        with pytest.raises(InvalidMeasurement, match="tokens"):
            clock.last(tokens)


@pytest.mark.parametrize(
    "work", [{"sleep": 0.001}, {"multiply": [8, 2]}, {"copy": 16}, {"retain": [9]}]
)
def test_a_reference_model_is_an_identity_backbone(work: dict[str, Any]) -> None:
    model = ReferenceModel(4, 5, work, state=(10, 3))
    x = torch.randn(2, 5, 4, requires_grad=True)
    output, state = model(x, lengths=torch.tensor([5, 2]))
    assert state is None
    output.sum().backward()
    assert torch.equal(output, x)
    assert torch.equal(x.grad, torch.ones_like(x))
    state = model.init_state(2, 5, x)
    assert model.state_bytes(state) == 2 * (10 + 3 * 5)
    pieces = []
    for piece in x.split([3, 1, 1], dim=1):
        mixed, state = model(piece, state)
        pieces.append(mixed)
    assert torch.equal(torch.cat(pieces, 1), output)


# --- the noise floor ------------------------------------------------------------------------------


def entries_with(*clocks: dict[str, Any]) -> list[Entry]:
    """Return entries with windows of training: arrays of tokens, wall and cpu, a number a round."""
    entries = []
    for arrays in clocks:
        entry = Entry(Run(), 8, MeasureConfig())
        rows = zip(*arrays.values(), strict=True)
        windows = [dict(zip(arrays, row, strict=True)) for row in rows]
        entry.samples.windows["train"] = list(enumerate(windows))
        entries.append(entry)
    return entries


@pytest.mark.parametrize(("factor", "noise"), [(1.0, "0.7 %"), (1.1, "10.2 %")])
def test_the_noise_floor_is_the_end_of_the_interval_farthest_from_one(
    factor: float, noise: str
) -> None:
    first, second = np.random.default_rng(0).normal(1, 0.005, size=(2, 40))
    tokens = np.ones(40)
    entries = entries_with(
        {"tokens": tokens, "wall": first * factor, "cpu": first},
        {"tokens": tokens, "wall": second, "cpu": second},
    )
    starts = [0, 10, 20, 30]
    wall, cpu = (noise_floor.compare_entries(entries, starts, clock) for clock in ("wall", "cpu"))
    assert f"up to {noise} are noise" in wall
    assert "up to 0.7 % are noise" in cpu


def test_differences_between_processes_count_in_the_noise_floor() -> None:
    by_process = np.repeat([1.04, 0.96, 1.05, 0.95], 10)  # 4 %, and hardly anything by round
    entries = entries_with(
        *({"tokens": np.ones(40), "wall": w, "cpu": w} for w in (by_process, np.ones(40)))
    )
    text = noise_floor.compare_entries(entries, [0, 10, 20, 30], "wall")
    half = 3.1824 * np.log([1.04, 0.96, 1.05, 0.95]).std(ddof=1) / 2
    bound = np.exp(half + abs(np.log([1.04, 0.96, 1.05, 0.95]).mean()))
    assert f"up to {100 * (bound - 1):.1f} % are noise" in text


def test_entries_are_compared_per_token() -> None:
    steps = [np.full(12, count) for count in (7, 8)]  # a step takes the same in both
    entries = entries_with(*({"tokens": 64 * s, "wall": 0.01 * s, "cpu": 0.01 * s} for s in steps))
    assert "ratio 1.0000" in noise_floor.compare_entries(entries, [0, 6], "wall")


@pytest.mark.slow
def test_the_noise_floor_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_floor, "SECONDS", 3.0)
    lines = list(noise_floor.measure_noise_floor(1))
    assert len(lines) == 3
    assert all("95 % interval" in line for line in lines[1:])
