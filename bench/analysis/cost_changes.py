"""Compare what two results folders measured: speed within one machine, and memory."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bench.analysis.session_builder import build_sessions
from bench.analysis.sessions import (
    NO_SAMPLES,
    PEAK_MEMORY,
    RATES,
    TRAIN_RATE,
    MeasuredSession,
    scalar_point,
)
from bench.analysis.version_changes import (
    FAILED,
    IDENTICAL,
    MEMORY,
    SPEED,
    Change,
    KindChanges,
    TestedRows,
    Uncompared,
    with_intervals,
)
from bench.records.tables import Records
from bench.stats import Numbers, process_medians, unpaired_changes

MEMORY_METRICS = (PEAK_MEMORY, "memory_allocator_peak_bytes", "state_bytes")
# that no model's code changes
MACHINE_PEAKS = ("product_flops_per_second", "copy_bytes_per_second")
NAN = float("nan")


class SessionPair(NamedTuple):
    """A session of either folder on one machine, and the subjects that both measured."""

    old: MeasuredSession
    new: MeasuredSession
    subjects: list[str]

    @property
    def reference(self) -> str:
        """Return the subject that ratios are to: preferably one that was entered twice."""
        measured = set(self.subjects)
        candidates = [self.new.reference, self.old.reference, *self.subjects]
        return next(one for one in candidates if one in measured)

    def label(self, subject: str) -> str:
        """Return the subject's architecture, with the subject where that is ambiguous."""
        arches = [self.new.arches[one] for one in self.subjects]
        arch = self.new.arches[subject]
        return arch if arches.count(arch) == 1 else f"{arch} {subject}"

    def noise(self, metric: str) -> tuple[float, str]:
        """Return the bias of the A/A pairs, and the code of why no claim is made.

        The bias is the log ratio by which an A/A pair's interval misses 1: noise of processes,
        which is in the interval of a change too, does not count.
        """
        bias = 0.0
        for session in (self.old, self.new):
            pair, reason = session.noise(metric), session.no_claim_reason(metric)
            if reason or pair is None:
                return bias, reason
            bias = max(bias, *np.log([pair.low, pair.mean_low, 1 / pair.high, 1 / pair.mean_high]))
        return bias, ""


def speed_changes(old: Records, new: Records, threshold: float) -> KindChanges:
    """Return the change of each rate relative to the reference.

    `threshold`: the share by which a rate may get slower.
    """
    sessions = [build_sessions(one.measures, one.calibrations) for one in (old, new)]
    if not all(sessions):
        return KindChanges()
    pairs = list(_pair_sessions(*sessions))
    tested, notes = list[TestedRows](), list[str]()
    for pair in pairs:
        if len(pair.subjects) > 1:
            tested += [
                _test_rate(pair, metric, threshold) for metric in RATES if _shared(pair, metric)
            ]
            notes.append(_reference_note(pair))
    return KindChanges(
        tested, list(_newly_failed(old, new)), list(_uncompared(sessions, pairs)), notes
    )


def _pair_sessions(
    old: Sequence[MeasuredSession], new: Sequence[MeasuredSession]
) -> Iterator[SessionPair]:
    """Yield the pairs of sessions of one machine that hold each subject's latest numbers."""
    latest = [
        {(one.machine, str(subject)): one for one in sessions for subject in one.medians.index}
        for sessions in (old, new)
    ]
    groups: dict[tuple[str, str], SessionPair] = {}
    for key, before in latest[0].items():
        if after := latest[1].get(key):
            pair = groups.setdefault((before.name, after.name), SessionPair(before, after, []))
            pair.subjects.append(key[1])
    yield from groups.values()


def _shared(pair: SessionPair, metric: str) -> list[str]:
    """Return the subjects, without the reference, that both sessions measured a rate of."""
    point = scalar_point(metric)
    own, other = pair.old.samples.get(point, {}), pair.new.samples.get(point, {})
    if pair.reference not in own or pair.reference not in other:
        return []
    return [one for one in pair.subjects if one in own and one in other and one != pair.reference]


def _test_rate(pair: SessionPair, metric: str, threshold: float) -> TestedRows:
    """Test the ratio to the reference of one rate; a process is the unit."""
    subjects = _shared(pair, metric)
    old, new = (
        [_log_slowness(session, metric, one, pair.reference) for one in subjects]
        for session in (pair.old, pair.new)
    )
    unknown = np.full(len(subjects), NAN)
    tests = unpaired_changes(old, new, unknown, unknown)
    bias, reason = pair.noise(metric)
    basis = f"{len(old[0])} and {len(new[0])} processes, against {pair.label(pair.reference)}"
    rows = [
        Change(SPEED, pair.label(one), metric, *_ratios(before, after), basis=basis, reason=reason)
        for one, before, after in zip(subjects, old, new, strict=True)
    ]
    margins = np.full(len(rows), max(bias, -math.log1p(-threshold)))
    return with_intervals(rows, tests, margins, lambda slower: math.expm1(-slower))


