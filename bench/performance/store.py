"""Where a sitting is kept, and whether there is one already that answers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.config.identity import digest, workload_id
from bench.config.schema import MeasureConfig, Run
from bench.performance.entry import Entry
from bench.performance.metrics import session_metrics
from bench.performance.rounds import ORDER_SEED
from bench.records.loading import load_measurement
from bench.records.source import MEASURING, source_digest
from bench.records.store import write_json, write_result
from bench.system import host

# --- identity ---------------------------------------------------------------------------------------------------------


def measurement_protocol(run: Run, options: MeasureConfig) -> dict[str, Any]:
    """How a run's architecture is measured. On one machine a measurement with the same digest need not be taken again."""
    key = {
        "options": asdict(options),
        "source": source_digest(MEASURING, str(run.arch["_target_"])),
        "seed": ORDER_SEED,
        "threads": run.threads,
        "torch": host.package_version("torch"),
    }
    return key | {"digest": digest(key)}


def needs_measuring(runs: Sequence[Run], folder: Path, options: MeasureConfig) -> bool:
    """Whether `runs` have still to be measured: False where one sitting below the suite's `folder` holds them all.

    Only one of this machine that was not stopped, with the same options and the same source, counts.
    """
    if options.depth == "off" or not runs:
        return False
    wanted = {(workload_id(run), measurement_protocol(run, options)["digest"]) for run in runs}
    held: dict[Path, set[tuple[str, str]]] = {}
    for path in folder.glob("measure/*/*/subject.json"):
        about, result, _ = load_measurement(path.parent)
        whole = not (about.get("surroundings") or {}).get("stopped") and not about.get("twin")
        here = whole and about["machine"] == host.machine_digest()
        if here and result["status"] in ("done", "skipped"):
            held.setdefault(path.parent.parent, set()).add(
                (about["subject"], str((about.get("protocol") or {}).get("digest")))
            )
    return not any(wanted <= subjects for subjects in held.values())


# --- writing ----------------------------------------------------------------------------------------------------------


def _new_folder(results: Path) -> Path:
    """A folder of this sitting's own, named by the machine and the time."""
    stem = results / "measure" / f"{host.machine_digest()}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    for number in range(1, 1000):
        folder = stem if number == 1 else stem.with_name(f"{stem.name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(stem)


def write_session(
    table: Sequence[Entry],
    results: Path,
    options: MeasureConfig,
    around: Mapping[str, Any],
    rulers: Mapping[str, Any],
) -> Path:
    """Write a folder for each seat, and what the rulers' own examination found. Returns the sitting's folder.

    `around`: the machine before and after, at which round each process began, and whether it was stopped before its end.
    """
    folder = _new_folder(results)
    write_json(folder / "doctor.json", rulers)
    for seat in table:
        place = folder / seat.name
        place.mkdir()
        about = {
            "arch": seat.run.names["arch"],
            "described": seat.run.arch,
            "subject": workload_id(seat.run),
            "machine": host.machine_digest(),
            "twin": seat.twin,
            "environment": seat.environment or host.environment_record(seat.run.threads),
            "surroundings": dict(around),
            "options": asdict(options),
            "width": seat.samples.facts.get("width"),
            "facts": seat.samples.facts,
            "protocol": measurement_protocol(seat.run, options),
        }
        write_json(place / "subject.json", about)
        write_result(
            place,
            seat.status,
            seat.reason,
            session_metrics(seat.samples) if seat.status == "done" else (),
        )
    return folder
