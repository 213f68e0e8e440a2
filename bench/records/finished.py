"""Find the finished record of a run that another run starts from. Imports no torch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bench.config.errors import UserError
from bench.config.schema import Run
from bench.records import store
from bench.records.loading import load_record


@dataclass(frozen=True)
class FinishedRun:
    """A run that is done, with the SHA-256 of its weights; `bench.training.load` loads them."""

    folder: Path
    weights_sha256: str

    def as_json(self) -> dict[str, str]:
        """Return what the provenance of a run that starts from this one keeps."""
        return {"run": self.folder.name, "folder": str(self.folder), "weights": self.weights_sha256}


def finished_run(run: Run, data_digest: str = "") -> FinishedRun | None:
    """Return the last attempt of a run that is done on the data of a digest; None without one."""
    for folder in reversed(store.attempt_folders(run)):
        if store.run_status(folder) == "done" and not store.has_other_data(folder, data_digest):
            return open_finished(folder)
    return None


def finished_runs(folder: Path) -> list[Path]:
    """Return the run in a folder, or every finished run of the suite in it.

    Raises UserError if there is none.
    """
    is_run = (folder / "config.yaml").exists()
    runs = [folder] if is_run else [one.parent for one in sorted(folder.glob("runs/*/config.yaml"))]
    finished = [run for run in runs if store.run_status(run) == "done"]
    if not finished and (folder / "config.json").exists():
        raise UserError(
            f"{folder} is a checkpoint that was trained elsewhere, and nothing starts from it: "
            "name a run that is trained here; arch.pretrained of bench.run scores "
            "a checkpoint",
            "not-supported",
        )
    if not finished:
        state = f"is {store.run_status(folder)}" if is_run else "holds no finished run"
        raise UserError(
            f"{folder} {state}: name results/<suite>/runs/<run> of one, or results/<suite>",
            "no-records",
        )
    return finished


def recorded_bases(folder: Path) -> dict[str, FinishedRun]:
    """Return the finished runs that the run recorded in a folder starts from, by their role."""
    bases = load_record(folder).provenance.get("bases") or {}
    return {
        role: FinishedRun(Path(base["folder"]), base["weights"]) for role, base in bases.items()
    }


def training_speed(folder: Path) -> float:
    """Return the tokens per second at which a finished run trained; 0 where it does not say."""
    metrics = store.read_result(folder)["metrics"]
    values = {one["name"]: one["values"] for one in metrics if one["values"]}
    tokens, seconds = (values.get(name, [0.0])[0] for name in ("tokens_seen", "train_seconds"))
    return tokens / seconds if seconds > 0 else 0.0


def open_finished(folder: Path) -> FinishedRun:
    """Return the finished run of a folder. Raise UserError where its weights cannot be read."""
    path = folder / "checkpoint" / "weights.pt"
    try:
        with open(path, "rb") as file:
            return FinishedRun(folder, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): copy it from where it came, or train the "
            "run again with again=all",
            "unreadable-file",
        ) from None
