"""What a number is: its name, its unit, which way is better, and every sample of it. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

TRAINING_FLOPS_FACTOR = (
    3  # times the FLOPs of a forward pass: what a backward pass adds is twice as much
)


@dataclass(frozen=True)
class Metric:
    """One measured quantity. `values` are samples, never statistics; `at` says where on an axis it was taken."""

    name: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    values: tuple[float, ...]
    note: str = ""
    at: Mapping[str, float] = field(default_factory=dict)  # {"length": 256}: a point of a curve
    rounds: tuple[int, ...] = ()  # the round each sample was taken in, where rounds were paired

    def as_json(self) -> dict[str, Any]:
        """The form that stands in result.json."""
        return asdict(self) | {
            "values": list(self.values),
            "rounds": list(self.rounds),
            "at": dict(self.at),
        }
