"""Measuring: workers in turns, what becomes of those that fail, one sitting at a time, and what is written down."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from bench import reading, record
from bench.config import Measure, Run, Size, Train
from bench.identity import subject
from bench.measure import filing, needed, sit, speed
from bench.measure.conversation import Ended, Failed, Refused, Worker
from bench.measure.memory import KINDS
from bench.measure.seat import Seat
from bench.measure.sitting import LOCK, only_sitting, seats
from bench.measure.subject import Subject
from bench.measure.worker import Desk
from tests import measure_doubles

pytestmark = pytest.mark.xdist_group("measure")  # they share one sitting

OPTIONS = Measure(rounds=5, window_seconds=0.01, lengths=[4, 16, 24], limit_seconds=10.0)
RATES = ("train_tokens_per_second", "train_tokens_per_cpu_second", "prefill_tokens_per_second", "decode_tokens_per_second")
DOUBLES = ("Sum", "Short", "Encoder", "Hangs", "Dies")


def make_run(double: str, objective: str = "auto") -> Run:
    """A small run of a test double."""
    run = Run(
        arch={"_target_": f"tests.measure_doubles.{double}", "tune": {"learning_rate": 1e-3}},
        size=Size(parameters=3000, context=16),
        train=Train(batch=4, accumulate=2),
        measure=OPTIONS,
        names={"arch": double.lower(), "data": "none", "size": "own", "objective": objective},
    )
    run.objective.kind = objective
    return run


@pytest.fixture(scope="module", autouse=True)
def own_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the lock that no real measurement uses."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("lock")
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def sitting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sitting of every double, in the suite's folder that it returns."""
    suite, runs = tmp_path_factory.mktemp("results") / "suite", [make_run(double) for double in DOUBLES]
    folder = sit([*runs, runs[0]], {subject(run): 30 for run in runs}, suite, OPTIONS)
    assert folder.parent == suite / "measure"
    return suite


def read(suite: Path, double: str, twin: bool = False) -> tuple[dict, dict[str, list[dict]]]:
    """The result of a double, and its metrics by name."""
    name = f"{double.lower()}-{subject(make_run(double))}" + ("-again" if twin else "")
    (path,) = suite.glob(f"measure/*/{name}/result.json")
    result = record.read_json(path)
    metrics: dict[str, list[dict]] = {}
    for metric in result["metrics"]:
        metrics.setdefault(metric["name"], []).append(metric)
    return result, metrics


# --- what is written down ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", [False, True])
def test_every_quantity_has_its_samples_unit_and_rounds(sitting: Path, twin: bool) -> None:
    result, metrics = read(sitting, "Sum", twin)
    assert (result["status"], result["reason"]) == ("done", "")
    for name in RATES:
        (metric,) = metrics[name]
        assert metric["rounds"] == [0, 1, 2, 3, 4], name
        assert len(metric["values"]) == 5, name
        assert min(metric["values"]) > 0
        assert metric["better"] == "higher"
    assert metrics["train_tokens_per_second"][0]["unit"] == "tokens/s"
    assert metrics["train_tokens_per_cpu_second"][0]["unit"] == "tokens/CPU s"
    curve = {metric["at"]["length"]: metric for metric in metrics["decode_seconds_per_token"]}
    assert set(curve) == {4, 16, 24}
    assert all(metric["rounds"] == [0, 4] for metric in curve.values())
    peak = metrics["peak_train_memory_bytes"][0]["values"][0]
    assert peak == sum(metrics[f"memory_{kind}_bytes"][0]["values"][0] for kind in KINDS)
    width = record.read_json(next(sitting.glob("measure/*/sum-*/subject.json")))["width"]
    assert metrics["state_bytes"][0]["values"] == [4.0 * width]
    assert metrics["flops_per_token"][0]["values"] == [2.0 * width**2 + 2 * width * 30]
    assert metrics["parameters"][0]["values"][0] <= 3000


