"""What the contract's checks found about an architecture, kept beside a suite's runs for the report's cards. Imports no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config import Run
from bench.disk import check_writable
from bench.identity import architecture, digest
from bench.installed import module_file
from bench.record import SCHEMA, read_json, source_digest, write_json

FOLDER = "checks"


def source(target: str) -> str:
    """The digest of what decides how a class keeps the contract: the contract, the models, and its own file."""
    bench, own = Path(__file__).parent, module_file(target)
    files = [bench / f"{name}.py" for name in ("model", "probe", "promise")] + ([] if own is None else [own])
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    return digest([source_digest([bench.parent / "architectures", bench / "contract"]), texts])


def write(run: Run, findings: Sequence[Mapping[str, Any]]) -> Path:
    """Keep what each check found (name, status, came), over what was found before. Raises Mistake where it can not be written."""
    folder = Path(run.results) / run.suite / FOLDER
    check_writable(folder)
    path = folder / f"{run.names['arch']}-{architecture(run.arch)}.json".replace("/", "_")
    about = {"arch": run.names["arch"], "architecture": architecture(run.arch), "target": str(run.arch["_target_"])}
    write_json(path, {"schema": SCHEMA, **about, "source": source(about["target"]), "findings": list(findings)})
    return path


def read(root: Path) -> dict[str, dict[str, Any]]:
    """What was kept below results/<suite>, by the identity of the architecture; `stale` where a source has changed since."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((root / FOLDER).glob("*.json")):
        content = read_json(path)
        if isinstance(content, dict) and {"architecture", "target", "source", "findings"} <= content.keys():
            found[str(content["architecture"])] = content | {"stale": content["source"] != source(str(content["target"]))}
    return found
