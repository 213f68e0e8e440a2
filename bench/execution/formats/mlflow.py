"""Write a run into an MLflow store of one file: `mlflow ui --backend-store-uri sqlite:///FILE`."""

import os
from pathlib import Path
from typing import Any

from bench.execution.tracked import TrackedRun, read_tracked

STORE, EXPERIMENT = "mlflow.db", "architecture-bench"
NOTE = "mlflow.note.content"  # the tag that MLflow shows as the description of a run
MAX_PARAMETER = 500  # characters


def export(folder: Path, into: Path, licence: str = "unknown") -> str:
    """Write curve, configuration, scores and model card; return a sentence. Raise UserError."""
    run = read_tracked(folder, into, "mlflow", licence)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves the machine
    from mlflow import MlflowClient

    store = f"sqlite:///{(into / STORE).resolve()}"
    client = MlflowClient(tracking_uri=store)
    existing = client.get_experiment_by_name(EXPERIMENT)
    if existing is None:
        artifacts = (into / "artifacts").resolve().as_uri()
        experiment = client.create_experiment(EXPERIMENT, artifact_location=artifacts)
    else:
        experiment = existing.experiment_id
    _log(
        client,
        client.create_run(experiment, run_name=run.name, tags=run.labels | {NOTE: run.card}),
        run,
    )
    return f"{store}: run {run.name} of the experiment {EXPERIMENT}"


def _log(client: Any, created: Any, run: TrackedRun) -> None:
    from mlflow.entities import Metric, Param

    stamp, identity = created.info.start_time, created.info.run_id
    final = int(max((row["step"] for row in run.curve), default=0))
    metrics = [
        Metric(f"curve/{name}", row[name], stamp, int(row["step"]))
        for row in run.curve
        for name in row.keys() - {"step"}
    ]
    metrics += [Metric(f"score/{name}", one, stamp, final) for name, one in run.scores.items()]
    params = [Param(key, str(one)[:MAX_PARAMETER]) for key, one in run.parameters.items()]
    for first in range(0, max(len(metrics), len(params)), 100):  # as many as one call takes
        part = slice(first, first + 100)
        client.log_batch(identity, metrics[part], params[part])
    client.set_terminated(identity)
