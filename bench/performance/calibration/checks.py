"""The rulers examined: models of known cost go through a worker like any other, and its figures are held against the truth.

Imports no torch. A busy machine puts no ruler off: what is compared is what the harness says of an interval with what a clock of
the model's own says of the same one (see rulers.py), and of several windows the one that was disturbed least counts.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.performance import worker_client
from bench.performance.calibration.harness import (
    BATCH,
    CONTEXT,
    CalibrationHarness,
    CalibrationReport,
    CalibrationResult,
)
from bench.performance.worker_client import RequestFailed, RequestUnsupported, WorkerDied
from bench.system import host_state

SLEEP_SECONDS = 0.1  # seconds that a forward sleeps: the harness's own work in a training step is about 1 % of that
MATRIX_SIDE, MATRIX_PRODUCTS = 256, 30  # matrix products of a forward: 1 GFLOP
COPY_BYTES = 32 << 20  # bytes that a forward copies: as many are read as written
RETAINED_BYTES = (
    [3 << 20],
    [5 << 20, (2 << 20) + 512],
)  # bytes of the tensors held by two models: what they differ by is known exactly
STATE_BYTES, STATE_GROWTH_BYTES = 1000, 24  # bytes of the state of a sequence, at all and a token


# --- the rulers -------------------------------------------------------------------------------------------------------


def check_seconds(bench: CalibrationHarness) -> None:
    """A model that sleeps, trained, read with and written with."""
    bench.prepare(
        "Sleep", 2 * SLEEP_SECONDS, seconds=SLEEP_SECONDS, logbook=str(bench.logbook.path)
    )
    names = {"train": "a training step", "prefill": "reading a prompt", "decode": "writing a token"}
    for window, name in names.items():
        with bench.recording(f"seconds of {name}", SLEEP_SECONDS, "s"):
            spent, own, came = bench.best(window)
            what = f"{name.capitalize()} with a model that sleeps {SLEEP_SECONDS:g} s"
            bench.note(f"seconds of {name}", own / spent.forwards, came / spent.forwards, "s", what)


def check_products(bench: CalibrationHarness) -> None:
    """A model that multiplies matrices: how many FLOPs, how many a second, and how much processor time that takes."""
    known = 2.0 * MATRIX_SIDE**3 * MATRIX_PRODUCTS
    bench.prepare(
        "Product", 0.3, side=MATRIX_SIDE, times=MATRIX_PRODUCTS, logbook=str(bench.logbook.path)
    )
    with bench.recording("FLOPs of a forward", known, "FLOPs"):
        what = f"A forward with {MATRIX_PRODUCTS} matrix products of {MATRIX_SIDE}³"
        bench.note(
            "FLOPs of a forward", known, bench.facts["flops_per_token"] * CONTEXT, "FLOPs", what
        )
    with bench.recording("FLOPs a second", known, "FLOP/s"):
        spent, own, came = bench.best("prefill")
        done = spent.forwards * known
        bench.note(
            "FLOPs a second",
            done / own,
            done / came,
            "FLOP/s",
            f"Matrix products of {MATRIX_SIDE}³",
        )
    with bench.recording("processor seconds", known, "s"):
        spent, own, came = bench.best("prefill", "cpu")
        what = f"Processor time of {MATRIX_PRODUCTS} matrix products of {MATRIX_SIDE}³"
        bench.note("processor seconds", own / spent.forwards, came / spent.forwards, "s", what)


def check_copies(bench: CalibrationHarness) -> None:
    """A model that copies bytes: how many a second, and how many there were by the count of traffic."""
    bench.prepare("Copy", 0.3, size=COPY_BYTES, logbook=str(bench.logbook.path))
    with bench.recording("copied bytes a second", 2.0 * COPY_BYTES, "bytes/s"):
        spent, own, came = bench.best("prefill")
        moved = spent.forwards * 2.0 * COPY_BYTES
        what = f"A model that copies {COPY_BYTES:,} bytes, read and written"
        bench.note("copied bytes a second", moved / own, moved / came, "bytes/s", what)
    with bench.recording("bytes of a copy", 2.0 * COPY_BYTES, "bytes"):
        what = (
            f"What a training step reads and writes with a model that copies {COPY_BYTES:,} bytes"
        )
        traffic = bench.weigh()("traffic_bytes_per_token") * CONTEXT * BATCH
        bench.note("bytes of a copy", 2.0 * COPY_BYTES, traffic, "bytes", what)


def check_memory(bench: CalibrationHarness) -> None:
    """Models that hold bytes from the forward to the backward: what two of them differ by is known to the byte."""
    scales = []
    for sizes in RETAINED_BYTES:
        bench.prepare("Hold", sizes=sizes, state=STATE_BYTES, growth=STATE_GROWTH_BYTES)
        scales.append(bench.weigh())
    known = float(sum(RETAINED_BYTES[1]) - sum(RETAINED_BYTES[0]))
    kept = {
        "memory_activations_bytes": "bytes kept for the backward",
        "peak_train_memory_bytes": "peak bytes of a training step",
    }
    for metric, name in kept.items():
        with bench.recording(name, known, "bytes"):
            less, more = (figure(metric) for figure in scales)
            what = f"{name.capitalize()}, of one model more than of another"
            bench.note(name, known, more - less, "bytes", what, tolerance=0.0)
    parameters = 4.0 * bench.facts["parameters"]
    with bench.recording("bytes of parameters", parameters, "bytes"):
        came = scales[1]("memory_parameters_bytes")
        bench.note(
            "bytes of parameters", parameters, came, "bytes", "Parameters of a model", tolerance=0.0
        )
    states = {
        "state_bytes": STATE_BYTES + STATE_GROWTH_BYTES * CONTEXT,
        "state_bytes_per_token": STATE_GROWTH_BYTES,
    }
    for metric, size in states.items():
        with bench.recording(metric.replace("_", " "), size, "bytes"):
            what = (
                "The state of a sequence"
                if metric == "state_bytes"
                else "What the state grows by with a token"
            )
            bench.note(
                metric.replace("_", " "), size, scales[1](metric), "bytes", what, tolerance=0.0
            )


# --- the machine ------------------------------------------------------------------------------------------------------


def clock_read_seconds(calls: int = 2000) -> float:
    """Seconds that reading both clocks of the harness takes, the fastest of some."""
    fastest = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(calls // 10):
            time.perf_counter(), time.process_time()
        fastest = min(fastest, (time.perf_counter() - began) / (calls // 10))
    return fastest


def describe_machine(bench: CalibrationHarness, windows: int, seconds: float) -> Iterator[str]:
    """Sentences on what this machine can do, and on who else was at work for these seconds."""
    place = (
        "the GPU"
        if bench.facts.get("device") == "cuda"
        else f"{bench.threads} thread{'s' * (bench.threads > 1)}"
    )
    said = {
        "product": f"A large matrix product in {bench.facts.get('precision')} on {place}: {{:,.1f}} GFLOP/s.",
        "copy": f"A large copy on {place}: {{:,.1f}} GB/s, read and written.",
    }
    for name, sentence in said.items():
        try:
            taken = [bench.window(name) for _ in range(windows)]
            yield sentence.format(max(window["tokens"] / window["wall"] for window in taken) / 1e9)
        except (RequestUnsupported, RequestFailed) as reason:
            yield f"The machine's own {name} could not be timed: {reason}."
    yield f"Reading both clocks takes {clock_read_seconds() * 1e6:.2f} µs, twice a window."
    yield host_state.describe_other_load(seconds)
    try:
        yield f"Energy is counted by {bench.worker.ask('energy')['method']}."
    except (RequestUnsupported, RequestFailed) as reason:
        yield f"Energy is not available: {reason}."


def calibrate(
    threads: int, limit_seconds: float, quick: bool, device: str = "auto"
) -> CalibrationReport:
    """Examine the rulers with a worker of their own; about 10 seconds, in which the machine should do nothing else.

    `quick`: look at the machine for half a second instead of two · `device`: as in train.device. Never raises for what a worker
    can not do: that is a finding.
    """
    with tempfile.TemporaryDirectory() as folder:
        worker = worker_client.WorkerClient(threads, limit_seconds)
        bench = CalibrationHarness(worker, threads, device, Path(folder))
        try:
            worker.ready()
            for part in (check_memory, check_seconds, check_products, check_copies):
                with bench.recording(f"all of {part.__name__.removeprefix('examine_')}", 0.0, ""):
                    part(bench)
            bench.found.sentences += describe_machine(bench, *((2, 0.5) if quick else (8, 2.0)))
        except (WorkerDied, RequestFailed, RequestUnsupported) as error:
            finding = CalibrationResult(
                "the worker", 0.0, None, "", True, f"The process that measures gave up: {error}."
            )
            bench.found.findings.append(finding)
        finally:
            worker.end()
    return bench.found
