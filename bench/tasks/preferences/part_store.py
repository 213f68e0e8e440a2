"""Keep what the parts of a stage leave in its folder, and resume a part that was interrupted.

parts/<part>/numbers.json         status, reason and metrics; written last, by rename
parts/<part>/curve.jsonl          a line per update of a policy
parts/<part>/looks.parquet        held-out responses of every look
parts/<part>/reward.pt            a reward model, or a model of marked tokens
parts/<part>/config.yaml, checkpoint/   a policy, loadable as a run
parts/<part>/training.pt          state of training; removed with numbers.json written
"""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import nn

from bench.model import LanguageModel
from bench.records.metrics import Metric
from bench.records.store import (
    append_curve,
    read_json,
    write_json,
    write_parquet,
    write_text,
)
from bench.records.validation import changed_file_error
from bench.system.checksums import hash_files
from bench.tasks.preferences.parts import StagePart
from bench.tasks.preferences.policies import Trainer, Update
from bench.tasks.preferences.worlds import World
from bench.training import save_weights
from bench.training.checkpoint import LOAD_ERRORS, read_torch, write_torch

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)
REWARD_FILE = "reward.pt"


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
        """Return what a finished part is, its status, reason and metrics; else None.

        A part whose files are not as it left them is not finished.
        """
        folder = self.folder(part)
        content = read_json(folder / "numbers.json", required=True)
        if content is None:
            return None
        for name in content["files"]:
            if error := changed_file_error(folder, name, content):
                logger.warning(f"{folder / name}: {error}: the part is run again")
                return None
        return content

    def numbers(self, part: StagePart) -> dict[str, float] | None:
        """Return the first number of each metric of a part that is done; None where it is not."""
        result = self.result(part)
        if result is None or result["status"] != "done":
            return None
        return {entry["name"]: entry["values"][0] for entry in result["metrics"]}

    def finish(self, part: StagePart, status: str, reason: str, metrics: list[Metric]) -> None:
        """Record the end of a part, and remove its training state."""
        content: dict[str, Any] = {"status": status, "reason": reason, "part": part.describe()}
        content |= {"metrics": [one.as_json() for one in metrics]}
        self.folder(part).mkdir(parents=True, exist_ok=True)
        content |= {"files": hash_files(self.folder(part), [REWARD_FILE])}
        write_json(self.folder(part) / "numbers.json", content)
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
        append_curve(self.folder(part), row)

    def save_look(
        self, part: StagePart, trainer: Trainer, table: "pd.DataFrame", metrics: list[Metric]
    ) -> None:
        """Save a policy with everything that was seen of it so far."""
        import pandas as pd

        folder, state = self.folder(part), self._training_state(part)
        earlier = [pd.DataFrame(state["looks"])] if state["looks"] else []
        looks = pd.concat([*earlier, table], ignore_index=True)
        self.save_table(part, looks)
        seen = {
            "metrics": [*state["metrics"], *(one.as_json() for one in metrics)],
            "looks": looks.to_dict("list"),
            "curve": (folder / "curve.jsonl").read_text(encoding="utf-8"),
        }
        write_torch(folder / "training.pt", {"trainer": trainer.state(), **seen})

    def _training_state(self, part: StagePart) -> dict[str, Any]:
        """Return what the last look saved; the start where there is none that can be read."""
        path = self.folder(part) / "training.pt"
        try:
            return dict(read_torch(path))
        except FileNotFoundError:
            pass
        except LOAD_ERRORS as error:
            logger.warning(f"{path} cannot be used ({error}): the part starts anew")
            path.unlink(missing_ok=True)
        return {"metrics": [], "looks": {}, "curve": ""}

    def resume(self, part: StagePart, trainer: Trainer) -> list[Metric]:
        """Restore a policy's last look, and return what was seen of it; nothing at its start."""
        folder, state = self.folder(part), self._training_state(part)
        folder.mkdir(parents=True, exist_ok=True)
        if "trainer" in state:
            trainer.restore(state["trainer"])
        write_text(folder / "curve.jsonl", state["curve"])
        return list(map(metric_from_json, state["metrics"]))

    # --- trained models --------------------------------------------------------------------------

    def save_model(self, part: StagePart, model: nn.Module) -> None:
        """Save a reward model, or a model of marked tokens."""
        write_torch(self.folder(part) / REWARD_FILE, model.state_dict())

    def load_model(self, part: StagePart, model: nn.Module) -> None:
        """Give a model the weights of a part that is done."""
        model.load_state_dict(read_torch(self.folder(part) / REWARD_FILE))
        model.eval()

    def save_policy(self, part: StagePart, policy: LanguageModel, world: World) -> None:
        """Save a policy such that `bench.training.load` and `bench.generate` take its folder."""
        folder, run = self.folder(part), world.run
        config = yaml.safe_dump(asdict(run), sort_keys=False, allow_unicode=True)
        write_text(folder / "config.yaml", config)
        save_weights(folder / "checkpoint", policy, world.vocabulary, policy.backbone.width)
