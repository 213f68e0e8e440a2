"""Count joules with the machine's own counters: NVML through zeus, RAPL, or none with a reason.

A number is never derived from a nameplate, nor from power times seconds.
"""

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from architectures.interface import Unsupported

POWERCAP = Path("/sys/class/powercap")
PACKAGE_DOMAIN = re.compile(r"intel-rapl:\d+")  # intel-rapl:0:0 is a part of intel-rapl:0
JOULES_PER_MICROJOULE = 1e-6
INSTALL_COMMAND = "pip install 'architecture-bench[energy]'"


class EnergyCounter(ABC):
    """Count joules; `method` says in a sentence of the report what is counted."""

    method: str

    @abstractmethod
    def read(self) -> Any:
        """Return a reading."""

    @abstractmethod
    def difference(self, reading: Any) -> float:
        """Return the joules since a reading."""

    def joules_since(self, reading: Any) -> float:
        """Return the joules since a reading some seconds ago: counters update every 1 to 100 ms.

        Raise Unsupported where the counter did not move.
        """
        joules = self.difference(reading)
        if joules <= 0:
            raise Unsupported(
                "the energy counter did not move: it is not connected, or the time was too short"
            )
        return joules


class GpuCounter(EnergyCounter):
    """Read NVML's counter of one CUDA device through zeus."""

    method = (
        "zeus (NVML): all that the GPU itself took in these seconds, idle power and its memory "
        "included; the processor and the rest of the machine are not in it"
    )

    def __init__(self, index: int) -> None:
        from zeus.monitor import ZeusMonitor

        # approx_instant_energy would estimate joules as power times seconds
        self.monitor = ZeusMonitor(gpu_indices=[index], cpu_indices=[], approx_instant_energy=False)
        self.windows = 0

    def read(self) -> str:
        self.windows += 1
        self.monitor.begin_window(name := f"window {self.windows}")
        return name

    def difference(self, reading: str) -> float:
        return float(sum(self.monitor.end_window(reading).gpu_energy.values()))


def gpu_counter(index: int) -> EnergyCounter | str:
    """Return the counter of a CUDA device, as torch numbers them, or why there is none."""
    try:
        return GpuCounter(index)
    except ImportError:
        return f"reading a GPU's counter needs the package zeus ({INSTALL_COMMAND})"
    except Exception as error:  # no driver, NVML or GPU: zeus and its libraries raise their own
        reason = " ".join(str(error).split())[:200]
        return f"zeus cannot read this GPU: {type(error).__name__}: {reason}"


class RaplCounter(EnergyCounter):
    """Read the counters of the processor's packages that the kernel shows; they wrap around."""

    method = (
        "RAPL, read from /sys/class/powercap: all that the processor's package took in these "
        "seconds, its other cores, other processes and idle power included; memory and the rest of "
        "the machine are not in it"
    )

    def __init__(self, domains: list[Path]) -> None:
        self.ranges = {domain: read_int(domain / "max_energy_range_uj") for domain in domains}

    def read(self) -> dict[Path, int]:
        return {domain: read_int(domain / "energy_uj") for domain in self.ranges}

    def difference(self, reading: dict[Path, int]) -> float:
        now = self.read()
        # after max_energy_range_uj comes 0; a window is far shorter than two wraps
        return JOULES_PER_MICROJOULE * sum(
            (now[domain] - reading[domain]) % (self.ranges[domain] + 1) for domain in reading
        )


def read_int(path: Path) -> int:
    """Return the integer in a file. Raise OSError or ValueError."""
    return int(path.read_text(encoding="ascii").strip())


def rapl_counter(root: Path) -> EnergyCounter | str:
    """Return the counter of all processor packages below `root`, or why there is none."""
    if not root.is_dir():
        return f"{root} does not exist"
    domains = []
    for domain in sorted(path for path in root.iterdir() if PACKAGE_DOMAIN.fullmatch(path.name)):
        try:
            if not (domain / "name").read_text(encoding="ascii").startswith("package"):
                continue  # "psys" is the platform, which includes the packages
            read_int(domain / "energy_uj"), read_int(domain / "max_energy_range_uj")
            domains.append(domain)
        except PermissionError:  # one package of two would be half of the energy
            return f"only the administrator may read {domain}/energy_uj"
        except (OSError, ValueError):
            continue
    return RaplCounter(domains) if domains else f"{root} has no readable package domain"


def find_counter(device: str, index: int = 0, root: Path = POWERCAP) -> EnergyCounter | str:
    """Return the counter of a device, "cuda" or "cpu", or why there is none.

    `index`: the GPU, as torch numbers them. The processor's counter never stands in for a GPU's.
    """
    counter = gpu_counter(index) if device == "cuda" else rapl_counter(root)
    if isinstance(counter, EnergyCounter):
        return counter
    return f"no energy counter can be read: {counter}"
