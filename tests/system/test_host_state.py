"""The state of the machine during a measurement: values where it has them, else reasons."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench.system import host_state
from bench.system.host_state import busy_processes, describe_other_load, read_host_state

# ends by itself, whatever becomes of the test
HOG = "import time\nend = time.monotonic() + 10\nwhile time.monotonic() < end: pass"


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host_state, "SYSFS", tmp_path)
    return tmp_path


def test_what_the_system_provides_is_read(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(sysfs / "devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    write(sysfs / "kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    cores = [SimpleNamespace(current=clock) for clock in (3400.0, 1200.5)]
    chips = {"a": [SimpleNamespace(current=45.0)], "b": [SimpleNamespace(current=61.5)]}
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: cores)
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: chips)
    # the last two, of guests, are contained in user and nice
    monkeypatch.setattr(psutil, "cpu_times", lambda: (100, 0, 50, 800, 10, 0, 5, 35, 3, 0))
    state = read_host_state()
    assert state["clocks_megahertz"] == [3400.0, 1200.5]
    assert state["governor"] == "powersave"
    assert state["temperature_celsius"] == 61.5
    assert state["large_pages"] == "madvise"
    assert state["steal_share"] == pytest.approx(0.035)


@pytest.mark.usefixtures("sysfs")
def test_what_it_does_not_provide_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: [])
    monkeypatch.setattr(psutil, "sensors_temperatures", dict)
    monkeypatch.setattr(psutil, "cpu_times", lambda: (1.0, 2.0, 3.0, 4.0))  # as on macOS
    state = read_host_state()
    for key in (
        "clocks_megahertz",
        "temperature_celsius",
        "governor",
        "large_pages",
        "steal_share",
    ):
        assert state[key].startswith("not available: "), key


def test_processes_that_cannot_be_listed_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(attributes: list[str]) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "process_iter", refuse)
    assert "cannot be listed" in describe_other_load(0.0)


def test_a_busy_neighbour_is_found_and_our_own_children_are_not() -> None:
    # started by a process that has ended, it is no child of this one
    start = f"""import subprocess, sys
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
print(subprocess.Popen([sys.executable, "-c", {HOG!r}], **quiet).pid)"""
    started = subprocess.run(
        [sys.executable, "-c", start], capture_output=True, text=True, check=True, timeout=60
    )
    neighbour = int(started.stdout)
    child = subprocess.Popen([sys.executable, "-c", HOG])
    try:
        busy = {process.pid: process for process in busy_processes(0.5)}
    finally:
        os.kill(neighbour, 9)
        child.kill()
        child.wait()
    assert child.pid not in busy
    assert os.getppid() not in busy
    assert busy[neighbour].name.startswith("python")
    assert host_state.BUSY_SHARE <= busy[neighbour].share < 1.5
