"""Write a run as an event file of TensorBoard: `tensorboard --logdir FOLDER`."""

from pathlib import Path

from bench.execution.tracked import read_tracked


def export(folder: Path, into: Path, licence: str = "unknown") -> str:
    """Write curve, configuration, scores and model card; return a sentence. Raise UserError."""
    run = read_tracked(folder, into, "tensorboard", licence)
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(into / run.name)) as writer:
        for row in run.curve:
            for name in row.keys() - {"step"}:
                writer.add_scalar(f"curve/{name}", row[name], int(row["step"]))
        writer.add_text("model card", run.card)
        values = {key: str(value) for key, value in (run.parameters | run.labels).items()}
        scores = {f"score/{name}": value for name, value in run.scores.items()}
        writer.add_hparams(values, scores, run_name=".")
    return f"{into}: {len(run.curve)} rows of the curve and {len(scores)} scores for TensorBoard"
