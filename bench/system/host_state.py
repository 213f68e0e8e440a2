"""Read what a machine does during a measurement: load, clocks, temperature, other processes.

Where the system does not provide a value, a record holds the reason in its place.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

SYSFS = Path("/sys")
BUSY_SHARE = 0.02  # of a core: processes that take less are not named


class NotAvailable(Exception):
    """Say why the system does not provide a value."""


class BusyProcess(NamedTuple):
    """Name a process and the share of one core that it took."""

    pid: int
    name: str
    share: float


def read_host_state() -> dict[str, Any]:
    """Return the state of the machine: by key, a value or the reason why there is none."""
    readings: Mapping[str, Callable[[], Any]] = {
        "load": lambda: list(psutil.getloadavg()),
        "affinity": cpu_affinity,
        "clocks_megahertz": core_clocks_mhz,
        "temperature_celsius": max_temperature_celsius,
        "governor": cpu_governor,
        "large_pages": huge_page_mode,
        "steal_share": lambda: steal_share(psutil.cpu_times()),
    }
    state = {}
    for key, read in readings.items():
        try:
            state[key] = read()
        except (NotAvailable, OSError, psutil.Error) as reason:
            state[key] = f"not available: {reason}"
    return state


def cpu_affinity() -> list[int]:
    """Return the processors that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        raise NotAvailable("this system has no processor affinity")
    return sorted(os.sched_getaffinity(0))


def core_clocks_mhz() -> list[float]:
    """Return the clock of each core: the current one, or the nominal one without cpufreq."""
    clocks = [core.current for core in psutil.cpu_freq(percpu=True) or ()]
    if not clocks:
        raise NotAvailable("neither cpufreq nor /proc/cpuinfo names a clock")
    return clocks


def max_temperature_celsius() -> float:
    """Return the temperature of the hottest sensor."""
    read = getattr(psutil, "sensors_temperatures", dict)  # Linux and FreeBSD only
    values = [sensor.current for chip in read().values() for sensor in chip]
    if not values:
        raise NotAvailable("no temperature sensor (a virtual machine has none)")
    return max(values)


def cpu_governor() -> str:
    """Return the kernel's policy for the clock."""
    path = SYSFS / "devices/system/cpu/cpu0/cpufreq/scaling_governor"
    if not path.exists():
        raise NotAvailable("no cpufreq: the host of this machine sets the clock")
    return path.read_text(encoding="utf-8").strip()


def huge_page_mode() -> str:
    """Return when the kernel uses transparent huge pages: always, madvise or never."""
    path = SYSFS / "kernel/mm/transparent_hugepage/enabled"
    modes = path.read_text(encoding="utf-8").split()
    return next((mode.strip("[]") for mode in modes if mode.startswith("[")), " ".join(modes))


def steal_share(times: Sequence[float]) -> float:
    """Return the share of processor time that a virtual machine's host gave to others.

    `times` are seconds in the order of /proc/stat: user, nice, system, idle, iowait, irq, softirq,
    steal. Later ones, of guests, are contained in user and nice.
    """
    if len(times) < 8:
        raise NotAvailable("this system does not count stolen time")
    return times[7] / (sum(times[:8]) or 1.0)


def _cpu_seconds() -> dict[int, tuple[str, float]]:
    """Return the name and the processor time of every visible process, by pid."""
    processes = [p.info for p in psutil.process_iter(["pid", "name", "cpu_times"])]
    return {
        p["pid"]: (p["name"], p["cpu_times"].user + p["cpu_times"].system)
        for p in processes
        if p["cpu_times"] is not None
    }


def _own_family() -> set[int]:
    """Return the pids of this process, its ancestors and its descendants."""
    own = psutil.Process()
    family = {own.pid}
    for relatives in (own.parents, lambda: own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            family |= {process.pid for process in relatives()}
    return family


def busy_processes(seconds: float) -> list[BusyProcess]:
    """Return the processes outside our own family that were busy for `seconds`, busiest first."""
    before, began = _cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    after, passed, family = _cpu_seconds(), time.monotonic() - began, _own_family()
    busy = []
    for pid, (name, used) in after.items():
        share = (used - before.get(pid, ("", 0.0))[1]) / passed
        if pid not in family and share >= BUSY_SHARE:
            busy.append(BusyProcess(pid, name, share))
    return sorted(busy, key=lambda process: -process.share)


def describe_other_load(seconds: float) -> str:
    """Watch for `seconds` and describe other processes and the host of a virtual machine."""
    try:
        before = psutil.cpu_times()
        busy = busy_processes(seconds)
        passed = [b - a for a, b in zip(before, psutil.cpu_times(), strict=True)]
    except (OSError, psutil.Error) as error:
        return f"Other processes cannot be listed ({error})."
    names = [f"{one.name} ({one.pid}) {one.share:.0%} of a core" for one in busy[:5]]
    text = f"Other busy processes: {', '.join(names)}." if names else "No other process was busy."
    stolen = steal_share(passed) if len(passed) > 7 else 0.0
    host = f" The host of this virtual machine gave {stolen:.0%} of the time to others."
    return text + host * (stolen >= 0.01)
