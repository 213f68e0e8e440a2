"""The rulers examined: models of known cost go through a worker like any other, and its figures are held against the truth.

Imports no torch. A busy machine puts no ruler off: what is compared is what the harness says of an interval with what a clock of
the model's own says of the same one (see rulers.py), and of several windows the one that was disturbed least counts.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.performance import worker_client
from bench.performance.calibration.harness import BATCH, CONTEXT, Bench, Examination, Finding
from bench.performance.worker_client import Ended, Failed, Refused
from bench.system import host_state

NAP = 0.1  # seconds that a forward sleeps: the harness's own work in a training step is about 1 % of that
SIDE, TIMES = 256, 30  # matrix products of a forward: 1 GFLOP
COPIED = 32 << 20  # bytes that a forward copies: as many are read as written
HELD = (
    [3 << 20],
    [5 << 20, (2 << 20) + 512],
)  # bytes of the tensors held by two models: what they differ by is known exactly
STATE, GROWTH = 1000, 24  # bytes of the state of a sequence, at all and a token


# --- the rulers -------------------------------------------------------------------------------------------------------


def examine_seconds(bench: Bench) -> None:
    """A model that sleeps, trained, read with and written with."""
    bench.prepare("Sleep", 2 * NAP, seconds=NAP, logbook=str(bench.logbook.path))
    names = {"train": "a training step", "prefill": "reading a prompt", "decode": "writing a token"}
    for window, name in names.items():
        with bench.noted(f"seconds of {name}", NAP, "s"):
            spent, own, came = bench.best(window)
            what = f"{name.capitalize()} with a model that sleeps {NAP:g} s"
            bench.note(f"seconds of {name}", own / spent.forwards, came / spent.forwards, "s", what)


def examine_products(bench: Bench) -> None:
    """A model that multiplies matrices: how many FLOPs, how many a second, and how much processor time that takes."""
    known = 2.0 * SIDE**3 * TIMES
    bench.prepare("Product", 0.3, side=SIDE, times=TIMES, logbook=str(bench.logbook.path))
    with bench.noted("FLOPs of a forward", known, "FLOPs"):
        what = f"A forward with {TIMES} matrix products of {SIDE}³"
        bench.note(
            "FLOPs of a forward", known, bench.facts["flops_per_token"] * CONTEXT, "FLOPs", what
        )
    with bench.noted("FLOPs a second", known, "FLOP/s"):
        spent, own, came = bench.best("prefill")
        done = spent.forwards * known
        bench.note(
            "FLOPs a second", done / own, done / came, "FLOP/s", f"Matrix products of {SIDE}³"
        )
    with bench.noted("processor seconds", known, "s"):
        spent, own, came = bench.best("prefill", "cpu")
        what = f"Processor time of {TIMES} matrix products of {SIDE}³"
        bench.note("processor seconds", own / spent.forwards, came / spent.forwards, "s", what)


def examine_copies(bench: Bench) -> None:
    """A model that copies bytes: how many a second, and how many there were by the count of traffic."""
    bench.prepare("Copy", 0.3, size=COPIED, logbook=str(bench.logbook.path))
    with bench.noted("copied bytes a second", 2.0 * COPIED, "bytes/s"):
        spent, own, came = bench.best("prefill")
        moved = spent.forwards * 2.0 * COPIED
        what = f"A model that copies {COPIED:,} bytes, read and written"
        bench.note("copied bytes a second", moved / own, moved / came, "bytes/s", what)
    with bench.noted("bytes of a copy", 2.0 * COPIED, "bytes"):
        what = f"What a training step reads and writes with a model that copies {COPIED:,} bytes"
        traffic = bench.weigh()("traffic_bytes_per_token") * CONTEXT * BATCH
        bench.note("bytes of a copy", 2.0 * COPIED, traffic, "bytes", what)


def examine_memory(bench: Bench) -> None:
    """Models that hold bytes from the forward to the backward: what two of them differ by is known to the byte."""
    scales = []
    for sizes in HELD:
        bench.prepare("Hold", sizes=sizes, state=STATE, growth=GROWTH)
        scales.append(bench.weigh())
    known = float(sum(HELD[1]) - sum(HELD[0]))
    kept = {
        "memory_activations_bytes": "bytes kept for the backward",
        "peak_train_memory_bytes": "peak bytes of a training step",
    }
    for metric, name in kept.items():
        with bench.noted(name, known, "bytes"):
            less, more = (figure(metric) for figure in scales)
            what = f"{name.capitalize()}, of one model more than of another"
            bench.note(name, known, more - less, "bytes", what, tolerance=0.0)
    parameters = 4.0 * bench.facts["parameters"]
    with bench.noted("bytes of parameters", parameters, "bytes"):
        came = scales[1]("memory_parameters_bytes")
        bench.note(
            "bytes of parameters", parameters, came, "bytes", "Parameters of a model", tolerance=0.0
        )
    states = {"state_bytes": STATE + GROWTH * CONTEXT, "state_bytes_per_token": GROWTH}
    for metric, size in states.items():
        with bench.noted(metric.replace("_", " "), size, "bytes"):
            what = (
                "The state of a sequence"
                if metric == "state_bytes"
                else "What the state grows by with a token"
            )
            bench.note(
                metric.replace("_", " "), size, scales[1](metric), "bytes", what, tolerance=0.0
            )


# --- the machine ------------------------------------------------------------------------------------------------------


def clock_cost(calls: int = 2000) -> float:
    """Seconds that reading both clocks of the harness takes, the fastest of some."""
    fastest = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(calls // 10):
            time.perf_counter(), time.process_time()
        fastest = min(fastest, (time.perf_counter() - began) / (calls // 10))
    return fastest


def describe_machine(bench: Bench, windows: int, seconds: float) -> Iterator[str]:
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
        except (Refused, Failed) as reason:
            yield f"The machine's own {name} could not be timed: {reason}."
    yield f"Reading both clocks takes {clock_cost() * 1e6:.2f} µs, twice a window."
    yield host_state.others(seconds)
    try:
        yield f"Energy is counted by {bench.worker.ask('energy')['method']}."
    except (Refused, Failed) as reason:
        yield f"Energy is not available: {reason}."


def examine(threads: int, limit_seconds: float, quick: bool, device: str = "auto") -> Examination:
    """Examine the rulers with a worker of their own; about 10 seconds, in which the machine should do nothing else.

    `quick`: look at the machine for half a second instead of two · `device`: as in train.device. Never raises for what a worker
    can not do: that is a finding.
    """
    with tempfile.TemporaryDirectory() as folder:
        worker = worker_client.Worker(threads, limit_seconds)
        bench = Bench(worker, threads, device, Path(folder))
        try:
            worker.ready()
            for part in (examine_memory, examine_seconds, examine_products, examine_copies):
                with bench.noted(f"all of {part.__name__.removeprefix('examine_')}", 0.0, ""):
                    part(bench)
            bench.found.sentences += describe_machine(bench, *((2, 0.5) if quick else (8, 2.0)))
        except (Ended, Failed, Refused) as error:
            finding = Finding(
                "the worker", 0.0, None, "", True, f"The process that measures gave up: {error}."
            )
            bench.found.findings.append(finding)
        finally:
            worker.end()
    return bench.found
