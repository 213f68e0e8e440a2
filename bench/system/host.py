"""The machine that a number was taken on, and the room each process gets on it. Imports no torch."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from bench.config.identity import digest

# Large pages, and memory that is kept: where tensors come to lie in physical memory otherwise makes one of two identical
# processes up to 4 % slower for as long as it lives, and every step asks the system for its memory again (3 to 7 %).
ALLOCATOR_TUNABLES = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1073741824"
RENDEZVOUS = "BENCH_MEETING"  # where the processes that train one model find each other: file:PATH, or torchrun:NUMBER
RECORDED_PACKAGES = (
    "torch",
    "numpy",
    "pandas",
    "datasets",
    "tokenizers",
    "hydra-core",
    "transformers",
)


def available_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _driver_gpus() -> dict[str, str]:
    """The NVIDIA cards that the driver lists: what each is called, by its UUID."""
    if not shutil.which("nvidia-smi"):
        return {}
    query = ["nvidia-smi", "--query-gpu=uuid,name,driver_version", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    lines = (
        [line.partition(",") for line in found.stdout.splitlines() if line.strip()]
        if found.returncode == 0
        else []
    )
    return {card.strip(): name.strip() for card, _, name in lines}


def visible_gpus() -> tuple[str, ...]:
    """The cards that this process may see, as CUDA_VISIBLE_DEVICES takes them: by UUID, which every process counts alike."""
    cards, given = list(_driver_gpus()), os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None or not cards:
        return tuple(cards)
    seen = []
    for word in filter(None, map(str.strip, given.split(","))):
        if word == "-1" or (word.isdigit() and int(word) >= len(cards)):
            break  # CUDA, too, sees none of those behind it
        whole = [card for card in cards if card.startswith(word)]
        seen.append(cards[int(word)] if word.isdigit() else (whole or [word])[0])
    return tuple(seen)


def gpu_names() -> tuple[str, ...]:
    """Names of the NVIDIA cards that the driver lists and that this process may see."""
    return tuple(_driver_gpus().get(device, device) for device in visible_gpus())


def parallel_jobs(threads: int, ranks: int = 1) -> int:
    """Runs at a time on this machine, each of so many processes: one a card for each, or one for every `threads` cores."""
    return max(
        1, (len(visible_gpus()) or available_cores() // max(1, int(threads))) // max(1, int(ranks))
    )


def processor_name() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def total_memory_bytes() -> int:
    """The machine's main memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def package_version(package: str) -> str:
    """The installed version of a package, or an empty string."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def environment_record(threads: int) -> dict[str, Any]:
    """What a record keeps of the machine and the software."""
    return {
        "machine": machine_digest(),
        "processor": processor_name(),
        "cores": available_cores(),
        "memory_bytes": total_memory_bytes(),
        "accelerator": "; ".join(gpu_names()),
        "system": platform.platform(),
        "threads": threads,
        "openmp_wait_policy": worker_environment(threads)["OMP_WAIT_POLICY"],
        "allocator": worker_environment(threads)["GLIBC_TUNABLES"],
        "python": platform.python_version(),
        "torch": package_version("torch"),
        "packages": {
            name: package_version(name) for name in RECORDED_PACKAGES if package_version(name)
        },
    }


def machine_digest() -> str:
    """Names a machine by what makes it fast or slow: numbers from different ones are never put on one axis."""
    return digest(
        [processor_name(), available_cores(), round(total_memory_bytes() / 2**30), gpu_names()]
    )


def worker_environment(threads: int) -> dict[str, str]:
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
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", ALLOCATOR_TUNABLES),
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
    }
