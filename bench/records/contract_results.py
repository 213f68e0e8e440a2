"""Store what the contract's checks found about an architecture, beside a suite's runs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.identity import architecture_id
from bench.config.schema import Run
from bench.records.schema import SCHEMA
from bench.records.source import CONTRACT, source_digest
from bench.records.store import write_json
from bench.system.files import check_writable

FOLDER = "checks"
OLD_STATUS = {"holds": "passed", "broken": "failed", "not asked": "skipped"}  # of earlier versions


def write_contract_results(run: Run, findings: Sequence[Mapping[str, Any]]) -> Path:
    """Write the findings (name, status, came) over those of before, and return their path.

    Raises UserError where it cannot be written.
    """
    folder = Path(run.results) / run.suite / FOLDER
    check_writable(folder)
    target, digest = str(run.arch["_target_"]), architecture_id(run.arch)
    path = folder / f"{run.names['arch']}-{digest}.json".replace("/", "_")
    content = {
        "schema": SCHEMA,
        "arch": run.names["arch"],
        "architecture": digest,
        "target": target,
        "source": source_digest(CONTRACT, target),
        "findings": list(findings),
    }
    write_json(path, content)
    return path


def results_by_architecture(contents: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the contents of valid files by the architecture's identity.

    `stale` says whether a source file has changed since.
    """
    results: dict[str, dict[str, Any]] = {}
    for content in contents:
        findings = [
            one | {"status": OLD_STATUS.get(one["status"], one["status"])}
            for one in content["findings"]
        ]
        stale = content["source"] != source_digest(CONTRACT, content["target"])
        results[content["architecture"]] = content | {"findings": findings, "stale": stale}
    return results
