"""What a machine is doing beside the measurement: load, clocks, heat, settings, other processes. Imports no torch.

What a system does not tell has the reason in place of its value: a record says that, and never a guess.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PROC, SYSFS = Path("/proc"), Path("/sys")
BUSY_SHARE = 0.02  # of a core: a process that takes less is not named


class NotAvailable(Exception):
    """The system does not tell; the message says why."""


class BusyProcess(NamedTuple):
    """A process that took processor time: how much, as a share of one core."""

    pid: int
    name: str
    share: float


# --- the state of the machine -----------------------------------------------------------------------------------------


def read_host_state(proc: Path = PROC, system: Path = SYSFS) -> dict[str, Any]:
    """The machine as it is now, for a record: by key, a value or the reason why there is none."""
    readings: Mapping[str, Callable[[], Any]] = {
        "load": load_average,
        "affinity": cpu_affinity,
        "clocks_megahertz": lambda: core_clocks_mhz(proc, system),
        "temperature_celsius": lambda: max_temperature_celsius(system),
        "governor": lambda: cpu_governor(system),
        "large_pages": lambda: huge_page_mode(system),
        "steal_share": lambda: steal_share(cpu_ticks(proc)),
    }
    found = {}
    for key, reading in readings.items():
        try:
            found[key] = reading()
        except NotAvailable as reason:
            found[key] = f"not available: {reason}"
    return found


def _text(path: Path) -> str:
    """The content of a file. Raises Absent."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise NotAvailable(f"{path} can not be read ({error.strerror})") from None


def load_average() -> list[float]:
    """Processes that wanted to run, the mean over the last minute, five and fifteen."""
    if not hasattr(os, "getloadavg"):
        raise NotAvailable("this system keeps no load")
    return list(os.getloadavg())


def cpu_affinity() -> list[int]:
    """The processors that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        raise NotAvailable("this system does not tell which processors a process may use")
    return sorted(os.sched_getaffinity(0))


def core_clocks_mhz(proc: Path = PROC, system: Path = SYSFS) -> list[float]:
    """The clock of each core in MHz, as it is now where the kernel scales it, else as the processor states it."""
    scaled = sorted(
        system.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"),
        key=lambda path: int(path.parts[-3][3:]),
    )
    try:
        if scaled:
            return [int(_text(path)) / 1000 for path in scaled]
        lines = _text(proc / "cpuinfo").splitlines()
        stated = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    except ValueError:
        stated = []
    if not stated:
        raise NotAvailable(f"neither cpufreq nor {proc / 'cpuinfo'} names a clock")
    return stated


def max_temperature_celsius(system: Path = SYSFS) -> float:
    """The hottest of the sensors, in °C."""
    sensors = [
        *system.glob("class/thermal/thermal_zone*/temp"),
        *system.glob("class/hwmon/hwmon*/temp*_input"),
    ]
    found = []
    for sensor in sensors:
        try:
            found.append(int(_text(sensor)) / 1000)
        except (NotAvailable, ValueError):  # a sensor that is switched off
            continue
    if not found:
        raise NotAvailable(f"no sensor below {system / 'class'} (a virtual machine has none)")
    return max(found)


def cpu_governor(system: Path = SYSFS) -> str:
    """How the kernel chooses the clock."""
    path = system / "devices/system/cpu/cpu0/cpufreq/scaling_governor"
    if not path.exists():
        raise NotAvailable("no cpufreq: whoever runs this machine chooses the clock")
    return _text(path)


def huge_page_mode(system: Path = SYSFS) -> str:
    """When the kernel gives transparent huge pages: always, madvise or never."""
    modes = _text(system / "kernel/mm/transparent_hugepage/enabled")
    return next((mode.strip("[]") for mode in modes.split() if mode.startswith("[")), modes)


# --- who else is at work ----------------------------------------------------------------------------------------------


def cpu_ticks(proc: Path = PROC) -> list[int]:
    """Ticks of all cores together since the start: user, nice, system, idle, waiting, interrupts (two), stolen, …"""
    first = next(
        (line for line in _text(proc / "stat").splitlines() if line.startswith("cpu ")), ""
    )
    if len(first.split()) < 9:
        raise NotAvailable(f"{proc / 'stat'} does not count stolen time")
    return [int(word) for word in first.split()[1:]]


def steal_share(ticks: list[int]) -> float:
    """The share of these ticks that the host of a virtual machine gave to somebody else."""
    return ticks[7] / max(
        1, sum(ticks[:8])
    )  # the last two, of guests, are in user and nice already


class ProcessTicks(NamedTuple):
    """A process as /proc shows it: its command, its parent, its ticks of processor time."""

    name: str
    parent: int
    ticks: int


def list_processes(proc: Path = PROC) -> dict[int, ProcessTicks]:
    """Every process that can be seen, by number."""
    found = {}
    for path in proc.glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
            name, fields = (
                text[text.index("(") + 1 : text.rindex(")")],
                text[text.rindex(")") + 2 :].split(),
            )
            found[int(path.parent.name)] = ProcessTicks(
                name, int(fields[1]), int(fields[11]) + int(fields[12])
            )
        except (OSError, ValueError, IndexError):  # it has ended meanwhile
            continue
    return found


def process_family(known: Mapping[int, ProcessTicks], own: int) -> set[int]:
    """A process with all its ancestors and all its descendants."""

    def ancestors(pid: int) -> Iterator[int]:
        while pid in known:
            yield pid
            pid = known[pid].parent

    above = set(ancestors(own))
    return above | {pid for pid in known if own in ancestors(pid)}


def busy_processes(seconds: float, proc: Path = PROC) -> list[BusyProcess]:
    """Processes outside our own family that took processor time while these seconds passed, the busiest first.

    Empty, too, where the system has no /proc: `watched` tells the two apart.
    """
    before, began = list_processes(proc), time.monotonic()
    time.sleep(seconds)
    after, passed = list_processes(proc), time.monotonic() - began
    ours = process_family(after, os.getpid())
    rate = 1 / (os.sysconf("SC_CLK_TCK") * passed) if after else 0.0
    born = ProcessTicks("", 0, 0)  # one that began meanwhile has taken all its ticks since
    took = [
        BusyProcess(pid, now.name, (now.ticks - before.get(pid, born).ticks) * rate)
        for pid, now in after.items()
        if pid not in ours
    ]
    return sorted((one for one in took if one.share >= BUSY_SHARE), key=lambda one: -one.share)


def can_list_processes(proc: Path = PROC) -> bool:
    """Whether other processes can be seen at all on this system."""
    return bool(list_processes(proc))


def describe_other_load(seconds: float, proc: Path = PROC) -> str:
    """Who else was at work for these seconds, in a sentence: other processes, and the host of a virtual machine."""
    if not can_list_processes(proc):
        return f"Other processes can not be seen: there is no {proc} on this system."
    before = _ticks(proc)
    found = busy_processes(seconds, proc)
    passed = [later - earlier for earlier, later in zip(before, _ticks(proc), strict=False)]
    names = ", ".join(f"{one.name} ({one.pid}) {one.share:.0%} of a core" for one in found[:5])
    said = (
        f"Other processes at work: {names}."
        if found
        else "No other process took a noticeable share of a core."
    )
    stolen = steal_share(passed) if len(passed) > 7 else 0.0
    return said + (
        f" The host of this virtual machine kept {stolen:.0%} of the time for others."
        if stolen >= 0.01
        else ""
    )


def _ticks(proc: Path) -> list[int]:
    try:
        return cpu_ticks(proc)
    except NotAvailable:
        return []
