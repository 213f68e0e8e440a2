"""Records of fine-tuned runs that no training made: seeded hits of known probability."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.identity import run_name
from bench.config.schema import ControlConfig
from bench.config.task_schema import TaskConfig
from bench.records import store
from bench.records.metrics import metric
from tests import fake_records

EXAMPLES = 400


def write_task(
    root: Path, arch: str, seed: int, accuracy: float, start: str = "pretrained", **options: Any
) -> Path:
    """Write one record of a classification; hits are drawn, the same examples for all."""
    task = TaskConfig(kind="classification", source="order", start=start, **options)
    run = fake_records.make_run(root, arch, seed, learning_rate=1e-3)
    control = ControlConfig("lstm", [100, 101, 102])
    names = run.names | {"task": "order"}
    run = replace(run, task=task, names=names, control=control, results=str(root.parent))
    folder = root / "tasks" / run_name(run)
    digests = {"data": "d1", "order": f"order-{seed}", "examples": "d1-100"}
    base = fake_records.write_run(root, arch, seed, learning_rate=1e-3)
    weights = base / "checkpoint" / "weights.pt"
    weights.parent.mkdir(exist_ok=True)
    weights.write_bytes(b"weights")
    bases = {"base": {"run": base.name, "folder": str(base), "weights": _sha256(weights)}}
    store.create_record(folder, run, {}, {"digests": digests, "bases": bases, "rerun": "again"})
    draw = np.random.default_rng([seed, sum(map(ord, arch)), start == "scratch"])
    hits = (draw.random(EXAMPLES) < accuracy).astype(float)
    return finish(folder, hits)


def finish(folder: Path, hits: np.ndarray) -> Path:
    """Write the examples and the result of a record."""
    table = pd.DataFrame({"example": np.arange(len(hits)), "hit": hits, "nats": 0.5})
    table["digest"], table["prediction"] = [f"e{n}" for n in range(len(hits))], "yes"
    table.to_parquet(folder / "examples.parquet")
    facts = {"objective": "classification", "examples": {"train": 100}}
    metrics = [metric("label_accuracy", float(hits.mean()))]
    store.write_result(folder, "done", metrics=metrics, facts=facts)
    return folder


def write_seeds(
    root: Path, arch: str, accuracies: Sequence[float], start: str = "pretrained", first: int = 0
) -> None:
    """Write a record for each of some seeds."""
    for seed, accuracy in enumerate(accuracies, first):
        write_task(root, arch, seed, accuracy, start)


def write_baselines(root: Path, **values: float) -> None:
    """Write the baselines of the task by name."""
    lines = [
        {"name": name, "note": "made up", "hits": [],
         "metrics": [metric("label_accuracy", value).as_json()]}
        for name, value in values.items()
    ]  # fmt: skip
    folder = root / "references" / "tasks"
    folder.mkdir(parents=True, exist_ok=True)
    content = {"task": "order", "data_digest": "d1", "examples": 0, "lines": lines}
    store.write_json(folder / "order-0.json", content)


def _sha256(path: Path) -> str:
    from bench.records.finished import open_finished

    return open_finished(path.parents[1]).weights_sha256
