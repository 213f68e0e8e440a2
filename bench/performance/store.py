"""Write a session's records, and tell whether a session already answers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.config import MeasureConfig, Run, digest, workload_id
from bench.performance.entry import Entry
from bench.performance.metrics import session_metrics
from bench.performance.rounds import ORDER_SEED
from bench.records import load_measurement, write_json, write_result
from bench.records.source import MEASURING, source_digest
from bench.system import host, host_state


def measurement_protocol(run: Run, options: MeasureConfig) -> dict[str, Any]:
    """Return how a run is measured; on one machine the same digest need not be measured again."""
    key = {
        "options": asdict(options),
        "source": source_digest(MEASURING, str(run.arch["_target_"])),
        "seed": ORDER_SEED,
        "threads": run.threads,
        "torch": host.package_version("torch"),
    }
    key |= {"decode": run.decode} if run.decode != "auto" else {}
    return key | {"digest": digest(key)}


def needs_measuring(
    runs: Sequence[Run],
    folder: Path,
    options: MeasureConfig,
    vocabularies: Mapping[str, int] | None = None,
) -> bool:
    """Return whether no session below the suite's `folder` holds all of `runs`.

    Only a completed session of this machine with the same options and source counts, and a workload
    with the size of its vocabulary in `vocabularies`: the file of a tokenizer may have changed.
    """
    if options.depth == "off" or not runs:
        return False
    wanted = {(workload_id(run), measurement_protocol(run, options)["digest"]) for run in runs}
    sessions: dict[Path, set[tuple[str, str]]] = {}
    for path in folder.glob("measure/*/*/subject.json"):
        subject, result, _ = load_measurement(path.parent)
        if result["status"] in ("done", "skipped") and _counts(subject, vocabularies or {}):
            protocol = str((subject.get("protocol") or {}).get("digest"))
            sessions.setdefault(path.parent.parent, set()).add((subject["subject"], protocol))
    return not any(wanted <= measured for measured in sessions.values())


def _counts(subject: Mapping[str, Any], vocabularies: Mapping[str, int]) -> bool:
    """Return whether a measurement is of this machine, complete, and of the vocabulary now."""
    stopped = (subject.get("surroundings") or {}).get("stopped")
    if stopped or subject.get("twin") or subject["machine"] != host.machine_digest():
        return False
    measured = (subject.get("facts") or {}).get("vocabulary")  # older records do not have it
    return measured in (None, vocabularies.get(subject["subject"], measured))


def decode_form(entry: Entry) -> str:
    """Return the forms of the one-token step that were measured, and why no other."""
    if reason := entry.samples.refused.get("decode"):
        return f"none, because {reason}"
    if "decode_compiled" in entry.samples.windows:
        return "eager and compiled"
    if reason := entry.samples.refused.get("decode_compiled"):
        return f"eager, because {reason}"
    if entry.run.decode == "eager":
        return "eager, because of decode=eager"
    return "eager, because compiling is not repaid by a short session: decode=compiled asks for it"


def _new_folder(results: Path) -> Path:
    """Create the session's folder, named by the machine and the time."""
    stem = results / "measure" / f"{host.machine_digest()}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    for number in range(1, 1000):
        folder = stem if number == 1 else stem.with_name(f"{stem.name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(stem)


def _subject(
    entry: Entry, surroundings: Mapping[str, Any], options: MeasureConfig
) -> dict[str, Any]:
    """Return subject.json: what was measured, where and how."""
    return {
        "arch": entry.run.names["arch"],
        "described": entry.run.arch,
        "subject": workload_id(entry.run),
        "machine": host.machine_digest(),
        "twin": entry.duplicate,
        "environment": entry.environment or host.environment_record(entry.run.threads),
        "surroundings": surroundings,
        "options": asdict(options),
        "width": entry.samples.facts.get("width"),
        "facts": entry.samples.facts,
        "decode": decode_form(entry),
        "protocol": measurement_protocol(entry.run, options),
    }


def write_session(
    entries: Sequence[Entry],
    results: Path,
    options: MeasureConfig,
    context: Mapping[str, Any],
    calibration: Mapping[str, Any],
) -> Path:
    """Write a folder for each entry and the calibration; return the session's folder.

    `context`: the host's state before, the first round of each process, and whether the session was
    stopped.
    """
    session = _new_folder(results)
    surroundings = {**context, "after": host_state.read_host_state()}
    write_json(session / "doctor.json", calibration)
    for entry in entries:
        folder, done = session / entry.name, entry.status == "done"
        folder.mkdir()
        write_json(folder / "subject.json", _subject(entry, surroundings, options))
        metrics = session_metrics(entry.samples) if done else ()
        write_result(folder, entry.status, entry.reason, metrics)
    return session
