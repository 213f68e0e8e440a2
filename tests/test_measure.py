"""Measuring: workers in turns, what becomes of those that fail, one sitting at a time, and what is written down."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from bench.config import plugins
from bench.config.identity import workload_id
from bench.config.schema import MeasureConfig, Run, SizeConfig, TrainConfig
from bench.performance import needs_measuring, run_session, timing
from bench.performance.entry import Entry
from bench.performance.length_sweep import extrapolate_seconds, skip_reasons
from bench.performance.memory import MEMORY_KINDS
from bench.performance.rounds import (
    MirroredOrder,
    is_precise,
    median_interval_rank,
    relative_half_width,
)
from bench.performance.session import LOCK_NAME, exclusive_session, limit_processes, make_entries
from bench.performance.worker import WorkerServer
from bench.performance.worker_client import (
    RequestFailed,
    RequestUnsupported,
    WorkerClient,
    WorkerDied,
)
from bench.performance.workload import Workload
from bench.records import source, store, tables
from bench.system.signals import Terminated
from tests import measure_doubles

pytestmark = pytest.mark.xdist_group("measure")  # they share one sitting

OPTIONS = MeasureConfig(
    processes=1,
    rounds=5,
    window_seconds=0.01,
    side_rounds=2,
    batches=[3],
    lengths=[4, 16, 24, 32],
    curve_rounds=2,
    energy_seconds=0.01,
    limit_seconds=12.0,
)
RATES = (
    "train_tokens_per_second",
    "train_tokens_per_cpu_second",
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
)
DOUBLES = ("Sum", "Short", "Encoder", "Greedy", "Hangs", "Dies")


def make_run(double: str, objective: str = "auto") -> Run:
    """A small run of a test double."""
    run = Run(
        arch={"_target_": f"tests.measure_doubles.{double}", "tune": {"learning_rate": 1e-3}},
        size=SizeConfig(parameters=3000, context=16),
        train=TrainConfig(batch=4, accumulate=2),
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
    suite, runs = (
        tmp_path_factory.mktemp("results") / "suite",
        [make_run(double) for double in DOUBLES],
    )
    folder = run_session([*runs, runs[0]], {workload_id(run): 30 for run in runs}, suite, OPTIONS)
    assert folder is not None
    assert folder.parent == suite / "measure"
    return suite


def read(suite: Path, double: str, twin: bool = False) -> tuple[dict, dict[str, list[dict]]]:
    """The result of a double, and its metrics by name."""
    name = f"{double.lower()}-{workload_id(make_run(double))}" + ("-again" if twin else "")
    (path,) = suite.glob(f"measure/*/{name}/result.json")
    result = store.read_json(path)
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
        (metric,) = (metric for metric in metrics[name] if not metric["at"])
        assert metric["rounds"] == [0, 1, 2, 3, 4], name
        assert len(metric["values"]) == 5, name
        assert min(metric["values"]) > 0
        assert metric["better"] == "higher"
    assert metrics["train_tokens_per_second"][0]["unit"] == "tokens/s"
    assert metrics["train_tokens_per_cpu_second"][0]["unit"] == "tokens/CPU s"
    width = store.read_json(next(sitting.glob("measure/*/sum-*/subject.json")))["width"]
    assert metrics["flops_per_token"][0]["values"] == [2.0 * width**2 + 2 * width * 30]
    assert metrics["parameters"][0]["values"][0] <= 3000


def test_what_stands_beside_the_rates(sitting: Path) -> None:
    _, metrics = read(sitting, "Sum")
    for name in (
        "forward_seconds",
        "backward_seconds",
        "optimizer_seconds",
        "product_flops_per_second",
        "copy_bytes_per_second",
    ):
        (metric,) = metrics[name]
        assert metric["rounds"] == [0, 1], name
        assert min(metric["values"]) > 0
    assert {metric["at"].get("batch") for metric in metrics["decode_tokens_per_second"]} == {
        None,
        3,
    }
    assert {
        metric["at"].get("batch")
        for metric in metrics["first_token_seconds"]
        if "length" not in metric["at"]
    } == {None, 3}
    assert 16 in {
        metric["at"].get("batch") for metric in metrics["train_tokens_per_second"]
    }  # four times the recipe's
    assert metrics["first_step_seconds"][0]["values"][0] > 0
    peak = metrics["peak_train_memory_bytes"][0]["values"][0]
    assert peak == sum(metrics[f"memory_{kind}_bytes"][0]["values"][0] for kind in MEMORY_KINDS)
    (joules,) = metrics["train_joules_per_token"]
    assert joules["values"] or joules["note"].startswith("not available")


def test_curves_have_a_point_at_each_length(sitting: Path) -> None:
    _, metrics = read(sitting, "Sum")
    for name in ("train_tokens_per_second", "first_token_seconds", "decode_seconds_per_token"):
        curve = {
            metric["at"]["length"]: metric for metric in metrics[name] if "length" in metric["at"]
        }
        assert set(curve) == {4, 16, 24, 32}, name
        assert all(metric["rounds"] == [0, 1] for metric in curve.values())
    width = store.read_json(next(sitting.glob("measure/*/sum-*/subject.json")))["width"]
    states = {metric["at"].get("length"): metric["values"] for metric in metrics["state_bytes"]}
    assert all(states[length] == [4.0 * width] for length in (None, 4, 16, 24, 32))


def test_the_first_is_entered_twice(sitting: Path) -> None:
    (place,) = sitting.glob("measure/*/*-again")
    about = store.read_json(place / "subject.json")
    assert about["twin"]
    assert about["arch"] == "sum"
    assert about["options"]["rounds"] == 5
    assert about["environment"]["openmp_wait_policy"] == "PASSIVE"
    assert about["environment"]["torch_threads"] == 1
    assert (
        "product_flops_per_second" not in read(sitting, "Sum", twin=True)[1]
    )  # only what ratios are formed of
    assert (place.parent / "doctor.json").is_file()


def test_what_an_encoder_can_not_do_has_its_reason(sitting: Path) -> None:
    result, metrics = read(sitting, "Encoder")
    assert result["status"] == "done"
    assert metrics["train_tokens_per_second"][0]["values"]
    for name in (
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "decode_seconds_per_token",
        "state_bytes",
    ):
        assert all(
            metric["values"] == [] and metric["note"] == "an encoder keeps no state"
            for metric in metrics[name]
        ), name


def test_what_fails_in_decoding_alone_leaves_the_rest(sitting: Path) -> None:
    result, metrics = read(sitting, "Short")
    assert result["status"] == "done"
    assert metrics["prefill_tokens_per_second"][0]["values"]
    assert metrics["decode_tokens_per_second"][0]["note"] == "RuntimeError: no single tokens"
    trained = {
        metric["at"]["length"]: metric
        for metric in metrics["train_tokens_per_second"]
        if "length" in metric["at"]
    }
    assert trained[16]["values"]
    assert "no further than 16 tokens" in trained[24]["note"]
    curve = {metric["at"]["length"]: metric for metric in metrics["decode_seconds_per_token"]}
    assert not curve[16]["values"]
    assert "no single tokens" in curve[16]["note"]


def test_one_that_dies_at_a_length_keeps_everything_else(sitting: Path) -> None:
    result, metrics = read(sitting, "Greedy")
    assert result["status"] == "done"
    assert metrics["train_tokens_per_second"][0]["values"]
    assert metrics["peak_train_memory_bytes"][0]["values"], "a fresh process weighed it"
    trained = {
        metric["at"]["length"]: metric
        for metric in metrics["train_tokens_per_second"]
        if "length" in metric["at"]
    }
    assert trained[16]["values"]
    assert "was killed by signal 9 (out of memory?)" in trained[24]["note"]
    assert trained[32]["note"].startswith("left out: at 24: its process was killed")
    read_ = {
        metric["at"]["length"]: metric
        for metric in metrics["first_token_seconds"]
        if "length" in metric["at"]
    }
    assert read_[32]["values"], "only training takes so much"


def test_the_worker_tells_refusals_from_failures() -> None:
    desk, run = WorkerServer(), make_run("Encoder", "causal")
    try:
        refused = desk.answer({"ask": "prepare", "run": asdict(run), "vocabulary": 30})
        small = asdict(run) | {"size": {"parameters": 3, "context": 16}}
        failed = desk.answer({"ask": "prepare", "run": small, "vocabulary": 30})
    finally:
        torch.set_flush_denormal(False)
    assert "no causal objective" in refused["refused"]
    assert "parameters" in failed["failed"]
    assert desk.answer({"ask": "dance"})["failed"].startswith("AttributeError")


@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="no fork on this system: a worker is started anew instead"
)
def test_a_renewed_worker_is_another_process_and_none_is_left_over() -> None:
    seat = Entry(make_run("Sum"), 30, OPTIONS)
    seat.start()
    assert seat.worker is not None
    started, pids = seat.worker.process, list[int]()
    for _ in range(3):
        assert seat.prepare()
        assert seat.window("train")["tokens"] > 0
        pids.append(seat.environment["pid"])
        seat.environment = {}
        seat.renew()
    assert seat.worker.process is started, "only what computes is new"
    assert len({*pids, started.pid}) == 4
    assert seat.prepare()
    last = seat.environment["pid"]
    os.kill(last, signal.SIGKILL)
    assert seat.window("decode") is None
    assert "killed by signal 9" in seat.samples.refused["decode"]
    assert started.poll() is not None
    for pid in (*pids, last):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class Answering(WorkerClient):
    """A worker without a process, that answers with an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def ask(self, what: str, **request: object) -> object:
        raise self.error

    def end(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "quantity", "status", "seated"),
    [
        (RequestUnsupported("no such objective"), "prepare", "skipped", False),
        (RequestFailed("gave up"), "train", "failed", False),
        (WorkerDied("gone"), "decode", "done", False),
        (RequestFailed("gave up"), "decode", "done", True),
        (WorkerDied("gone"), "memory", "done", False),
    ],
)
def test_what_becomes_of_a_seat(error: Exception, quantity: str, status: str, seated: bool) -> None:
    seat = Entry(make_run("Sum"), 30, OPTIONS, worker=Answering(error))
    assert seat.ask("window", quantity) is None
    assert (seat.status, seat.worker is not None) == (status, seated)
    assert seat.samples.refused[quantity] == str(error)
    assert (str(error) in seat.reason) is (status != "done")


