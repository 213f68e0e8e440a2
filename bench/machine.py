"""The machine that a number was taken on, and the room each process gets on it. Imports no torch."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from bench.identity import digest

# Large pages, and memory that is kept: where tensors come to lie in physical memory otherwise makes one of two identical
# processes up to 4 % slower for as long as it lives, and every step asks the system for its memory again (3 to 7 %).
ALLOCATOR = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1073741824"
PACKAGES = ("torch", "numpy", "pandas", "datasets", "tokenizers", "hydra-core", "transformers")


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def accelerators() -> tuple[str, ...]:
    """Names of the NVIDIA cards that the driver lists and that this process may see."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1") or not shutil.which("nvidia-smi"):
        return ()
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    return tuple(line.strip() for line in found.stdout.splitlines() if line.strip()) if found.returncode == 0 else ()


def parallel_jobs(threads: int) -> int:
    """Runs at a time on this machine: one a card, or one for every `threads` cores."""
    return max(1, len(accelerators()) or cores() // max(1, int(threads)))


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """The machine's main memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def version(package: str) -> str:
    """The installed version of a package, or an empty string."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def environment(threads: int) -> dict[str, Any]:
    """What a record keeps of the machine and the software."""
    return {
        "machine": machine_digest(),
        "processor": processor(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "accelerator": "; ".join(accelerators()),
        "system": platform.platform(),
        "threads": threads,
        "openmp_wait_policy": process_environment(threads)["OMP_WAIT_POLICY"],
        "allocator": process_environment(threads)["GLIBC_TUNABLES"],
        "python": platform.python_version(),
        "torch": version("torch"),
        "packages": {name: version(name) for name in PACKAGES if version(name)},
    }


def machine_digest() -> str:
    """Names a machine by what makes it fast or slow: numbers from different ones are never put on one axis."""
    return digest([processor(), cores(), round(memory_bytes() / 2**30), accelerators()])


def process_environment(threads: int) -> dict[str, str]:
    """The environment of a fresh process that computes: set before torch is imported, so that it counts.

    Threads that wait do so passively: waiting actively takes ten times as long beside a busy neighbour.
    """
    count = str(threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", ALLOCATOR),
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
    }
