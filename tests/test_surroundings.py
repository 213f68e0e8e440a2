"""The machine's state beside a measurement: read where it can be, a reason where not; other processes, and not our own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system import host_state
from bench.system.host_state import (
    NotAvailable,
    ProcessTicks,
    busy_processes,
    describe_other_load,
    process_family,
    read_host_state,
)

STAT = "cpu  100 0 50 800 10 0 5 35 3 0\ncpu0 100 0 50 800 10 0 5 35 3 0\n"
HOG = "import time\nend = time.monotonic() + 10\nwhile time.monotonic() < end: pass"  # ends by itself, whatever becomes of the test


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """/proc and /sys of a machine that tells everything."""
    proc, system = tmp_path / "proc", tmp_path / "sys"
    write(proc / "stat", STAT)
    for core, kilohertz in {0: 3_400_000, 1: 1_200_500, 10: 800_000}.items():
        write(system / f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{kilohertz}\n")
    write(system / "devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    write(system / "class/thermal/thermal_zone0/temp", "45000\n")
    write(system / "class/hwmon/hwmon0/temp1_input", "61500\n")
    write(system / "class/hwmon/hwmon0/temp2_input", "nothing\n")
    write(system / "kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    return proc, system


def test_what_can_be_read_is_read(machine: tuple[Path, Path]) -> None:
    found = read_host_state(*machine)
    assert found["clocks_megahertz"] == [3400.0, 1200.5, 800.0]
    assert found["governor"] == "powersave"
    assert found["temperature_celsius"] == 61.5
    assert found["large_pages"] == "madvise"
    assert found["steal_share"] == pytest.approx(
        0.035
    )  # of 1000: what guests took is in user time already


def test_what_can_not_be_read_has_its_reason(tmp_path: Path) -> None:
    found = read_host_state(tmp_path / "proc", tmp_path / "sys")
    for key in (
        "clocks_megahertz",
        "temperature_celsius",
        "governor",
        "large_pages",
        "steal_share",
    ):
        assert found[key].startswith("not available: "), key
    assert "there is no" in describe_other_load(0.0, tmp_path / "proc")
    assert busy_processes(0.0, tmp_path / "proc") == []


def test_without_scaling_the_stated_clock_counts(tmp_path: Path) -> None:
    write(
        tmp_path / "proc/cpuinfo",
        "model name\t: x\ncpu MHz\t\t: 2596.136\n\ncpu MHz\t\t: 2596.100\n",
    )
    assert host_state.core_clocks_mhz(tmp_path / "proc", tmp_path / "sys") == [2596.136, 2596.1]
    write(tmp_path / "proc/cpuinfo", "cpu MHz\t\t: unknown\n")
    with pytest.raises(NotAvailable):
        host_state.core_clocks_mhz(tmp_path / "proc", tmp_path / "sys")


def test_a_process_is_read_whatever_it_calls_itself(tmp_path: Path) -> None:
    write(
        tmp_path / "7/stat",
        "7 (a (strange) name) S 1 7 7 0 -1 4194304 102 0 0 0 12 30 5 5 20 0 1 0 1256563 3133440 388",
    )
    write(tmp_path / "8/stat", "8 (cut short) S 1")
    assert host_state.list_processes(tmp_path) == {7: ProcessTicks("a (strange) name", 1, 42)}


def test_the_family_is_ancestors_and_descendants_alone() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 13: 12, 20: 10, 21: 1}
    known = {pid: ProcessTicks("", parent, 0) for pid, parent in parents.items()}
    assert process_family(known, 11) == {
        1,
        10,
        11,
        12,
        13,
    }  # 20 is a neighbour: another child of our parent's


@pytest.mark.skipif(not host_state.can_list_processes(), reason="this system has no /proc")
def test_a_neighbour_that_is_busy_is_found_and_our_own_children_are_not() -> None:
    # started by a process that has ended, it is nobody's child of ours
    start = f"""import subprocess, sys
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
print(subprocess.Popen([sys.executable, "-c", {HOG!r}], **quiet).pid)"""
    neighbour = int(
        subprocess.run(
            [sys.executable, "-c", start], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    )
    child = subprocess.Popen([sys.executable, "-c", HOG])
    try:
        found = {one.pid: one for one in busy_processes(0.5)}
    finally:
        os.kill(neighbour, 9)
        child.kill()
        child.wait()
    assert child.pid not in found
    assert found[neighbour].name.startswith("python")
    assert host_state.BUSY_SHARE <= found[neighbour].share < 1.5