def test_the_first_is_entered_twice_and_the_memory_of_the_twins_is_equal(sitting: Path) -> None:
    (place,) = sitting.glob("measure/*/*-again")
    about = record.read_json(place / "subject.json")
    assert about["twin"]
    assert about["arch"] == "sum"
    assert about["options"]["rounds"] == 5
    assert about["environment"]["openmp_wait_policy"] == "PASSIVE"
    assert about["environment"]["torch_threads"] == 1
    once, again = read(sitting, "Sum")[1], read(sitting, "Sum", twin=True)[1]
    assert once["peak_train_memory_bytes"] == again["peak_train_memory_bytes"]


def test_what_an_encoder_can_not_do_has_its_reason(sitting: Path) -> None:
    result, metrics = read(sitting, "Encoder")
    assert result["status"] == "done"
    assert metrics["train_tokens_per_second"][0]["values"]
    for name in ("prefill_tokens_per_second", "decode_tokens_per_second", "decode_seconds_per_token", "state_bytes"):
        assert all(metric["values"] == [] and metric["note"] == "an encoder keeps no state" for metric in metrics[name]), name


def test_what_fails_in_decoding_alone_leaves_the_rest(sitting: Path) -> None:
    result, metrics = read(sitting, "Short")
    assert result["status"] == "done"
    assert metrics["prefill_tokens_per_second"][0]["values"]
    assert metrics["decode_tokens_per_second"][0]["note"] == "RuntimeError: no single tokens"
    curve = {metric["at"]["length"]: metric for metric in metrics["decode_seconds_per_token"]}
    assert not curve[16]["values"]
    assert "no single tokens" in curve[16]["note"]
    assert "no further than 16 tokens" in curve[24]["note"]


def test_the_worker_tells_refusals_from_failures() -> None:
    desk, run = Desk(), make_run("Encoder", "causal")
    try:
        refused = desk.answer({"ask": "prepare", "run": asdict(run), "vocabulary": 30})
        small = asdict(run) | {"size": {"parameters": 3, "context": 16}}
        failed = desk.answer({"ask": "prepare", "run": small, "vocabulary": 30})
    finally:
        torch.set_flush_denormal(False)
    assert "no causal objective" in refused["refused"]
    assert "parameters" in failed["failed"]
    assert desk.answer({"ask": "dance"})["failed"].startswith("AttributeError")


