"""Which record of a run counts, where there are several attempts and copies; what is told of the others. Imports no torch."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.config.errors import UserError
from bench.config.identity import digest, variant
from bench.config.schema import from_plain
from bench.records.loading import UNREADABLE, Look, look

ATTEMPT = re.compile(r"-[0-9a-f]{8}-a(\d+)$")  # the end of a folder's name


class Found(NamedTuple):
    """A folder that holds the record of a run."""

    folder: Path
    look: Look
    attempt: int


def _found(root: Path) -> Iterator[Found]:
    for folder in sorted(path for path in root.glob("runs/*") if path.is_dir()):
        seen = look(folder)
        if seen.status != "absent":
            named = ATTEMPT.search(folder.name)
            yield Found(
                folder, seen, seen.provenance.get("attempt") or int(named[1] if named else 1)
            )


def identity(one: Found) -> tuple[str, int]:
    """What is the same for all attempts and copies of a run, and for no other: its variant and its seed."""
    config = one.look.config
    try:
        return one.look.provenance.get("variant") or variant(from_plain(config)), config["seed"]
    except UserError:  # it names no learning rate: then it never had a variant
        return digest(config), config["seed"]


def counting(root: Path) -> tuple[list[Found], list[dict[str, str]]]:
    """The one record of each run below a results folder that counts, and what is told of those that do not.

    The last attempt that is done counts, else the last. Of copies of an attempt it is the one with the shortest name, as
    copying makes names longer. Attempts before the one that counts are told of nowhere: it was made to stand in their place.
    """
    records = list(_found(root))
    groups: dict[tuple[str, int], list[Found]] = {}
    for one in records:
        if one.look.config:
            groups.setdefault(identity(one), []).append(one)
    best = [min(group, key=_order) for group in groups.values()]
    pairs = [
        (one, other)
        for one, group in zip(best, groups.values(), strict=True)
        for other in group
        if other is not one
    ]
    passed = [_beside(other, one) for one, other in pairs if other.attempt >= one.attempt]
    attempts = {_first(one): one.attempt for one in best}
    unknown = [
        one
        for one in records
        if not one.look.config and one.attempt >= attempts.get(_first(one), 0)
    ]
    return best, [*passed, *(told(one, UNREADABLE, one.look.reason) for one in unknown)]


def _first(one: Found) -> str:
    """The name of a run's first attempt."""
    return one.folder.name.removesuffix(f"-a{one.attempt}")


def _order(one: Found) -> tuple[bool, int, int]:
    return one.look.status != "done", -one.attempt, len(one.folder.name)


def _beside(other: Found, best: Found) -> dict[str, str]:
    name, status = best.folder.name, other.look.status
    if other.attempt == best.attempt and status == best.look.status:
        return told(other, "copy", f"the same run as {name}, which counts: one run counts once")
    reason = other.look.result.get("reason") or other.look.reason or "no reason was recorded"
    return told(
        other, status, f"{reason}; {name}, which is {best.look.status}, counts in its place"
    )


def told(one: Found, status: str, reason: str) -> dict[str, str]:
    """What the report says of a record that counts for nothing, or for less; the command that would mend it."""
    rerun = "" if status in ("copy", "damaged") else one.look.provenance.get("rerun") or ""
    return {"run": one.folder.name, "status": status, "reason": reason, "rerun": rerun}
