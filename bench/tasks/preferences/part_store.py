"""Keep what the parts of a stage leave in its folder, and resume a part that was interrupted.

parts/<part>/numbers.json         status, reason and metrics; written last, by rename
parts/<part>/curve.jsonl          a line per update of a policy
parts/<part>/looks.parquet        held-out responses of every look
parts/<part>/reward.pt            a reward model, or a model of marked tokens
parts/<part>/config.yaml, checkpoint/   a policy, loadable as a run
parts/<part>/training.pt          state of training; removed with numbers.json written
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import nn

from bench.model import LanguageModel
from bench.records.metrics import Metric
from bench.records.store import read_json, write_json, write_parquet, write_text
from bench.tasks.preferences.parts import StagePart
from bench.tasks.preferences.policies import Trainer, Update
from bench.tasks.preferences.worlds import World
from bench.training import save_weights
from bench.training.checkpoint import write_torch

if TYPE_CHECKING:
    import pandas as pd


def metric_from_json(entry: dict[str, Any]) -> Metric:
    """Return the metric that `Metric.as_json` wrote."""
    lists = {"values": tuple(entry["values"]), "rounds": tuple(entry["rounds"])}
    return Metric(**entry | lists)


class PartStore:
    """The parts of the stage in one folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "parts"

    def folder(self, part: StagePart) -> Path:
        """Return the folder of a part."""
        return self.root / part.name

    def result(self, part: StagePart) -> dict[str, Any] | None:
        """Return what a finished part is, its status, reason and metrics; else None."""
        content = read_json(self.folder(part) / "numbers.json")
        return content if isinstance(content, dict) else None

    def numbers(self, part: StagePart) -> dict[str, float] | None:
        """Return the first number of each metric of a part that is done; None where it is not."""
        result = self.result(part)
        if result is None or result["status"] != "done":
            return None
        return {entry["name"]: entry["values"][0] for entry in result["metrics"]}

    def finish(self, part: StagePart, status: str, reason: str, metrics: list[Metric]) -> None:
        """Record the end of a part, and remove its training state."""
        content = {"status": status, "reason": reason, "part": part.describe()}
        entries = [one.as_json() for one in metrics]
        write_json(self.folder(part) / "numbers.json", content | {"metrics": entries})
        (self.folder(part) / "training.pt").unlink(missing_ok=True)

    def save_table(self, part: StagePart, table: "pd.DataFrame") -> None:
        """Write the responses of a part."""
        write_parquet(self.folder(part) / "looks.parquet", table)

    # --- a policy in training --------------------------------------------------------------------

    def curve(self, part: StagePart) -> list[dict[str, Any]]:
        """Return what each update saw."""
        lines = (self.folder(part) / "curve.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def log(self, part: StagePart, update: Update) -> None:
        """Append an update to the curve; what has no value is left out."""
        row = {name: value for name, value in update._asdict().items() if value is not None}
        with open(self.folder(part) / "curve.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def save_look(
        self, part: StagePart, trainer: Trainer, table: "pd.DataFrame", metrics: list[Metric]
    ) -> None:
        """Save a policy with everything that was seen of it so far."""
        import pandas as pd

        folder = self.folder(part)
        if trainer.done:
            earlier = pd.read_parquet(folder / "looks.parquet")
            earlier = earlier[earlier["update"] < trainer.done]  # it was stopped between two files
            table = pd.concat([earlier, table], ignore_index=True)
        self.save_table(part, table)
        entries = [*self._training_state(part)["metrics"], *(one.as_json() for one in metrics)]
        write_torch(folder / "training.pt", {"trainer": trainer.state(), "metrics": entries})

    def _training_state(self, part: StagePart) -> dict[str, Any]:
        path = self.folder(part) / "training.pt"
        return torch.load(path) if path.exists() else {"metrics": []}

    def resume(self, part: StagePart, trainer: Trainer) -> list[Metric]:
        """Restore a policy's last look, and return what was seen of it; nothing at its start."""
        folder, state, lines = self.folder(part), self._training_state(part), list[str]()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "curve.jsonl"
        if "trainer" in state:
            trainer.restore(state["trainer"])
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(path, "".join(lines[: trainer.done]))
        return list(map(metric_from_json, state["metrics"]))

    # --- trained models --------------------------------------------------------------------------

    def save_model(self, part: StagePart, model: nn.Module) -> None:
        """Save a reward model, or a model of marked tokens."""
        write_torch(self.folder(part) / "reward.pt", model.state_dict())

    def load_model(self, part: StagePart, model: nn.Module) -> None:
        """Give a model the weights of a part that is done."""
        model.load_state_dict(torch.load(self.folder(part) / "reward.pt"))
        model.eval()

    def save_policy(self, part: StagePart, policy: LanguageModel, world: World) -> None:
        """Save a policy such that `bench.training.load` and `bench.generate` take its folder."""
        folder, run = self.folder(part), world.run
        config = yaml.safe_dump(asdict(run), sort_keys=False, allow_unicode=True)
        write_text(folder / "config.yaml", config)
        save_weights(folder / "checkpoint", policy, world.vocabulary, policy.backbone.width)
