"""Digest the source code that decides a result, so that a later change marks it stale."""

from collections.abc import Iterable
from pathlib import Path

from bench.config.identity import digest
from bench.config.plugins import find_module_file

ROOT = Path(__file__).resolve().parents[2]  # holds the packages `bench` and `architectures`
TRAINING = ("config", "data", "model", "training", "evaluation", "tasks")
MEASURING = ("model", "training", "performance")
CONTRACT = ("model", "contract")


def source_digest(packages: Iterable[str], target: str = "") -> str:
    """Digest all Python files of the named packages of `bench`, of `architectures`, and of the plug-in `target` names.

    A whole package counts, so that a new module cannot be forgotten. `target` is the dotted path of an
    architecture's class.
    """
    folders = [ROOT / "architectures", *(ROOT / "bench" / package for package in packages)]
    files = [(folder, path) for folder in folders for path in sorted(folder.rglob("*.py"))]
    texts = [[str(path.relative_to(folder.parent)), _text(path)] for folder, path in files]
    own = find_module_file(target) if target else None
    return digest([texts, "" if own is None else _text(own)])


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def training_source() -> str:
    """Digest what decides how a run is trained and scored; measuring and reporting do not count."""
    return source_digest(TRAINING)
