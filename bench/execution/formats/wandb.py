"""Write a run for Weights & Biases, offline: `wandb sync FOLDER/wandb/offline-run-…` sends it."""

from pathlib import Path

from bench.execution.tracked import read_tracked

PROJECT = "architecture-bench"


def export(folder: Path, into: Path, licence: str = "unknown") -> str:
    """Write curve, configuration, scores and model card; return a sentence. Raise UserError."""
    run = read_tracked(folder, into, "wandb", licence)
    import wandb

    settings = wandb.Settings(mode="offline", console="off", silent=True, disable_git=True)
    written = wandb.init(
        project=PROJECT, name=run.name, dir=str(into), settings=settings,
        config=run.parameters, tags=[*run.labels.values()], notes=run.card,
    )  # fmt: skip
    for row in run.curve:
        values = {f"curve/{name}": row[name] for name in row.keys() - {"step"}}
        written.log(values, step=int(row["step"]))
    written.summary.update({f"score/{name}": one for name, one in run.scores.items()})
    written.finish()
    wandb.teardown()  # once its service has ended, all of it is on the disk
    return f"{into}: {run.name} as an offline run of wandb; wandb sync sends it"