def seat_with(kind: str, walls: dict[int, float], **options: float) -> Entry:
    """A seat with windows of a kind: seconds a pass by length (or by round, where there is no length)."""
    seat = Entry(make_run("Sum"), 30, replace(OPTIONS, **options))
    for key, wall in walls.items():
        seat.samples.windows.setdefault(kind.format(key), []).append(
            (key, {"tokens": 1.0, "wall": wall, "cpu": wall, "passes": 1})
        )
    return seat


def test_a_length_that_would_take_too_long_is_left_out() -> None:
    seat = seat_with("train@length={}", {64: 0.2, 128: 0.6}, point_seconds=1.5)
    assert extrapolate_seconds({64: 0.2, 128: 0.6}, 256) == pytest.approx(1.8)
    assert extrapolate_seconds({64: 0.2, 128: 0.6}, 512) == pytest.approx(5.4)
    (said,) = skip_reasons(seat, [64, 128], 256).values()
    assert said == "left out: one pass would take about 2 s, more than measure.point_seconds=1.5"
    assert not skip_reasons(
        seat_with("train@length={}", {64: 0.2, 128: 0.3}, point_seconds=1.5), [64, 128], 256
    )


def test_rounds_end_when_the_ratio_is_known() -> None:
    first = seat_with("train", dict.fromkeys(range(20), 1.0))
    still = seat_with("train", {round_: 2.0 + 0.001 * (round_ % 3) for round_ in range(20)})
    noisy = seat_with("train", {round_: 2.0 + 0.5 * (round_ % 3) for round_ in range(20)})
    few = seat_with("train", dict.fromkeys(range(3), 2.0))
    assert is_precise([first, still], "train", 0.01)
    assert not is_precise([first, still, noisy], "train", 0.01)
    assert not is_precise([first, few], "train", 0.01)


