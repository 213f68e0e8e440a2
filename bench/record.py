"""Records: one folder a run and one a measurement, append only, finished by a rename. Imports no torch."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.config import Mistake, Run, digest, options, run_name, subject, variant
from bench.metric import Metric

if TYPE_CHECKING:  # half a second that only reading tables is worth
    import pandas as pd
    import pyarrow

SCHEMA = 1
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built
FINISHED = ("done", "failed", "skipped")


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file or nothing: to a neighbour first, flushed to the disk, then renamed."""
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    with open(neighbour, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(neighbour, path)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; None where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def check_writable(folder: Path) -> None:
    """Raise Mistake where no record can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise Mistake(f"results={folder} can not be written ({error.strerror}): name another folder with results=…") from None


def source_digest(packages: Iterable[Path]) -> str:
    """The digest of the Python files of some packages: a later change shows as "stale"."""
    files = sorted(path for package in packages for path in package.rglob("*.py"))
    return digest([[path.name, path.read_text(encoding="utf-8")] for path in files])


def training_source() -> str:
    """The digest of what decides how a run is trained and scored, as it is now; the report and the measuring are not in it."""
    bench = Path(__file__).parent
    modules = [bench / f"{name}.py" for name in ("config", "model", "objective", "train", "evaluate")]
    texts = [path.read_text(encoding="utf-8") for path in modules]
    return digest([source_digest([bench.parent / "architectures", bench / "data"]), texts])


# --- where a run lies, and how far it is ------------------------------------------------------------------------------


def attempts(run: Run) -> list[Path]:
    """The folders of a run in order: the first, then -a2, -a3, …"""
    first = Path(run.results) / run.suite / "runs" / run_name(run)
    later = sorted(first.parent.glob(f"{first.name}-a*"), key=lambda path: int(path.name.rpartition("-a")[2]))
    return [path for path in (first, *later) if path.is_dir()] or [first]


def status(folder: Path) -> str:
    """done, failed or skipped where there is a result; else unfinished or absent."""
    result = read_json(folder / "result.json")
    if result is not None:
        return str(result["status"])
    return "unfinished" if (folder / "config.yaml").exists() else "absent"


def wanted(run: Run) -> tuple[Path, bool]:
    """The folder that this run belongs into, and whether it has to be run (again).

    A run that could not even start lost nothing: the same folder is used again.
    """
    last = attempts(run)[-1]
    state = status(last)
    if state in ("absent", "unfinished") or not (read_json(last / "result.json") or {})["facts"].get("started", True):
        return last, True
    if run.again == "all" or (run.again == "failed" and state == "failed"):
        return last.parent / f"{run_name(run)}-a{len(attempts(run)) + 1}", True
    return last, False


# --- writing ----------------------------------------------------------------------------------------------------------


def begin(folder: Path, run: Run, environment: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Open a run's record: what will run, where, and from which sources. Taking a run up again keeps what stands there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(missing_ok=True)
    write_json(folder / "environment.json", environment)
    attempt = int(folder.name.rpartition("-a")[2]) if folder.name != run_name(run) else 1
    names = {"variant": variant(run), "subject": subject(run), "attempt": attempt}
    write_json(folder / "provenance.json", {**provenance, **names})
    write_atomically(folder / "config.yaml", yaml.safe_dump(asdict(run), sort_keys=False, allow_unicode=True))


def note(folder: Path, digests: Mapping[str, str], data: Mapping[str, Any]) -> None:
    """Add what a run found out about its data once it was read."""
    provenance = read_json(folder / "provenance.json") or {}
    provenance["digests"] = {**provenance.get("digests", {}), **digests}
    write_json(folder / "provenance.json", provenance | {"data": dict(data)})


def log(folder: Path, row: Mapping[str, Any]) -> None:
    """Append one line to the training curve."""
    with open(folder / "curve.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def cut_curve(folder: Path, step: int) -> None:
    """Keep the lines up to `step`: a run that is taken up again goes on from its checkpoint."""
    rows = [row for row in read_curve(folder) if row["step"] <= step]
    write_atomically(folder / "curve.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def finish(
    folder: Path, status: str, reason: str = "", metrics: Iterable[Metric] = (), facts: Mapping[str, Any] | None = None
) -> None:
    """Close a record. result.json is written last and by rename: no result file, no result."""
    assert status in FINISHED
    rows = [metric.as_json() for metric in metrics]
    write_json(
        folder / "result.json",
        {"schema": SCHEMA, "status": status, "reason": reason, "facts": dict(facts or {}), "metrics": rows},
    )


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Records:
    """Everything under one results folder as tidy tables (docs/architecture.md lists their columns)."""

    runs: "pd.DataFrame"  # a row a run: its last attempt
    values: "pd.DataFrame"  # a row a number of a run
    curves: "pd.DataFrame"  # a row a logged step
    documents: "pd.DataFrame"  # a row a held-out document of a run
    measures: "pd.DataFrame"  # a row a number of a measurement


RUN_COLUMNS = (
    "run folder arch family variant subject label data data_digest order_digest tokenizer size objective protocol part seed "
    "status reason rerun text environment provenance config"
).split()
VALUE_COLUMNS = "run metric unit better sample value note at".split()
CURVE_COLUMNS = "run arch variant label seed step tokens nats validation_nats".split()
DOCUMENT_COLUMNS = "run document bytes tokens nats".split()
MEASURE_COLUMNS = (
    "sitting machine subject arch twin status reason metric unit better sample value note at round environment"
).split()


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """The lines of a curve; a line that a kill cut short is left out."""
    rows = []
    try:
        lines = (folder / "curve.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def training_seconds(folder: Path) -> float:
    """Wall-clock seconds of a run's training so far, over every time it was taken up."""
    rows = read_curve(folder)
    return float(rows[-1]["seconds"]) if rows else 0.0


def _config(folder: Path) -> dict[str, Any]:
    try:
        content = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _latest(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The last attempt of each run below a results folder, with its configuration."""
    last: dict[str, tuple[int, Path, dict[str, Any]]] = {}
    for path in sorted(root.glob("runs/*/config.yaml")):
        folder, config = path.parent, _config(path.parent)
        if not config:
            continue
        attempt = int((read_json(folder / "provenance.json") or {}).get("attempt", 1))
        first = folder.name if attempt == 1 else folder.name.removesuffix(f"-a{attempt}")
        if first not in last or attempt > last[first][0]:
            last[first] = (attempt, folder, config)
    for _, folder, config in last.values():
        yield folder, config


def _numbers(metrics: Iterable[Mapping[str, Any]], keys: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for metric in metrics:
        values = metric["values"] or [None]  # a number that could not be had stays as a row without a value: its note says why
        rounds = metric.get("rounds") or range(len(values))
        for sample, (value, round_) in enumerate(zip(values, rounds, strict=False)):
            row = {name: metric.get(name, "") for name in ("unit", "better", "note")}
            at = metric.get("at") or {}
            yield {**keys, "metric": metric["name"], **row, "sample": sample, "value": value, "at": at, "round": round_}


def _run_row(folder: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    names, provenance = config["names"], read_json(folder / "provenance.json") or {}
    environment, facts, arch = read_json(folder / "environment.json") or {}, result.get("facts", {}), config["arch"]
    digests = provenance.get("digests", {})
    try:
        text = (folder / "text.txt").read_text(encoding="utf-8")
    except OSError:
        text = ""
    return {
        "run": folder.name, "folder": str(folder), "arch": names["arch"], "family": arch.get("family", ""),
        "variant": provenance.get("variant", ""), "subject": provenance.get("subject", ""), "label": names["arch"],
        "data": names["data"], "data_digest": digests.get("data", ""), "order_digest": digests.get("order", ""),
        "tokenizer": config["data"]["tokenizer"], "size": names["size"],
        "objective": facts.get("objective", config["objective"]["kind"]), "protocol": facts.get("protocol", ""),
        "part": facts.get("part", ""), "seed": config["seed"], "status": result.get("status", "unfinished"),
        "reason": result.get("reason", "" if result else "not finished: the same command takes it up again"),
        "rerun": provenance.get("rerun", ""), "text": text, "environment": environment, "provenance": provenance,
        "config": config,
    }  # fmt: skip


def _documents(folder: Path) -> "Iterator[pyarrow.Table]":
    """The held-out documents of a run, where there are any; turned into a table once for all runs, which is ten times as fast."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(folder / "documents.parquet", use_threads=False)
        names = pyarrow.array([folder.name] * len(table), pyarrow.string())
        yield table.select([name for name in DOCUMENT_COLUMNS if name != "run"]).append_column("run", names)
    except (OSError, KeyError, pyarrow.ArrowException):
        return


def read(root: Path) -> Records:
    """Read the records below results/<suite>. Broken files are passed over; nothing is written."""
    import pandas as pd
    import pyarrow

    runs: list[dict[str, Any]] = []
    values: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    documents: list[pyarrow.Table] = []
    for folder, config in _latest(root):
        result = read_json(folder / "result.json") or {}
        row = _run_row(folder, config, result)
        runs.append(row)
        values.extend(_numbers(result.get("metrics", ()), {"run": folder.name}))
        keys = {key: row[key] for key in ("run", "arch", "variant", "seed")}
        curves.extend({**keys, **line} for line in read_curve(folder))
        documents.extend(_documents(folder))
    table = pd.DataFrame(runs, columns=list(RUN_COLUMNS))
    table["label"] = labels(table)
    curve = pd.DataFrame(curves, columns=[name for name in CURVE_COLUMNS if name != "label"])
    curve = curve.merge(table[["run", "label"]], on="run", how="left")
    return Records(
        runs=table,
        values=pd.DataFrame(values, columns=VALUE_COLUMNS),
        curves=curve,
        documents=pyarrow.concat_tables(documents, promote_options="permissive").to_pandas()
        if documents
        else pd.DataFrame(columns=DOCUMENT_COLUMNS),
        measures=pd.DataFrame(list(_measures(root)), columns=MEASURE_COLUMNS),
    )


def _measures(root: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(root.glob("measure/*/*/result.json")):
        result, about = read_json(path), read_json(path.parent / "subject.json") or {}
        if result is None:
            continue
        keys = {
            "sitting": path.parent.parent.name, "machine": about.get("machine", ""), "subject": about.get("subject", ""),
            "arch": about.get("arch", ""), "twin": bool(about.get("twin", False)), "status": result["status"],
            "reason": result["reason"], "environment": about.get("environment", {}),
        }  # fmt: skip
        numbers = list(_numbers(result["metrics"], keys))
        yield from numbers or [keys | {"metric": "", "at": {}}]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"arch": options(config["arch"]), **{group: config[group] for group in ("data", "size", "objective", "train")}}


def labels(runs: "pd.DataFrame") -> list[str]:
    """A name for each run's variant: its architecture's, and where that has several variants, what sets them apart."""
    said: dict[str, str] = {}
    for arch, group in runs.groupby("arch"):
        firsts = group.drop_duplicates("variant")
        flats = [dict(_flat(_compared(config))) for config in firsts["config"]]
        keys = [key for key in dict.fromkeys(key for flat in flats for key in flat) if len({str(f.get(key)) for f in flats}) > 1]
        for name, flat in zip(firsts["variant"], flats, strict=True):
            differences = ", ".join(f"{key.rpartition('.')[2]}={flat.get(key)}" for key in keys)
            said[name] = f"{arch} ({differences})" if len(firsts) > 1 else str(arch)
    return [said[name] for name in runs["variant"]]
