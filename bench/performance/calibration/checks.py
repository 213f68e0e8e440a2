"""Calibrate the measurements: measure reference models in a worker and compare with the truth.

Imports no torch. A busy machine fails no check: what the harness measures of an interval is
compared with the model's own clock over the same interval, in the least disturbed of several
windows.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.performance import worker_client
from bench.performance.calibration.harness import (
    BATCH,
    CONTEXT,
    CalibrationHarness,
    CalibrationReport,
    Quantity,
)
from bench.performance.worker_client import RequestFailed, RequestUnsupported, WorkerDied
from bench.system import host_state

SLEEP_SECONDS = 0.1  # per forward pass: the rest of a training step takes about 1 % of that
MATRIX_SIDE, MATRIX_PRODUCTS = 256, 30  # per forward pass: 1 GFLOP
COPY_BYTES = 32 << 20  # per forward pass, read and written
RETAINED_BYTES = ([3 << 20], [5 << 20, (2 << 20) + 512])  # by two models, compared to the byte
STATE_BYTES, STATE_GROWTH_BYTES = 1000, 24  # of one sequence, in total and per token


# --- reference models ---------------------------------------------------------------------------


def check_seconds(harness: CalibrationHarness) -> None:
    """Check the seconds of a model that sleeps."""
    log = str(harness.clock.path)
    harness.prepare({"sleep": SLEEP_SECONDS}, 2 * SLEEP_SECONDS, log=log)
    names = {"train": "a training step", "prefill": "a prefill", "decode": "a decoded token"}
    for kind, name in names.items():
        subject = f"{name.capitalize()} with a model that sleeps {SLEEP_SECONDS:g} s"
        quantity = Quantity(f"seconds of {name}", "s", SLEEP_SECONDS, subject)
        harness.check(quantity, partial(harness.seconds_per_forward, kind))


def check_products(harness: CalibrationHarness) -> None:
    """Check FLOPs, FLOPs per second and processor seconds of a model that multiplies matrices."""
    flops, log = 2.0 * MATRIX_SIDE**3 * MATRIX_PRODUCTS, str(harness.clock.path)
    harness.prepare({"multiply": [MATRIX_SIDE, MATRIX_PRODUCTS]}, 0.3, log=log)
    products = f"{MATRIX_PRODUCTS} matrix products of {MATRIX_SIDE}³"
    quantity = Quantity("FLOPs of a forward pass", "FLOPs", flops, f"A forward pass of {products}")
    harness.check(quantity, lambda: (flops, harness.facts["flops_per_token"] * CONTEXT))
    quantity = Quantity("FLOPs per second", "FLOP/s", flops, f"Matrix products of {MATRIX_SIDE}³")
    harness.check(quantity, partial(rates, harness, flops))
    quantity = Quantity("processor seconds", "s", 0.0, f"Processor time of {products}")
    harness.check(quantity, partial(harness.seconds_per_forward, "prefill", "cpu"))


def check_copies(harness: CalibrationHarness) -> None:
    """Check bytes per second and counted traffic of a model that copies bytes."""
    size, log = 2.0 * COPY_BYTES, str(harness.clock.path)
    harness.prepare({"copy": COPY_BYTES}, 0.3, log=log)
    subject = f"A model that copies {COPY_BYTES:,} bytes, read and written"
    quantity = Quantity("copied bytes per second", "bytes/s", size, subject)
    harness.check(quantity, partial(rates, harness, size))
    subject = f"Traffic of a training step with a model that copies {COPY_BYTES:,} bytes"
    harness.check(
        Quantity("bytes of a copy", "bytes", size, subject),
        lambda: (size, harness.memory()("traffic_bytes_per_token") * CONTEXT * BATCH),
    )


def rates(harness: CalibrationHarness, amount: float) -> tuple[float, float]:
    """Return amounts per second of a prefill, by the model and by the harness."""
    expected, observed = harness.seconds_per_forward("prefill")
    return amount / expected, amount / observed


def check_memory(harness: CalibrationHarness) -> None:
    """Check the bytes of models that retain tensors: their difference is known to the byte."""
    values = []
    for sizes in RETAINED_BYTES:
        harness.prepare({"retain": sizes}, state=[STATE_BYTES, STATE_GROWTH_BYTES])
        values.append(harness.memory())
    less, more = values
    difference = float(sum(RETAINED_BYTES[1]) - sum(RETAINED_BYTES[0]))

    def check_size(name: str, size: float, observe: Callable[[], float]) -> None:
        quantity = Quantity(name, "bytes", size, name.capitalize(), tolerance=0.0)
        harness.check(quantity, lambda: (size, observe()))

    def check_difference(name: str, metric: str) -> None:
        check_size(name, difference, lambda: more(metric) - less(metric))

    check_difference("bytes kept for the backward pass", "memory_activations_bytes")
    check_difference("peak bytes of a training step", "peak_train_memory_bytes")
    parameters = 4.0 * harness.facts["parameters"]
    check_size("bytes of parameters", parameters, partial(more, "memory_parameters_bytes"))
    state = STATE_BYTES + STATE_GROWTH_BYTES * CONTEXT
    check_size("state bytes", state, partial(more, "state_bytes"))
    growth = partial(more, "state_bytes_per_token")
    check_size("state bytes per token", STATE_GROWTH_BYTES, growth)


# --- the machine --------------------------------------------------------------------------------


def clock_read_seconds(calls: int = 2000) -> float:
    """Return the seconds of reading both clocks of the harness, the fastest of ten series."""
    fastest = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(calls // 10):
            time.perf_counter(), time.process_time()
        fastest = min(fastest, (time.perf_counter() - began) / (calls // 10))
    return fastest


def describe_machine(harness: CalibrationHarness, windows: int, seconds: float) -> Iterator[str]:
    """Yield sentences on the speed of this machine and on its other load for some seconds."""
    threads = f"{harness.threads} thread{'s' * (harness.threads > 1)}"
    place = "the GPU" if harness.facts.get("device") == "cuda" else threads
    precision = harness.facts.get("precision")
    for name, sentence in {
        "product": f"A large matrix product in {precision} on {place}: {{:,.1f}} GFLOP/s.",
        "copy": f"A large copy on {place}: {{:,.1f}} GB/s, read and written.",
    }.items():
        try:
            measured = [harness.window(name) for _ in range(windows)]
            best = max(window["tokens"] / window["wall"] for window in measured)
            yield sentence.format(best / 1e9)
        except (RequestUnsupported, RequestFailed) as reason:
            yield f"A large {name} could not be timed: {reason}."
    yield f"Reading both clocks takes {clock_read_seconds() * 1e6:.2f} µs, twice per window."
    yield host_state.describe_other_load(seconds)
    try:
        yield f"Energy is counted by {harness.worker.ask('energy')['method']}."
    except (RequestUnsupported, RequestFailed) as reason:
        yield f"Energy is not available: {reason}."


def calibrate(
    threads: int, limit_seconds: float, quick: bool, device: str = "auto"
) -> CalibrationReport:
    """Check the measurements in a worker; this takes about 10 seconds of an idle machine.

    `quick`: watch other load for half a second instead of two · `device`: as train.device. What a
    worker cannot do is a failed result, never an exception.
    """
    with tempfile.TemporaryDirectory() as folder:
        worker = worker_client.WorkerClient(threads, limit_seconds)
        harness = CalibrationHarness(worker, threads, device, Path(folder))
        report = harness.report
        try:
            for check in (check_memory, check_seconds, check_products, check_copies):
                name = f"all of {check.__name__.removeprefix('check_')}"
                with harness.failures_reported(Quantity(name, "", 0.0)):
                    check(harness)
            report.sentences += describe_machine(harness, *((2, 0.5) if quick else (8, 2.0)))
        except (WorkerDied, RequestFailed, RequestUnsupported) as error:
            sentence = f"The measuring process gave up: {error}."
            report.add_failure(Quantity("the worker", "", 0.0), sentence)
        finally:
            worker.end()
    return report