def test_the_interval_of_the_stopping_rule_covers() -> None:
    random = np.random.default_rng(0)
    draws = random.standard_normal((2000, 40)) * 0.1 + 1.0
    low = median_interval_rank(40)
    inside = [np.sort(draw)[low] <= 1.0 <= np.sort(draw)[39 - low] for draw in draws]
    assert 0.945 <= np.mean(inside) <= 0.99
    widths = [relative_half_width(draw) for draw in draws[:200]]
    assert np.mean(widths) == pytest.approx(1.96 * 1.2533 * 0.1 / np.sqrt(40), rel=0.2)


def test_an_order_and_its_mirror_image_follow_each_other() -> None:
    table, order = [seat_with("train", {}) for _ in range(5)], MirroredOrder()
    rounds = [order.next(table) for _ in range(20)]
    assert all(rounds[n + 1] == rounds[n][::-1] for n in range(0, 20, 2))
    assert len({tuple(id(seat) for seat in turns) for turns in rounds}) > 2


@pytest.mark.parametrize(
    ("double", "reason"),
    [
        ("Hangs", "train: did not answer within 12 s and was ended"),
        ("Dies", "train: its process ended with exit code 7: the last words"),
    ],
)
def test_one_that_fails_is_recorded_and_the_others_stand(
    sitting: Path, double: str, reason: str
) -> None:
    result, metrics = read(sitting, double)
    assert result["status"] == "failed"
    assert result["reason"].startswith(reason)
    assert metrics == {}