def _ratios(old: Numbers, new: Numbers) -> tuple[float, float, float]:
    """Return the ratio in OLD, that in NEW, and the relative change, of logs of slowness."""
    before, after = float(np.exp(-old.mean())), float(np.exp(-new.mean()))
    return before, after, after / before - 1


def _log_slowness(session: MeasuredSession, metric: str, subject: str, reference: str) -> Numbers:
    """Return by process −log of the ratio of rates to the reference: larger is slower."""
    point = scalar_point(metric)
    ratios = session.round_ratios(point, reference, subject)
    return process_medians(ratios, session.processes.get(point, NO_SAMPLES))


def _reference_note(pair: SessionPair) -> str:
    """Say how the reference itself moved, which no ratio to it shows."""
    ratio = pair.new.value(pair.reference, TRAIN_RATE) / pair.old.value(pair.reference, TRAIN_RATE)
    peaks = [
        f"{np.nanmedian(pair.new.medians[name]) / np.nanmedian(pair.old.medians[name]):.3f}"
        for name in MACHINE_PEAKS
        if name in pair.new.medians and name in pair.old.medians
    ]
    machine = "; the machine's own matrix product and copy run at {} times those of OLD"
    reference = pair.label(pair.reference)
    return (
        f"Speeds are ratios to {reference}, which both sessions measured: a change that meets all "
        f"alike does not show. {reference} itself trains at {ratio:.3f} times its rate in OLD"
        f"{machine.format(' and '.join(peaks)) if peaks else ''}. Rates of two sessions are no "
        "evidence by themselves."
    )


def _uncompared(
    sessions: Sequence[Sequence[MeasuredSession]], pairs: Sequence[SessionPair]
) -> Iterator[Uncompared]:
    """Yield what one folder measured and the other did not, on the same machine."""
    compared = {(pair.new.machine, one) for pair in pairs for one in pair.subjects}
    old, new = sessions
    for own, other, name in ((old, new, "NEW"), (new, old, "OLD")):
        machines = {session.machine for session in other}
        for session in own:
            for subject in sorted(session.arches, key=session.arches.__getitem__):
                if subject in session.medians.index and (session.machine, subject) not in compared:
                    lacks = "not measured" if session.machine in machines else "no session"
                    reason = f"{lacks} on machine {session.machine} in {name}"
                    yield Uncompared(SPEED, session.arches[subject], reason)
    for pair in pairs:
        if len(pair.subjects) == 1:
            reason = "no second architecture in both sessions that it could be compared with"
            yield Uncompared(SPEED, pair.label(pair.subjects[0]), reason)


def _newly_failed(old: Records, new: Records) -> Iterator[Change]:
    done = old.measures.loc[old.measures["status"] == "done", "subject"]
    latest = new.measures.sort_values("sitting", kind="stable").drop_duplicates(
        "subject", keep="last"
    )
    for row in latest[(latest["status"] == "failed") & latest["subject"].isin(done)].itertuples():
        arch, reason = str(row.arch), str(row.reason)
        yield Change(SPEED, arch, "status", NAN, NAN, NAN, verdict=FAILED, reason=reason)


def memory_changes(old: Records, new: Records) -> KindChanges:
    """Return the change of each memory metric: counted to the byte, so that nothing is tested.

    The processor does not matter for it; the accelerator has to be the same.
    """
    tables = [_memory(records) for records in (old, new)]
    changes, uncompared = list[Change](), list[Uncompared]()
    for subject in sorted(set(tables[0]) & set(tables[1])):
        before, after = tables[0][subject], tables[1][subject]
        if before.accelerator != after.accelerator:
            names = " and ".join(one.accelerator or "none" for one in (before, after))
            uncompared.append(Uncompared(MEMORY, after.label, f"the accelerator differs: {names}"))
            continue
        for metric in MEMORY_METRICS:
            values = before.values.get(metric, NAN), after.values.get(metric, NAN)
            if all(map(math.isfinite, values)) and values != (0.0, 0.0):
                changes.append(_memory_change(after.label, metric, *values))
    return KindChanges(settled=changes, uncompared=uncompared)


def _memory_change(label: str, metric: str, old: float, new: float) -> Change:
    change, verdict = new / old - 1 if old else math.inf, IDENTICAL if old == new else ""
    return Change(MEMORY, label, metric, old, new, change, verdict=verdict, basis="counted")


class Memory(NamedTuple):
    """What one subject needs, by its latest session."""

    label: str
    accelerator: str
    values: dict[str, float]


def _memory(records: Records) -> dict[str, Memory]:
    table = dict[str, Memory]()
    for session in build_sessions(records.measures, records.calibrations):
        accelerator = str(session.environment.get("accelerator") or "")
        for subject in map(str, session.medians.index):
            values = {name: session.value(subject, name) for name in MEMORY_METRICS}
            if any(map(math.isfinite, values.values())):
                table[subject] = Memory(session.arches[subject], accelerator, values)
    return table
