"""The doctor: right rulers are found right, and each that is broken on purpose is named, with exit code 1."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import doctor, model
from bench.config.schema import MeasureConfig, Run
from bench.performance import hardware_peak, timing, worker_client
from bench.performance.calibration import checks, harness, reference_models
from bench.performance.calibration.harness import InvalidMeasurement, ReferenceClock
from bench.performance.entry import Entry
from bench.performance.hardware_peak import HardwarePeak
from bench.performance.tensor_tracker import TensorTracker
from bench.performance.worker import WorkerServer
from bench.performance.worker_client import RequestFailed, RequestUnsupported
from bench.performance.workload import Workload
from tests.conftest import ROOT, Command, assert_one_error
from tests.lying_worker import FAST

pytestmark = pytest.mark.xdist_group("measure")

ON_THE_WALL = {
    "seconds of a training step",
    "seconds of reading a prompt",
    "seconds of writing a token",
    "FLOPs a second",
    "copied bytes a second",
}


class Here(worker_client.WorkerClient):
    """A worker without a process: the desk itself, spoken to in the same words."""

    def __init__(self, threads: int, limit_seconds: float) -> None:
        self.desk = WorkerServer()

    def ready(self) -> None:
        pass

    def ask(self, what: str, **request: Any) -> Any:
        answer = json.loads(
            json.dumps(self.desk.answer(json.loads(json.dumps({"ask": what, **request}))))
        )
        for key, kind in {"refused": RequestUnsupported, "failed": RequestFailed}.items():
            if key in answer:
                raise kind(answer[key])
        return answer["gave"]

    def end(self) -> None:
        torch.set_flush_denormal(False)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Workers in this process, with a lock that no real measurement uses, and shorter naps and copies."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(worker_client, "WorkerClient", Here)
    monkeypatch.setattr(harness, "MAX_WINDOWS", 4)
    monkeypatch.setattr(checks, "SLEEP_SECONDS", 0.03)
    monkeypatch.setattr(checks, "COPY_BYTES", 8 << 20)
    monkeypatch.setattr(hardware_peak, "COPY_BYTES", {"cpu": 1 << 20})
    monkeypatch.setattr(hardware_peak, "MATRIX_SIDE", {"cpu": 64})
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


# --- through the door -------------------------------------------------------------------------------------------------


def test_right_rulers_are_found_right(run_command: Command, tmp_path: Path) -> None:
    done = run_command("--quick", module="bench.doctor", TMPDIR=str(tmp_path))
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "OFF" not in done.stdout
    for words in (
        "The rulers",
        "This machine",
        "GFLOP/s",
        "GB/s",
        "The noise floor",
        "rulers are right.",
    ):
        assert words in done.stdout, done.stdout
    assert done.stdout.count("\n  right  ") == 13


@pytest.mark.parametrize(
    ("word", "said"),
    [("--quik", "--quik"), ("threads=0", "threads=0 is out of range"), ("threads=x", "'x'")],
)
def test_a_mistake_in_the_command_is_one_line(run_command: Command, word: str, said: str) -> None:
    assert_one_error(run_command(word, module="bench.doctor"), 2, said)


@pytest.mark.slow
def test_a_process_with_a_clock_that_lies_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(worker_client, "MODULE", "tests.lying_worker")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert doctor.main(["--quick"]) == 1
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("OFF: ")
    assert all(name in last for name in ON_THE_WALL)


# --- rulers broken on purpose -----------------------------------------------------------------------------------------


def fast_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(timing, "time", FAST)


def slow_processor_clock(patch: pytest.MonkeyPatch) -> None:
    crooked = SimpleNamespace(
        perf_counter=time.perf_counter, process_time=lambda: 0.9 * time.process_time()
    )
    patch.setattr(timing, "time", crooked)


def forgetful_scales(patch: pytest.MonkeyPatch) -> None:
    """Of the large tensors that it is shown, the first one is overlooked."""
    hold = TensorTracker.hold

    def overlooking(self: TensorTracker, tensor: Tensor, *rest: Any, **more: Any) -> None:
        key = tensor.untyped_storage()._cdata
        if (
            tensor.untyped_storage().nbytes() > 1 << 20
            and vars(self).setdefault("overlooked", key) == key
        ):
            return
        hold(self, tensor, *rest, **more)

    patch.setattr(TensorTracker, "hold", overlooking)


def half_the_formula(patch: pytest.MonkeyPatch) -> None:
    flops = model.LanguageModel.flops
    patch.setattr(model.LanguageModel, "flops", lambda self, *rest: flops(self, *rest) / 2)


def generous_counting(patch: pytest.MonkeyPatch) -> None:
    """Writing is said to have given twice the tokens."""
    decode = Workload.decode

    def generous(self: Workload, batch: int = 1) -> timing.TimedWindow:
        window = decode(self, batch)
        return timing.TimedWindow(2 * window.tokens + 1, window.wall, window.cpu, window.passes)

    patch.setattr(Workload, "decode", generous)


@pytest.mark.parametrize(
    ("lie", "off"),
    [
        (fast_clock, ON_THE_WALL),
        (forgetful_scales, {"bytes kept for the backward", "peak bytes of a training step"}),
        pytest.param(slow_processor_clock, {"processor seconds"}, marks=pytest.mark.slow),
        pytest.param(half_the_formula, {"FLOPs of a forward"}, marks=pytest.mark.slow),
        pytest.param(generous_counting, {"seconds of writing a token"}, marks=pytest.mark.slow),
    ],
)
def test_a_ruler_broken_on_purpose_is_named(
    lie: Callable[[pytest.MonkeyPatch], None],
    off: set[str],
    here: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found: list[checks.CalibrationReport] = []
    examine = checks.calibrate
    monkeypatch.setattr(
        checks, "calibrate", lambda *words: found.append(examine(*words)) or found[-1]
    )
    lie(monkeypatch)
    for _ in range(
        3
    ):  # a busy machine may put a clock off by itself, or hide one lie of several: then it is asked again
        assert doctor.main(["--quick"]) == 1
        last = capsys.readouterr().out.strip().splitlines()[-1]
        if {finding.name for finding in found[-1].off} == off:
            break
    assert {finding.name for finding in found[-1].off} == off
    assert last.startswith("OFF: ")
    assert all(name in last for name in off)
    assert json.loads(json.dumps(found[-1].as_json(), allow_nan=False))["schema"] == 1


def test_a_process_that_does_not_start_is_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "MODULE", "bench.no_such_module")
    (finding,) = checks.calibrate(1, 10.0, quick=True).findings
    assert finding.off
    assert "no_such_module" in finding.sentence


# --- the parts --------------------------------------------------------------------------------------------------------


def test_the_logbook_gives_the_time_between_two_ends_of_forwards(tmp_path: Path) -> None:
    logbook = ReferenceClock(tmp_path / "logbook")
    logbook.path.write_text("8 1.0 0.1\n8 2.0 0.2\n8 2.5 0.25\n8 3.5 0.75\n")
    assert logbook.last(16) == (2, 1.5, pytest.approx(0.55))
    for tokens in (12, 40):
        with pytest.raises(InvalidMeasurement, match="tokens"):
            logbook.last(tokens)


@pytest.mark.parametrize(
    ("kind", "options", "state_bytes"),
    [
        (reference_models.SleepModel, {"seconds": 0.001}, 0),
        (reference_models.ProductModel, {"side": 8, "times": 2}, 0),
        (reference_models.CopyModel, {"size": 16}, 0),
        (
            reference_models.RetainModel,
            {"sizes": [100], "state": 10, "growth": 3},
            2 * (10 + 3 * 5),
        ),
    ],
)
def test_a_ruler_is_an_architecture_like_any_other(
    kind: type, options: dict[str, Any], state_bytes: int
) -> None:
    ruler, x = kind(4, 5, **options), torch.randn(2, 5, 4, requires_grad=True)
    whole, none = ruler(x, lengths=torch.tensor([5, 2]))
    assert none is None
    whole.sum().backward()
    assert torch.equal(whole, x)
    assert torch.equal(x.grad, torch.ones_like(x))
    state = ruler.init_state(2, 5, x)
    assert ruler.state_bytes(state) == state_bytes
    pieces = []
    for piece in x.split([3, 1, 1], dim=1):
        mixed, state = ruler(piece, state)
        pieces.append(mixed)
    assert torch.equal(torch.cat(pieces, 1), whole)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_machine_s_own_rates_count_what_is_done(
    precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware_peak, "MATRIX_SIDE", {"cpu": 16})
    monkeypatch.setattr(hardware_peak, "COPY_BYTES", {"cpu": 1000})
    monkeypatch.setattr(hardware_peak, "WINDOW_SECONDS", 0.05)
    machine = HardwarePeak(torch.device("cpu"), precision)
    for window, amount in ((machine.product(), 2 * 16**3), (machine.copy(), 2 * 1000)):
        assert window.tokens == amount * window.passes
        assert window.passes > 1
        assert window.wall > 0
    first, second, result = machine.factors
    assert result.dtype == precision
    assert torch.equal(result, first @ second)
    assert torch.equal(*machine.places)


@pytest.mark.parametrize(
    ("factor", "said"),
    [(1.0, "differences in speed can be told"), (1.1, "no claim about speed is made")],
)
def test_what_the_noise_floor_says_of_two_identical_models(factor: float, said: str) -> None:
    noise = np.random.default_rng(0).normal(1, 0.005, size=(2, 40))
    seats = [
        SimpleNamespace(
            samples=SimpleNamespace(
                windows={
                    "train": [
                        (i, {"tokens": 1, "wall": w * times, "cpu": w}) for i, w in enumerate(row)
                    ]
                }
            )
        )
        for row, times in zip(noise, (factor, 1.0), strict=True)
    ]
    starts = [0, 10, 20, 30]
    assert said in doctor.compare_entries(seats, starts, "wall")  # type: ignore[arg-type]
    assert "differences in speed can be told" in doctor.compare_entries(seats, starts, "cpu")  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_noise_floor_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NOISE_SECONDS", 3.0)
    doctor.command.register()
    lines = list(doctor.noise_floor_lines(1, quick=False))
    assert lines[0].startswith("Two identical models")
    assert all("95 % interval" in line for line in lines[1:3])


def test_what_a_process_keeps_while_it_lives_is_in_the_noise_floor() -> None:
    kept = np.repeat([1.04, 0.96, 1.05, 0.95], 10)  # 4 % by process, hardly anything by round
    wall = [kept, np.ones(40)]
    rows = [[(i, {"tokens": 1, "wall": w, "cpu": w}) for i, w in enumerate(row)] for row in wall]
    seats = [SimpleNamespace(samples=SimpleNamespace(windows={"train": row})) for row in rows]
    assert "no claim about speed is made" in doctor.compare_entries(seats, [0, 10, 20, 30], "wall")  # type: ignore[arg-type]


def test_two_seats_are_compared_by_token_and_not_by_window() -> None:
    table = [Entry(Run(), 8, MeasureConfig()) for _ in range(2)]
    for seat, steps in zip(table, (7, 8), strict=True):  # what one step takes is the same
        seat.samples.windows["train"] = [
            (round_, {"tokens": 64 * steps, "wall": 0.01 * steps, "cpu": 0.01 * steps})
            for round_ in range(12)
        ]
    assert "one takes 1.0000 of the other's time" in doctor.compare_entries(table, [0, 6], "wall")
