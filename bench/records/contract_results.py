"""What the contract's checks found about an architecture, kept beside a suite's runs for the report's cards. Imports no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.identity import architecture_id
from bench.config.schema import Run
from bench.records.source import CONTRACT, source_digest
from bench.records.store import SCHEMA, read_json, write_json
from bench.system.files import check_writable

CONTRACT_FOLDER = "checks"
OLD_STATUS = {"holds": "passed", "broken": "failed", "not asked": "skipped"}  # of earlier versions


def write_contract_results(run: Run, findings: Sequence[Mapping[str, Any]]) -> Path:
    """Keep what each check found (name, status, came), over what was found before. Raises UserError where it can not be written."""
    folder = Path(run.results) / run.suite / CONTRACT_FOLDER
    check_writable(folder)
    path = folder / f"{run.names['arch']}-{architecture_id(run.arch)}.json".replace("/", "_")
    about = {
        "arch": run.names["arch"],
        "architecture": architecture_id(run.arch),
        "target": str(run.arch["_target_"]),
    }
    write_json(
        path,
        {
            "schema": SCHEMA,
            **about,
            "source": source_digest(CONTRACT, about["target"]),
            "findings": list(findings),
        },
    )
    return path


def read_contract_results(root: Path) -> dict[str, dict[str, Any]]:
    """What was kept below results/<suite>, by the identity of the architecture; `stale` where a source has changed since."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((root / CONTRACT_FOLDER).glob("*.json")):
        content = read_json(path)
        if (
            isinstance(content, dict)
            and {"architecture", "target", "source", "findings"} <= content.keys()
        ):
            findings = [
                one | {"status": OLD_STATUS.get(one.get("status"), one.get("status"))}
                for one in content["findings"]
            ]
            found[str(content["architecture"])] = content | {
                "findings": findings,
                "stale": content["source"] != source_digest(CONTRACT, str(content["target"])),
            }
    return found
