"""Compare two versions of the code by their results folders: what changed, and what is shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bench.analysis.cost_changes import memory_changes, speed_changes
from bench.analysis.formatting import join_words
from bench.analysis.quality_changes import quality_changes
from bench.analysis.version_changes import (
    BETTER,
    FAILED,
    KINDS,
    MEMORY,
    NO_CLAIM,
    NOT_DISTINGUISHABLE,
    QUALITY,
    SPEED,
    WITHIN_THRESHOLD,
    WORSE,
    Change,
    KindChanges,
    Uncompared,
)
from bench.config.errors import UserError
from bench.records.tables import Records
from bench.stats import adjusted_p_values, detectable_difference

DEFAULT_THRESHOLDS = {QUALITY: 0.0, SPEED: 0.0, MEMORY: 0.001}
LEVEL = 0.01  # share of comparisons of equal versions that claim any change
MAX_REASONS = 3  # in a message
FEW_SAMPLES = {
    QUALITY: "one seed says nothing of how seeds vary: three allow a claim",
    SPEED: "one process each: measure.processes has to be more",
}


@dataclass(frozen=True)
class Gate:
    """What makes a comparison fail."""

    fail: tuple[str, ...] = ()  # kinds; empty: each kind that both folders hold
    thresholds: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_THRESHOLDS))


@dataclass(frozen=True)
class VersionComparison:
    """Everything that a comparison of two results folders shows."""

    changes: tuple[Change, ...]  # of KINDS in order; regressions first
    uncompared: tuple[Uncompared, ...]
    notes: tuple[str, ...]
    versions: tuple[tuple[str, str, str], ...]  # (what, in OLD, in NEW) where they differ
    gate: Gate

    @property
    def regressions(self) -> list[Change]:
        """Return the changes that make the comparison fail."""
        return [one for one in self.changes if one.kind in self.gate.fail and is_regression(one)]


def is_regression(change: Change) -> bool:
    """Return whether NEW is shown to be worse than OLD."""
    return change.verdict in (WORSE, FAILED)


def compare_folders(old: Records, new: Records, gate: Gate) -> VersionComparison:
    """Compare two results folders. Raise UserError where they have nothing that can be compared."""
    parts = {
        QUALITY: quality_changes(old, new, gate.thresholds[QUALITY]),
        SPEED: speed_changes(old, new, gate.thresholds[SPEED]),
        MEMORY: memory_changes(old, new),
    }
    changes = [*_decide_tested(parts), *_decide_settled(parts, gate)]
    changes.sort(key=lambda one: (KINDS.index(one.kind), not is_regression(one)))
    uncompared = [one for part in parts.values() for one in part.uncompared]
    _check_decided(changes, uncompared, gate)
    kinds = gate.fail or tuple(kind for kind in KINDS if any(one.kind == kind for one in changes))
    notes = [note for part in parts.values() for note in part.notes]
    return VersionComparison(
        tuple(changes), tuple(uncompared), tuple(notes), tuple(_version_rows(old, new)),
        replace(gate, fail=kinds),
    )  # fmt: skip


# --- verdicts ------------------------------------------------------------------------------------


def _decide_tested(parts: Mapping[str, KindChanges]) -> Iterator[Change]:
    """Yield the tested changes with p values, corrected for all of them, and verdicts."""
    tested = [one for part in parts.values() for one in part.tested]
    corrected = adjusted_p_values([one.tests for one in tested], [one.margins for one in tested])
    level = LEVEL / max(1, sum(int(np.isfinite(p).sum()) for p in corrected))
    for one, p_values in zip(tested, corrected, strict=True):
        levels = np.full(len(p_values), level)
        smallest = one.margins + detectable_difference(levels, one.tests.spread)
        columns = zip(one.rows, one.tests.difference, p_values, smallest, strict=True)
        for row, worse_by, p, least in columns:
            row = replace(row, p=float(p), detectable=abs(one.shown(float(least))))
            yield _decide(row, worse_by)


def _decide(row: Change, worse_by: float) -> Change:
    """Return a tested change with its verdict, and the reason where nothing is claimed."""
    if row.verdict:
        return row
    if row.reason or not np.isfinite(row.p):
        return replace(row, verdict=NO_CLAIM, reason=row.reason or FEW_SAMPLES[row.kind])
    worse = WORSE if worse_by > 0 else BETTER
    return replace(row, verdict=NOT_DISTINGUISHABLE if row.p > LEVEL else worse)


def _decide_settled(parts: Mapping[str, KindChanges], gate: Gate) -> Iterator[Change]:
    """Yield the changes that need no test: failures, and memory beyond the threshold."""
    for row in (row for part in parts.values() for row in part.settled):
        if row.verdict:
            yield row
        elif abs(row.change) <= gate.thresholds[row.kind]:
            yield replace(row, verdict=WITHIN_THRESHOLD)
        else:
            yield replace(row, verdict=WORSE if row.change > 0 else BETTER)


def _check_decided(changes: Sequence[Change], uncompared: Sequence[Uncompared], gate: Gate) -> None:
    """Raise UserError for a kind that decides nothing, so that no gate passes by default."""
    decided = {one.kind for one in changes if one.decided}
    missing = [kind for kind in gate.fail or KINDS if kind not in decided]
    if not missing or (decided and not gate.fail):
        return
    entries: list[Change | Uncompared] = [*changes, *uncompared]
    reasons = _reasons([one for one in entries if one.kind in missing and one.reason])
    shown = reasons[:MAX_REASONS] or ["the folders have nothing in common"]
    more = f" (and {len(reasons) - MAX_REASONS} more)" if len(reasons) > MAX_REASONS else ""
    raise UserError(
        f"{join_words(missing)} cannot be compared: {'; '.join(shown)}{more}", "not-comparable"
    )


def _reasons(entries: Sequence[Change | Uncompared]) -> list[str]:
    reasons = dict.fromkeys(one.reason for one in entries)
    labels = {
        reason: dict.fromkeys(one.label for one in entries if one.reason == reason)
        for reason in reasons
    }
    return [f"{join_words([*own])}: {reason}" for reason, own in labels.items()]


# --- versions ------------------------------------------------------------------------------------


def _version_rows(old: Records, new: Records) -> Iterator[tuple[str, str, str]]:
    before, after = _versions(old), _versions(new)
    for name in dict.fromkeys([*before, *after]):
        values = [", ".join(sorted(own.get(name, ()))) or "unknown" for own in (before, after)]
        if values[0] != values[1]:
            yield name, values[0], values[1]


def _versions(records: Records) -> dict[str, set[str]]:
    """Return the commits, sources, machines and package versions of a folder's runs."""
    versions: dict[str, set[str]] = {}
    for name, version in _version_entries(records):
        if version not in (None, ""):
            versions.setdefault(name, set()).add(str(version))
    return versions


def _version_entries(records: Records) -> Iterator[tuple[str, Any]]:
    for provenance in records.runs["provenance"]:
        git, digests = provenance.get("git") or {}, provenance.get("digests") or {}
        dirty = " with changes" if git.get("dirty") else ""
        yield "commit", f"{git['commit'][:9]}{dirty}" if git.get("commit") else ""
        yield "sources", digests.get("source")
    for environment in (*records.runs["environment"], *records.measures["environment"]):
        for name in ("machine", "processor", "accelerator", "threads", "python"):
            yield name, environment.get(name)
        yield from (environment.get("packages") or {}).items()
