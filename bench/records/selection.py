"""Which record of a run counts, where there are several attempts and copies; what is told of the others. Imports no torch."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.config.errors import UserError
from bench.config.identity import digest, variant
from bench.config.schema import run_from_dict
from bench.records.loading import UNREADABLE, RunRecord, load_record

ATTEMPT = re.compile(r"-[0-9a-f]{8}-a(\d+)$")  # the end of a folder's name


class StoredRun(NamedTuple):
    """A folder that holds the record of a run."""

    folder: Path
    look: RunRecord
    attempt: int


def _stored_runs(root: Path) -> Iterator[StoredRun]:
    for folder in sorted(path for path in root.glob("runs/*") if path.is_dir()):
        seen = load_record(folder)
        if seen.status != "absent":
            named = ATTEMPT.search(folder.name)
            yield StoredRun(
                folder, seen, seen.provenance.get("attempt") or int(named[1] if named else 1)
            )


def run_key(one: StoredRun) -> tuple[str, int]:
    """What is the same for all attempts and copies of a run, and for no other: its variant and its seed."""
    config = one.look.config
    try:
        return one.look.provenance.get("variant") or variant(run_from_dict(config)), config["seed"]
    except UserError:  # it names no learning rate: then it never had a variant
        return digest(config), config["seed"]


def select_runs(root: Path) -> tuple[list[StoredRun], list[dict[str, str]]]:
    """The one record of each run below a results folder that counts, and what is told of those that do not.

    The last attempt that is done counts, else the last. Of copies of an attempt it is the one with the shortest name, as
    copying makes names longer. Attempts before the one that counts are told of nowhere: it was made to stand in their place.
    """
    records = list(_stored_runs(root))
    groups: dict[tuple[str, int], list[StoredRun]] = {}
    for one in records:
        if one.look.config:
            groups.setdefault(run_key(one), []).append(one)
    best = [min(group, key=_precedence) for group in groups.values()]
    pairs = [
        (one, other)
        for one, group in zip(best, groups.values(), strict=True)
        for other in group
        if other is not one
    ]
    passed = [
        _excluded_duplicate(other, one) for one, other in pairs if other.attempt >= one.attempt
    ]
    attempts = {_first_attempt_name(one): one.attempt for one in best}
    unknown = [
        one
        for one in records
        if not one.look.config and one.attempt >= attempts.get(_first_attempt_name(one), 0)
    ]
    return best, [*passed, *(excluded_row(one, UNREADABLE, one.look.reason) for one in unknown)]


def _first_attempt_name(one: StoredRun) -> str:
    """The name of a run's first attempt."""
    return one.folder.name.removesuffix(f"-a{one.attempt}")


def _precedence(one: StoredRun) -> tuple[bool, int, int]:
    return one.look.status != "done", -one.attempt, len(one.folder.name)


def _excluded_duplicate(other: StoredRun, best: StoredRun) -> dict[str, str]:
    name, status = best.folder.name, other.look.status
    if other.attempt == best.attempt and status == best.look.status:
        return excluded_row(
            other, "copy", f"the same run as {name}, which counts: one run counts once"
        )
    reason = other.look.result.get("reason") or other.look.reason or "no reason was recorded"
    return excluded_row(
        other, status, f"{reason}; {name}, which is {best.look.status}, counts in its place"
    )


def excluded_row(one: StoredRun, status: str, reason: str) -> dict[str, str]:
    """What the report says of a record that counts for nothing, or for less; the command that would mend it."""
    rerun = "" if status in ("copy", "damaged") else one.look.provenance.get("rerun") or ""
    return {"run": one.folder.name, "status": status, "reason": reason, "rerun": rerun}
