"""Energy: what counters say is taken over, their wrap-around is understood, and where there is none the reason is told."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from architectures.interface import Unsupported
from bench.performance import energy
from bench.performance.energy import EnergyCounter, find_counter

RANGE = 262_143_328_850


def domain(root: Path, folder: str, name: str, microjoules: int, highest: int = RANGE) -> Path:
    """A power domain as the kernel shows it."""
    place = root / folder
    place.mkdir(parents=True)
    for file, content in {
        "name": name,
        "energy_uj": microjoules,
        "max_energy_range_uj": highest,
    }.items():
        (place / file).write_text(f"{content}\n")
    return place


def taken(place: Path, microjoules: int) -> None:
    (place / "energy_uj").write_text(f"{microjoules}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages, a part of the first, and the platform that holds both."""
    domain(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    domain(tmp_path, "intel-rapl:0:0", "core", 4_000_000)
    domain(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    domain(tmp_path, "intel-rapl:2", "psys", 20_000_000)
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def test_packages_are_added_up_and_nothing_is_counted_twice(powercap: Path) -> None:
    found = find_counter("cpu", root=powercap)
    assert isinstance(found, EnergyCounter)
    with found.window() as spent:
        for folder, microjoules in {
            "0": 6_500_000,
            "0:0": 5_400_000,
            "1": 7_250_000,
            "2": 29_000_000,
        }.items():
            taken(powercap / f"intel-rapl:{folder}", microjoules)
    assert spent.joules == pytest.approx(1.75)
    assert "RAPL" in found.method
    assert "neighbours" in found.method


def test_a_counter_that_began_again_at_zero(tmp_path: Path) -> None:
    place = domain(tmp_path, "intel-rapl:0", "package-0", 900_000, highest=999_999)
    found = find_counter("cpu", root=tmp_path)
    assert isinstance(found, EnergyCounter)
    with found.window() as spent:
        taken(place, 200_000)
    assert spent.joules == pytest.approx(0.3)


def test_a_counter_that_stands_still_gives_no_joules(powercap: Path) -> None:
    found = find_counter("cpu", root=powercap)
    assert isinstance(found, EnergyCounter)
    with pytest.raises(Unsupported, match="stood still"), found.window():
        pass


def test_what_may_not_be_read_is_a_reason(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def guarded(path: Path, *arguments: str, **keywords: str) -> str:
        if path.name == "energy_uj" and "intel-rapl:1" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "read_text", guarded)
    reason = find_counter("cpu", root=powercap)
    assert isinstance(reason, str)  # one package of two would be half of the truth
    assert "intel-rapl:1/energy_uj may be read by the administrator alone" in reason


def test_without_any_counter_both_reasons_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zeus.monitor", None)  # not to be imported
    (tmp_path / "intel-rapl:0").mkdir()  # a domain without files
    reason = find_counter(root=tmp_path)
    assert isinstance(reason, str)
    for words in (
        "no counter of energy can be read",
        "zeus is not installed",
        "no readable package domain",
    ):
        assert words in reason
    assert "does not exist" in str(find_counter("cpu", root=tmp_path / "absent"))


# --- a card -----------------------------------------------------------------------------------------------------------


class Monitor:
    """What of zeus's monitor is used: one card whose counter runs on by 250 J from reading to reading."""

    cards = 1

    def __init__(
        self, gpu_indices: list[int], cpu_indices: list[int], approx_instant_energy: bool
    ) -> None:
        if gpu_indices[0] >= self.cards:
            raise ValueError("no such card")
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
    """A package zeus of our own."""
    package, module = ModuleType("zeus"), ModuleType("zeus.monitor")
    module.ZeusMonitor = Monitor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zeus", package)
    monkeypatch.setitem(sys.modules, "zeus.monitor", module)
    return Monitor


def test_a_card_is_read_through_zeus(zeus: type[Monitor], powercap: Path) -> None:
    for device in ("cuda", ""):
        found = find_counter(device, root=powercap)
        assert isinstance(found, EnergyCounter)
        with found.window() as outer, found.window() as inner:
            pass
        assert (inner.joules, outer.joules) == (250.0, 750.0)
        assert "NVML" in found.method


def test_a_card_that_zeus_can_not_read_is_not_replaced_by_the_processor(
    zeus: type[Monitor], powercap: Path
) -> None:
    assert (
        find_counter("cuda", 3, powercap)
        == "no counter of energy can be read: zeus can not read this card: ValueError: no such card"
    )
    assert isinstance(find_counter("cpu", root=powercap), energy.RaplCounter)
