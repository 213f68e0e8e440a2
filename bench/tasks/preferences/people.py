"""Read people's labels from a JSON-lines file, and split them. Imports no torch.

A line is {"prompt": "…", "chosen": "…", "rejected": "…"}; `annotator` and `tie` may follow, and
other keys are ignored. Where the prompt is missing, it is what both responses begin with.
"""

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.errors import UserError
from bench.config.schema import Run
from bench.data.cache import combine_digests

FORM = 'a line is {"prompt": "…", "chosen": "…", "rejected": "…"}'


class PersonLabel(NamedTuple):
    """A person's comparison of two responses."""

    prompt: str
    chosen: str
    rejected: str
    annotator: str = ""
    tie: bool = False
    chosen_first: bool | None = None  # whether the chosen one was shown first, where recorded


def read_labels(path: Path) -> list[PersonLabel]:
    """Return the labels of a file. Raise UserError for the first line that cannot be read."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: name a file of labels (.jsonl)", "missing-file")
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = _decompress(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8", "invalid-text"
        ) from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UserError(f"{path} holds no preference: {FORM}", "invalid-text")
    return [_parse_line(f"{path}:{number}", line) for number, line in lines]


def _decompress(path: Path, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        raise UserError(
            f"{path} is not compressed by gzip: name it .jsonl", "invalid-text"
        ) from None


def _parse_line(place: str, line: str) -> PersonLabel:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        where = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{place} is not JSON ({reason}{where}): {FORM}", "invalid-text") from None
    if not isinstance(row, dict):
        raise UserError(f"{place} is not a mapping ({type(row).__name__}): {FORM}", "invalid-text")
    for key in ("chosen", "rejected"):
        if key not in row:
            keys = ", ".join(map(str, row)) or "nothing"
            raise UserError(f"{place} lacks {key} (it has {keys}): {FORM}", "invalid-text")
    for key in ("prompt", "chosen", "rejected"):
        if not isinstance(row.get(key, ""), str):
            kind = type(row[key]).__name__
            raise UserError(f"{place}: {key} is not text ({kind}): {FORM}", "invalid-text")
    return _as_label(row)


def _as_label(row: dict[str, Any]) -> PersonLabel:
    prompt, chosen, rejected = (row.get(key, "") for key in ("prompt", "chosen", "rejected"))
    if "prompt" not in row:
        prompt = common_start(chosen, rejected)
        if prompt[-1:].isalnum():  # the responses begin within a word: take it to them
            prompt = prompt[: len(prompt) - len(prompt.split()[-1])]
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    first = row.get("chosen_first")
    tie = bool(row.get("tie") or row.get("skipped")) or chosen == rejected
    return PersonLabel(
        prompt, chosen, rejected, str(row.get("annotator", "")), tie,
        first if isinstance(first, bool) else None,
    )  # fmt: skip


def common_start(first: str, second: str) -> str:
    """Return what both texts begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    end = next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))
    return first[:end]


def usable(labels: Sequence[PersonLabel]) -> list[PersonLabel]:
    """Return the labels that say something: without ties."""
    return [label for label in labels if not label.tie]


def split_by_prompt(
    labels: Sequence[PersonLabel], share: float = 0.1
) -> tuple[list[PersonLabel], list[PersonLabel]]:
    """Return training and held-out labels: all labels of a prompt on one side, by its digest."""
    order = sorted({label.prompt for label in labels}, key=_prompt_digest)
    counts, held = Counter(label.prompt for label in labels), set()
    left = share * len(labels)
    for prompt in reversed(order):
        if left <= 0:
            break
        held.add(prompt)
        left -= counts[prompt]
    trained = [label for label in labels if label.prompt not in held]
    return trained, [label for label in labels if label.prompt in held]


def training_labels(
    labels: Sequence[PersonLabel], wanted: int, path: str
) -> tuple[list[PersonLabel], list[PersonLabel]]:
    """Return the labels without ties that train, and those held out.

    Raise UserError where fewer than `wanted` train (0: as many as there are).
    """
    trained, held = split_by_prompt(usable(labels))
    if wanted > len(trained) or not trained or not held:
        raise UserError(
            f"preference.labels={wanted}: {path} has {len(trained) + len(held):,} labels without "
            f"ties; at most {len(trained):,} train, as a tenth of the prompts is held out"
        )
    return trained, held


def _prompt_digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()


def labels_digest(labels: Sequence[PersonLabel]) -> str:
    """Return the digest of labels in their order."""
    rows = json.dumps([list(label) for label in labels], ensure_ascii=True)
    return hashlib.sha256(rows.encode()).hexdigest()[:16]


def with_labels(digest: str, run: Run) -> str:
    """Return the digest of a run's data, with that of the people's labels that it learns from."""
    path = run.preference.path
    if not (run.preference.enabled and path):
        return digest
    return combine_digests([digest, labels_digest(read_labels(Path(path)))])
