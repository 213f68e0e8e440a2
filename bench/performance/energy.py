"""Joules by a counter of the machine's own: the card's through zeus (NVML), the processor's package by RAPL; else a reason.

A figure is never made from a nameplate, and never from power times seconds.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from architectures.interface import Unsupported

POWERCAP = Path("/sys/class/powercap")
PACKAGE_DOMAIN = re.compile(
    r"intel-rapl:\d+"
)  # a whole package; intel-rapl:0:0 would be a part of one, and counted twice
MICRO = 1e-6
INSTALL_COMMAND = "pip install 'architecture-bench[energy]'"


@dataclass
class EnergyUse:
    """The joules of a window: known once the window is over."""

    joules: float = float("nan")


class EnergyCounter(ABC):
    """Something that counts joules; `method` says what it counts, in a sentence of the report."""

    method: str

    @abstractmethod
    def read(self) -> Any:
        """The counter as it stands."""

    @abstractmethod
    def between(self, before: Any) -> float:
        """Joules since a reading."""

    @contextmanager
    def window(self) -> Iterator[EnergyUse]:
        """Count while the block runs. It should last seconds: counters move every 1 to 100 ms.

        Raises Unsupported at its end where the counter stood still: whatever it calls itself, it counts nothing.
        """
        spent, before = EnergyUse(), self.read()
        yield spent
        joules = self.between(before)
        if joules <= 0:
            raise Unsupported(
                "the counter of energy stood still: it is connected to nothing, or the window was too short"
            )
        spent.joules = joules


# --- the card, through zeus -------------------------------------------------------------------------------------------


class GpuCounter(EnergyCounter):
    """One CUDA device, by the counter that NVML reads from it, through zeus."""

    method = (
        "zeus (NVML): all that the card itself took in these seconds, its idling and its memory included; "
        "the processor and the rest of the machine are not in it"
    )

    def __init__(self, index: int) -> None:
        from zeus.monitor import ZeusMonitor

        # only what the card counts: power times seconds would be an estimate
        self.monitor = ZeusMonitor(gpu_indices=[index], cpu_indices=[], approx_instant_energy=False)
        self.windows = 0

    def read(self) -> str:
        self.windows += 1
        name = f"window {self.windows}"
        self.monitor.begin_window(name)
        return name

    def between(self, before: str) -> float:
        return float(sum(self.monitor.end_window(before).gpu_energy.values()))


def gpu_counter(index: int) -> EnergyCounter | str:
    """The counter of a CUDA device (as torch numbers them), or why there is none."""
    try:
        return GpuCounter(index)
    except ImportError:
        return f"the package zeus is not installed, through which a card's own counter is read ({INSTALL_COMMAND})"
    except Exception as error:  # no driver, no NVML, no such card: zeus and the libraries below it each have their own
        return f"zeus can not read this card: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


# --- the processor's package, by RAPL ---------------------------------------------------------------------------------


class RaplCounter(EnergyCounter):
    """The processor's packages, by the counters that the kernel shows below /sys/class/powercap. They begin again at zero."""

    method = (
        "RAPL, read from /sys/class/powercap: all that the processor's package took in these seconds, "
        "its other cores, its neighbours and its idling included; memory and the rest of the machine are not in it"
    )

    def __init__(self, domains: list[Path]) -> None:
        self.ranges = {domain: read_int(domain / "max_energy_range_uj") for domain in domains}

    def read(self) -> dict[Path, int]:
        return {domain: read_int(domain / "energy_uj") for domain in self.ranges}

    def between(self, before: dict[Path, int]) -> float:
        after = self.read()
        # the highest reading is max_energy_range_uj: one more is 0 again; a window is far shorter than two rounds of that
        return MICRO * sum(
            (after[domain] - before[domain]) % (self.ranges[domain] + 1) for domain in before
        )


def read_int(path: Path) -> int:
    """The whole number in a file. Raises OSError or ValueError."""
    return int(path.read_text(encoding="ascii").strip())


def rapl_counter(root: Path) -> EnergyCounter | str:
    """The counter of all packages of the processor below `root`, or why there is none."""
    if not root.is_dir():
        return f"{root} does not exist"
    domains, refused = [], []
    for domain in sorted(path for path in root.iterdir() if PACKAGE_DOMAIN.fullmatch(path.name)):
        try:
            if not (domain / "name").read_text(encoding="ascii").startswith("package"):
                continue  # "psys" is the whole platform, with the packages in it
            read_int(domain / "energy_uj"), read_int(domain / "max_energy_range_uj")
            domains.append(domain)
        except PermissionError:
            refused.append(domain.name)
        except (OSError, ValueError):
            continue
    if refused:  # one of two packages would be half of the truth
        return f"{root}/{refused[0]}/energy_uj may be read by the administrator alone"
    return RaplCounter(domains) if domains else f"{root} has no readable package domain"


# --- which one --------------------------------------------------------------------------------------------------------


def find_counter(device: str = "", index: int = 0, root: Path = POWERCAP) -> EnergyCounter | str:
    """What counts the joules of a device, "cuda" or "cpu" (empty: a card where there is one), or why nothing does.

    `index`: the card, as torch numbers them. A card's work is not looked for in the processor's package, nor the other way round.
    """
    of_card = gpu_counter(index) if device != "cpu" else "a processor is asked about"
    if isinstance(of_card, EnergyCounter):
        return of_card
    of_packages = rapl_counter(root) if device != "cuda" else "a card is asked about"
    if isinstance(of_packages, EnergyCounter):
        return of_packages
    why = {"cuda": of_card, "cpu": of_packages}.get(
        device, f"no NVML: {of_card}; no RAPL: {of_packages}"
    )
    return f"no counter of energy can be read: {why}"
