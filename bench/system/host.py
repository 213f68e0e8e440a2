"""Describe the machine and the environment of the processes that compute on it."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from bench.config.errors import UserError
from bench.config.identity import digest

# Huge pages, and memory that is not returned to the system. Otherwise the physical placement of
# tensors makes one of two identical processes up to 4 % slower for as long as it lives, and every
# step asks the system for its memory again (3 to 7 %).
ALLOCATOR_TUNABLES = ":".join((
    "glibc.malloc.hugetlb=1",
    "glibc.malloc.mmap_threshold=1073741824",
    "glibc.malloc.trim_threshold=1073741824",
))  # fmt: skip
# environment variable: where the ranks of a model meet, file:PATH or torchrun:NUMBER
RENDEZVOUS = "BENCH_MEETING"
PACKAGES = "torch numpy pandas datasets tokenizers hydra-core transformers".split()  # recorded


PROCESS_LIMITS = (  # of the module resource: the least, what it counts, how more is allowed
    ("RLIMIT_NOFILE", 64, "open files", "ulimit -n 1024"),
    ("RLIMIT_AS", 1 << 30, "bytes of addresses", "ulimit -v unlimited"),
)


def check_process_limits() -> None:
    """Raise UserError where the shell allows a process less than any run needs."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    for name, least, unit, advice in PROCESS_LIMITS:
        allowed = resource.getrlimit(getattr(resource, name))[0]
        if 0 <= allowed < least:  # negative: unlimited
            raise UserError(
                f"this shell allows a process {allowed:,} {unit}, and a run needs {least:,}: "
                f"give {advice} first",
                "process-limit",
            )


def available_cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _driver_gpus() -> dict[str, str]:
    """Return the name of each NVIDIA device that the driver lists, by UUID."""
    if not shutil.which("nvidia-smi"):
        return {}
    query = ["nvidia-smi", "--query-gpu=uuid,name,driver_version", "--format=csv,noheader"]
    listing = subprocess.run(query, capture_output=True, text=True, check=False)
    lines = listing.stdout.splitlines() if listing.returncode == 0 else []
    rows = [line.partition(",") for line in lines if line.strip()]
    return {uuid.strip(): name.strip() for uuid, _, name in rows}


def visible_gpus() -> tuple[str, ...]:
    """Return the UUIDs of the devices that CUDA_VISIBLE_DEVICES allows this process."""
    uuids, allowed = list(_driver_gpus()), os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None or not uuids:
        return tuple(uuids)
    visible = []
    for entry in filter(None, map(str.strip, allowed.split(","))):
        if entry == "-1" or (entry.isdigit() and int(entry) >= len(uuids)):
            break  # CUDA, too, ignores all entries from here on
        matching = [uuid for uuid in uuids if uuid.startswith(entry)]
        visible.append(uuids[int(entry)] if entry.isdigit() else (matching or [entry])[0])
    return tuple(visible)


def gpu_names() -> tuple[str, ...]:
    """Return the names of the devices that this process may use."""
    return tuple(_driver_gpus().get(uuid, uuid) for uuid in visible_gpus())


def parallel_jobs(threads: int, ranks: int = 1) -> int:
    """Return how many runs fit at a time: one process per GPU, or per `threads` cores."""
    slots = len(visible_gpus()) or available_cores() // max(1, int(threads))
    return max(1, slots // max(1, int(ranks)))


@cache
def processor_name() -> str:
    """Return the name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def total_memory_bytes() -> int:
    """Return the size of main memory."""
    return int(psutil.virtual_memory().total)


@cache
def package_version(package: str) -> str:
    """Return the installed version of a package, or an empty string."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def environment_record(threads: int) -> dict[str, Any]:
    """Return what a record keeps of the machine and the software."""
    variables = worker_environment(threads)
    return {
        "machine": machine_digest(),
        "processor": processor_name(),
        "cores": available_cores(),
        "memory_bytes": total_memory_bytes(),
        "accelerator": "; ".join(gpu_names()),
        "system": platform.platform(),
        "threads": threads,
        "openmp_wait_policy": variables["OMP_WAIT_POLICY"],
        "allocator": variables["GLIBC_TUNABLES"],
        "python": platform.python_version(),
        "torch": package_version("torch"),
        "packages": {name: package_version(name) for name in filter(package_version, PACKAGES)},
    }


def machine_digest() -> str:
    """Return a digest of what makes a machine fast or slow; numbers of two are not compared."""
    memory = round(total_memory_bytes() / 2**30)
    return digest([processor_name(), available_cores(), memory, gpu_names()])


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker process; torch reads it on import.

    Waiting threads sleep: waiting actively takes ten times as long beside a busy process.
    """
    count = str(threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", ALLOCATOR_TUNABLES),
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
    }