class Answering(Worker):
    """A worker without a process, that answers with an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def ask(self, what: str, **request: object) -> object:
        raise self.error

    def end(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "quantity", "status", "windows"),
    [
        (Refused("no such objective"), "prepare", "skipped", []),
        (Failed("gave up"), "train", "failed", []),
        (Ended("gone"), "decode", "failed", []),
        (Failed("gave up"), "decode", "done", ["train"]),
        (Ended("gone"), "memory", "done", []),
    ],
)
def test_what_becomes_of_a_seat(error: Exception, quantity: str, status: str, windows: list[str]) -> None:
    seat = Seat(make_run("Sum"), 30, worker=Answering(error), waiting=["train", "decode"])
    assert seat.ask("window", quantity) is None
    assert (seat.status, seat.waiting) == (status, windows)
    assert (str(error) in seat.reason) is (status != "done")


@pytest.mark.parametrize(
    ("double", "reason"),
    [
        ("Hangs", "train: did not answer within 10 s and was ended"),
        ("Dies", "train: its process ended with exit code 7: the last words"),
    ],
)
def test_one_that_fails_is_recorded_and_the_others_stand(sitting: Path, double: str, reason: str) -> None:
    result, metrics = read(sitting, double)
    assert result["status"] == "failed"
    assert result["reason"].startswith(reason)
    assert metrics == {}


def test_the_records_are_read_as_a_table(sitting: Path) -> None:
    table = reading.read(sitting).measures
    rates = table[(table["metric"] == "train_tokens_per_second") & (table["arch"] == "sum")]
    assert sorted(rates["round"]) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert set(rates["twin"]) == {False, True}


# --- when it is needed, and when it may run ---------------------------------------------------------------------------


def test_needed_unless_one_sitting_holds_them_all(sitting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = [make_run("Sum"), make_run("Encoder")]
    assert not needed(done, sitting, OPTIONS)
    assert needed(done, sitting, replace(OPTIONS, rounds=6))
    assert needed([replace(done[0], threads=2)], sitting, OPTIONS)
    assert needed([*done, make_run("Hangs")], sitting, OPTIONS)
    assert needed(done, tmp_path, OPTIONS)
    assert not needed(done, tmp_path, replace(OPTIONS, depth="off"))
    monkeypatch.setattr("bench.machine.machine_digest", lambda: "another1")
    assert needed(done, sitting, OPTIONS)


def test_needed_again_when_a_source_has_changed(sitting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert filing._module_file("tests.measure_doubles.Sum") == Path(measure_doubles.__file__)
    assert filing._module_file("architectures.interface.Backbone") == filing.ROOT / "architectures" / "interface.py"
    assert filing._module_file("no_such_module.Model") is None
    monkeypatch.setattr(filing, "_module_file", lambda target: None)  # as good as other content
    assert needed([make_run("Sum")], sitting, OPTIONS)


def test_a_second_sitting_waits_for_the_first_and_says_so() -> None:
    said: list[str] = []
    inside, waiting = threading.Event(), threading.Event()

    def second() -> None:
        with only_sitting(lambda line: (said.append(line), waiting.set())[0]):
            inside.set()

    first = FileLock(Path(tempfile.gettempdir()) / LOCK)
    with first:
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        assert not inside.is_set()
    thread.join(30)
    assert inside.is_set()
    assert said == ["another measurement runs on this machine: waiting for its end"]


def test_each_subject_has_one_seat_and_the_first_has_two() -> None:
    runs = [make_run("Sum"), make_run("Short"), replace(make_run("Sum"), seed=1)]
    table = seats(runs, {subject(run): 30 for run in runs})
    assert [(seat.run.names["arch"], seat.twin) for seat in table] == [("sum", False), ("short", False), ("sum", True)]
    assert table[-1].name == table[0].name + "-again"


def test_nothing_is_left_running_when_a_sitting_is_stopped(tmp_path: Path) -> None:
    run, begun = make_run("Sum"), []

    def stop(line: str) -> None:
        if "building" in line:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "__init__", _noting(Worker.__init__, begun))
        with pytest.raises(KeyboardInterrupt):
            sit([run], {subject(run): 30}, tmp_path, OPTIONS, stop)
    assert len(begun) == 2
    assert all(worker.process.poll() is not None for worker in begun)
    assert not list(tmp_path.iterdir())


def _noting(start: Callable[..., None], begun: list[Worker]) -> Callable[..., None]:
    def noted(worker: Worker, *arguments: object) -> None:
        start(worker, *arguments)
        begun.append(worker)

    return noted


# --- the clock and the model ------------------------------------------------------------------------------------------


def test_a_window_knows_waiting_from_working() -> None:
    window = speed.clocked(lambda: time.sleep(0.05), 10, torch.device("cpu"))
    assert window.tokens == 10
    assert window.wall >= 0.05
    assert window.cpu < window.wall


def test_writing_from_a_state_goes_on_where_reading_stopped() -> None:
    subject_ = Subject(make_run("Sum"), 30)
    prompt = subject_.prompt(6)
    token, state = speed.prefill(subject_.model, prompt, 16)
    with torch.no_grad():
        logits, _ = subject_.model(prompt)
        assert torch.equal(token, logits[:, -1:].argmax(-1))
        following, _ = speed.write(subject_.model, token, state, 1)
        assert torch.equal(following, subject_.model(torch.cat([prompt, token], 1))[0][:, -1:].argmax(-1))


def test_training_hardly_moves_what_is_measured() -> None:
    subject_ = Subject(make_run("Sum"), 30)
    before = subject_.model.embedding.weight.detach().clone()
    subject_.train()
    assert (subject_.model.embedding.weight - before).abs().max() < 1e-2


def test_measuring_is_imported_without_torch() -> None:
    script = "import sys, bench.measure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
