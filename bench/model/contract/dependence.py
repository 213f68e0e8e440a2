"""Find what an output depends on: positions after it, other rows of its batch."""

import copy
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from architectures.interface import Backbone
from bench.model import LanguageModel
from bench.model.contract.perturbation import draw_cuts, keep_before, rounding_of
from bench.model.contract.probes import CheckFailed, random_input, seeded_output

# float64 may differ by this where a Fourier transform or a routing mixes rounding errors
FLOAT64_TOLERANCE = 1e-9


class Case(NamedTuple):
    """How a model is run: a leak may hide in any other."""

    batch: int
    length: int
    training: bool = False
    precision: torch.dtype = torch.float32

    def __str__(self) -> str:
        mode = "training" if self.training else "evaluation"
        name = str(self.precision).removeprefix("torch.")
        return f"({self.batch}, {self.length}) in {mode} mode in {name}"


class ReferenceOutput:
    """Compare the output for one input with the outputs for others, in one precision.

    Where they differ, float64 tells a dependency from rounding; a dependency of the precision alone
    is told by what a change of all weights by rounding does to the output.
    """

    def __init__(
        self,
        backbone: Backbone,
        x: Tensor,
        lengths: Tensor | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.backbone, self.x, self.lengths, self.precision = backbone, x, lengths, precision
        self.output = self.output_of(x)

    def output_of(self, x: Tensor) -> Tensor:
        """Return the output (B, T, D) for x in the precision of the reference."""
        low = self.precision != torch.float32
        with torch.autocast(x.device.type, dtype=self.precision, enabled=low):
            return seeded_output(self.backbone, x, self.lengths).float()

    @cached_property
    def float64(self) -> tuple[Backbone, Tensor]:
        """Return the backbone and its output in float64.

        Raises CheckFailed where the same input gives another output.
        """
        if not torch.equal(self.output, self.output_of(self.x)):
            message = "random numbers ignore the seed: the same input gave another output"
            raise CheckFailed(message, "unseeded-randomness")
        double = copy.deepcopy(self.backbone).double()
        return double, seeded_output(double, self.x.double(), self.lengths)

    @cached_property
    def rounding(self) -> float:
        """Return by how much an output may change by rounding."""
        return rounding_of(self.backbone, lambda: self.output_of(self.x), self.output)

    def changes(self, other: Tensor, compared: Tensor) -> Tensor:
        """Return by how much outputs change beyond rounding when x becomes `other`, (B, T).

        Only where `compared` (B, T) is true; 0 elsewhere.
        """
        changed = _distances(self.output, self.output_of(other), compared)
        if not changed.any():
            return changed
        double, output = self.float64
        exact = _distances(output, seeded_output(double, other.double(), self.lengths), compared)
        if exact.max() > FLOAT64_TOLERANCE:
            return exact.where(exact > FLOAT64_TOLERANCE, 0)
        return changed.where(changed > self.rounding, 0)


def _distances(a: Tensor, b: Tensor, compared: Tensor) -> Tensor:
    return (a - b).abs().amax(dim=-1).where(compared, 0)


def check_rows(model: LanguageModel, case: Case) -> None:
    """Raise CheckFailed where replacing half of the rows changes another row's output."""
    replaced = torch.arange(case.batch) % 2 == 0
    cuts = torch.where(replaced, 0, case.length)
    if distance := _changes(model, case, cuts).max().item():
        raise CheckFailed(
            f"rows are mixed: at {case}, other rows changed a row by up to {distance:.2g}",
            "mixes-rows",
        )


def check_causal(model: LanguageModel, cases: Iterable[Case]) -> None:
    """Raise CheckFailed where an output depends on later positions, or on other rows."""
    for number, case in enumerate(cases):
        random = np.random.default_rng(number)
        cuts = torch.from_numpy(draw_cuts(case.batch, case.length, random))
        changes = _changes(model, case, cuts)
        if not changes.any():
            continue
        if case.batch > 1:
            check_rows(model, case)
        row = int(torch.where(changes.any(dim=1), cuts, -1).argmax())
        place = int(changes[row].nonzero().max())
        raise CheckFailed(
            f"it declares causal = True but looks ahead: at {case}, other tokens from position "
            f"{int(cuts[row])} on changed the output at position {place} by "
            f"{changes[row, place].item():.2g}",
            "looks-ahead",
        )


def _changes(model: LanguageModel, case: Case, cuts: Tensor) -> Tensor:
    """Return by how much outputs before the cuts (B,) change beyond rounding, (B, T)."""
    backbone: Backbone = model.backbone
    training = backbone.training
    x, other = (random_input(model, case.length, seed, case.batch) for seed in (0, 1))
    cuts = cuts.to(x.device)
    try:
        backbone.train(case.training)
        reference = ReferenceOutput(backbone, x, precision=case.precision)
        before = torch.arange(case.length, device=x.device) < cuts[:, None]
        return reference.changes(keep_before(x, other, cuts), before).cpu()
    finally:
        backbone.train(training)
