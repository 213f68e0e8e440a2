"""Energy: readings of counters, their wrap-around, and the reason where there is none."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from architectures.interface import Unsupported
from bench.performance.energy import EnergyCounter, RaplCounter, find_counter

RANGE = 262_143_328_850


def domain(root: Path, folder: str, name: str, microjoules: int, highest: int = RANGE) -> Path:
    """Make a power domain as the kernel shows it."""
    place = root / folder
    place.mkdir(parents=True)
    for file, content in {
        "name": name,
        "energy_uj": microjoules,
        "max_energy_range_uj": highest,
    }.items():
        (place / file).write_text(f"{content}\n")
    return place


def advance(place: Path, microjoules: int) -> None:
    (place / "energy_uj").write_text(f"{microjoules}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Make two packages, a part of the first, and the platform that holds both."""
    domain(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    domain(tmp_path, "intel-rapl:0:0", "core", 4_000_000)
    domain(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    domain(tmp_path, "intel-rapl:2", "psys", 20_000_000)
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def test_packages_add_up_and_nothing_counts_twice(powercap: Path) -> None:
    counter = find_counter("cpu", root=powercap)
    assert isinstance(counter, EnergyCounter)
    reading = counter.read()
    readings = {"0": 6_500_000, "0:0": 5_400_000, "1": 7_250_000, "2": 29_000_000}
    for folder, microjoules in readings.items():
        advance(powercap / f"intel-rapl:{folder}", microjoules)
    assert counter.joules_since(reading) == pytest.approx(1.75)
    assert "RAPL" in counter.method


def test_a_counter_that_wrapped_around(tmp_path: Path) -> None:
    place = domain(tmp_path, "intel-rapl:0", "package-0", 900_000, highest=999_999)
    counter = find_counter("cpu", root=tmp_path)
    assert isinstance(counter, EnergyCounter)
    reading = counter.read()
    advance(place, 200_000)
    assert counter.joules_since(reading) == pytest.approx(0.3)


def test_a_counter_that_stands_still_gives_no_joules(powercap: Path) -> None:
    counter = find_counter("cpu", root=powercap)
    assert isinstance(counter, EnergyCounter)
    with pytest.raises(Unsupported, match="did not move"):
        counter.joules_since(counter.read())


def test_a_counter_without_permission_is_a_reason(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_text

    def guarded(path: Path, *arguments: str, **keywords: str) -> str:
        if path.name == "energy_uj" and "intel-rapl:1" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "read_text", guarded)
    reason = find_counter("cpu", root=powercap)
    assert isinstance(reason, str)  # one package of two would be half of the energy
    assert "intel-rapl:1/energy_uj" in reason


def test_without_a_counter_the_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zeus.monitor", None)  # cannot be imported
    (tmp_path / "intel-rapl:0").mkdir()  # a domain without files
    assert "zeus" in str(find_counter("cuda", root=tmp_path))
    assert str(tmp_path) in str(find_counter("cpu", root=tmp_path))
    assert f"{tmp_path}/absent" in str(find_counter("cpu", root=tmp_path / "absent"))


# --- a GPU ----------------------------------------------------------------------------------------


class Monitor:
    """Stand in for zeus's monitor: one GPU whose counter advances by 250 J per reading."""

    gpus = 1

    def __init__(
        self, gpu_indices: list[int], cpu_indices: list[int], approx_instant_energy: bool
    ) -> None:
        if gpu_indices[0] >= self.gpus:
            raise ValueError("no such GPU")
        assert not approx_instant_energy  # would be an estimate
        self.indices, self.counted, self.open = gpu_indices, 0.0, dict[str, float]()
        assert cpu_indices == []

    def read(self) -> float:
        self.counted += 250.0
        return self.counted

    def begin_window(self, name: str) -> None:
        assert name not in self.open
        self.open[name] = self.read()

    def end_window(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(
            gpu_energy={self.indices[0]: self.read() - self.open.pop(name)}, time=1.0
        )


@pytest.fixture
def zeus(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Monitor]]:
    """Install a stand-in for the package zeus."""
    package, module = ModuleType("zeus"), ModuleType("zeus.monitor")
    module.ZeusMonitor = Monitor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zeus", package)
    monkeypatch.setitem(sys.modules, "zeus.monitor", module)
    return Monitor


def test_a_gpu_is_read_through_zeus(zeus: type[Monitor], powercap: Path) -> None:
    counter = find_counter("cuda", root=powercap)
    assert isinstance(counter, EnergyCounter)
    outer, inner = counter.read(), counter.read()
    assert (counter.joules_since(inner), counter.joules_since(outer)) == (250.0, 750.0)
    assert "NVML" in counter.method


def test_the_processor_does_not_replace_a_gpu_that_zeus_cannot_read(
    zeus: type[Monitor], powercap: Path
) -> None:
    reason = find_counter("cuda", 3, powercap)
    assert isinstance(reason, str)
    assert "ValueError: no such GPU" in reason
    assert isinstance(find_counter("cpu", root=powercap), RaplCounter)