def test_the_records_are_read_as_a_table(sitting: Path) -> None:
    table = tables.read_records(sitting).measures
    rates = table[
        (table["metric"] == "train_tokens_per_second")
        & (table["arch"] == "sum")
        & ~table["at"].astype(bool)
    ]
    assert sorted(rates["round"]) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert set(rates["twin"]) == {False, True}


# --- when it is needed, and when it may run ---------------------------------------------------------------------------


def test_needed_unless_one_sitting_holds_them_all(
    sitting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [make_run("Sum"), make_run("Encoder")]
    assert not needs_measuring(done, sitting, OPTIONS)
    assert needs_measuring(done, sitting, replace(OPTIONS, rounds=6))
    assert needs_measuring([replace(done[0], threads=2)], sitting, OPTIONS)
    assert needs_measuring([*done, make_run("Hangs")], sitting, OPTIONS)
    assert needs_measuring(done, tmp_path, OPTIONS)
    assert not needs_measuring(done, tmp_path, replace(OPTIONS, depth="off"))
    monkeypatch.setattr("bench.system.host.machine_digest", lambda: "another1")
    assert needs_measuring(done, sitting, OPTIONS)


def test_needed_again_when_a_source_has_changed(
    sitting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plugins.find_module_file("tests.measure_doubles.Sum") == Path(measure_doubles.__file__)
    assert (
        plugins.find_module_file("architectures.interface.Backbone")
        == source.ROOT / "architectures" / "interface.py"
    )
    assert plugins.find_module_file("no_such_module.Model") is None
    monkeypatch.setattr(source, "find_module_file", lambda target: None)  # as good as other content
    assert needs_measuring([make_run("Sum")], sitting, OPTIONS)


def test_a_second_sitting_waits_for_the_first_and_says_so() -> None:
    said: list[str] = []
    inside, waiting = threading.Event(), threading.Event()

    def second() -> None:
        with exclusive_session(lambda line: (said.append(line), waiting.set())[0]):
            inside.set()

    first = FileLock(Path(tempfile.gettempdir()) / LOCK_NAME)
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
    table = make_entries(runs, {workload_id(run): 30 for run in runs}, OPTIONS)
    assert [(seat.run.names["arch"], seat.twin) for seat in table] == [
        ("sum", False),
        ("short", False),
        ("sum", True),
    ]
    assert table[-1].name == table[0].name + "-again"
    encoder = replace(runs[1], arch=runs[1].arch | {"family": "encoder"})
    table = make_entries(
        [encoder, runs[0]], {workload_id(run): 30 for run in (encoder, runs[0])}, OPTIONS
    )
    assert [seat.run.names["arch"] for seat in table] == [
        "sum",
        "short",
        "sum",
    ]  # an encoder has no rate of writing to compare


@pytest.mark.parametrize(("count", "processes"), [(2, 6), (8, 6), (12, 5), (20, 3), (34, 3)])
def test_many_architectures_get_fewer_processes_each(count: int, processes: int) -> None:
    assert limit_processes(MeasureConfig(processes=6), count).processes == processes
    assert limit_processes(MeasureConfig(processes=1), count).processes == 1


def test_nothing_is_left_running_when_a_sitting_is_stopped(tmp_path: Path) -> None:
    run, begun = make_run("Sum"), []

    def stop(line: str) -> None:
        if "building" in line:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerClient, "__init__", _noting(WorkerClient.__init__, begun))
        with pytest.raises(KeyboardInterrupt):
            run_session([run], {workload_id(run): 30}, tmp_path, OPTIONS, stop)
    assert len(begun) == 2
    assert all(worker.process.poll() is not None for worker in begun)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("when", "weighed"), [("parts of a step", False), ("the rulers themselves", True)]
)
def test_what_was_measured_until_a_sitting_is_stopped_is_kept_and_taken_again(
    when: str, weighed: bool, tmp_path: Path
) -> None:
    run, told = make_run("Sum"), list[str]()

    def stop(line: str) -> None:
        told.append(line)
        if when in line:
            raise Terminated(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run_session([run], {workload_id(run): 30}, tmp_path, OPTIONS, stop)
    result, metrics = read(tmp_path, "Sum")
    assert (result["status"], len(metrics["train_tokens_per_second"][0]["values"])) == ("done", 5)
    assert bool(metrics["peak_train_memory_bytes"][0]["values"]) == weighed
    assert told[-1].startswith("stopped: what was measured until now is kept in ")
    (about,) = (
        store.read_json(path)
        for path in tmp_path.glob("measure/*/sum-*/subject.json")
        if "-again" not in str(path)
    )
    assert about["surroundings"]["stopped"] is True
    assert about["surroundings"]["process_starts"][0] == 0
    assert needs_measuring([run], tmp_path, OPTIONS)


def _noting(start: Callable[..., None], begun: list[WorkerClient]) -> Callable[..., None]:
    def noted(worker: WorkerClient, *arguments: object) -> None:
        start(worker, *arguments)
        begun.append(worker)

    return noted


# --- the clock and the model ------------------------------------------------------------------------------------------


def test_a_window_knows_waiting_from_working() -> None:
    window = timing.time_work(lambda: time.sleep(0.02), 10, torch.device("cpu"), passes=3)
    assert (window.tokens, window.passes) == (30, 3)
    assert window.wall >= 0.06
    assert window.cpu < window.wall


def test_writing_from_a_state_goes_on_where_reading_stopped() -> None:
    subject_ = Workload(make_run("Sum"), 30)
    prompt = subject_.prompt(6)
    token, state = timing.prefill(subject_.model, prompt, 16)
    with torch.no_grad():
        logits, _ = subject_.model(prompt)
        assert torch.equal(token, logits[:, -1:].argmax(-1))
        following, _ = timing.decode(subject_.model, token, state, 1)
        assert torch.equal(
            following, subject_.model(torch.cat([prompt, token], 1))[0][:, -1:].argmax(-1)
        )


def test_training_hardly_moves_what_is_measured() -> None:
    subject_ = Workload(make_run("Sum"), 30)
    before = subject_.model.embedding.weight.detach().clone()
    subject_.train()
    assert (subject_.model.embedding.weight - before).abs().max() < 1e-2


def test_measuring_is_imported_without_torch() -> None:
    script = "import sys, bench.performance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
