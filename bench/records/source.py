"""Digest the source code that decides a result, so that a later change marks the result stale."""

from collections.abc import Iterable
from pathlib import Path

from bench.config.identity import digest
from bench.config.plugins import find_module_file

ROOT = Path(__file__).resolve().parents[2]  # holds the packages `bench` and `architectures`
TRAINING = ("config", "data", "model", "training", "evaluation")
FURTHER_TRAINING = (*TRAINING, "tasks")
MEASURING = ("model", "training", "performance")
CONTRACT = ("model",)


def source_digests(packages: Iterable[str], targets: Iterable[str]) -> dict[str, str]:
    """Digest packages of `bench`, all `architectures`, and the module of each target.

    Whole packages count, so that no module can be forgotten. A target is the dotted path of an
    architecture's class, as `arch._target_` names it; its file counts wherever it lies.
    """
    folders = [ROOT / "architectures", *(ROOT / "bench" / package for package in packages)]
    files = [(folder, path) for folder in folders for path in sorted(folder.rglob("*.py"))]
    shared = digest([[str(path.relative_to(folder.parent)), _text(path)] for folder, path in files])
    plug_ins = {target: find_module_file(target) for target in set(targets)}
    return {
        target: digest([shared, "" if file is None else _text(file)])
        for target, file in plug_ins.items()
    }


def source_digest(packages: Iterable[str], target: str) -> str:
    return source_digests(packages, [target])[target]


def training_source(target: str, is_task: bool = False) -> str:
    """Digest what decides how a run is trained and scored; measuring and reporting do not count."""
    return source_digest(FURTHER_TRAINING if is_task else TRAINING, target)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
