"""Read people's labels from a file, and split them. Imports no torch.

Files of JSON lines (.jsonl), or of one JSON list (.json), either compressed (.gz). A row is
{"prompt": "…", "chosen": "…", "rejected": "…"}; `annotator`, `tie`, `chosen_first`, `chosen_spans`
and `rejected_spans` may follow, and other keys are ignored. Where the prompt is missing, it is what
both responses begin with. Rows of public sets are read as they are: see label_formats.
"""

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.errors import UserError
from bench.config.schema import Run
from bench.data.cache import combine_digests
from bench.tasks.preferences.label_formats import as_rows

FORM = 'a line is {"prompt": "…", "chosen": "…", "rejected": "…"}'
Spans = tuple[tuple[int, int], ...]


class PersonLabel(NamedTuple):
    """A person's comparison of two responses."""

    prompt: str
    chosen: str
    rejected: str
    annotator: str = ""
    tie: bool = False
    chosen_first: bool | None = None  # whether the chosen one was shown first, where recorded
    # what people marked as wrong, as first and last character + 1; None: nobody was asked
    chosen_spans: Spans | None = None
    rejected_spans: Spans | None = None


def read_labels(path: Path) -> list[PersonLabel]:
    """Return the labels of a file. Raise UserError for the first line that cannot be read."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: name a file of labels (.jsonl)", "missing-file")
    content = path.read_bytes()
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error):
        raise UserError(
            f"{path} is not compressed by gzip: name it .jsonl", "invalid-text"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8", "invalid-text"
        ) from None
    rows = _json_list if path.name.removesuffix(".gz").endswith(".json") else _json_lines
    labels = [
        _as_label(place, row) for place, given in rows(path, text) for row in as_rows(given)
    ]  # fmt: skip
    if not labels:
        raise UserError(f"{path} holds no preference: {FORM}", "invalid-text")
    return labels


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", _parse(f"{path}:{number}", line)


def _json_list(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    rows = _parse(str(path), text) if text.strip() else []
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        yield f"{path}, row {number}", row


def _parse(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{place} is not JSON ({reason}{where}): {FORM}", "invalid-text") from None


def _as_label(place: str, row: Any) -> PersonLabel:
    prompt, chosen, rejected = _texts(place, row)
    spans = [_spans(place, row, side) for side in ("chosen", "rejected")]
    if "prompt" not in row:
        prompt = common_start(chosen, rejected)
        if prompt[-1:].isalnum():  # the responses begin within a word: take it to them
            prompt = prompt[: len(prompt) - len(prompt.split()[-1])]
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    first = row.get("chosen_first")
    tie = bool(row.get("tie") or row.get("skipped")) or chosen == rejected
    return PersonLabel(
        prompt, chosen, rejected, str(row.get("annotator", "")), tie,
        first if isinstance(first, bool) else None, *spans,
    )  # fmt: skip


def _texts(place: str, row: Any) -> list[str]:
    """Return prompt and responses of a row. Raise UserError."""
    if not isinstance(row, dict):
        raise UserError(f"{place} is not a mapping ({type(row).__name__}): {FORM}", "invalid-text")
    for key in ("chosen", "rejected"):
        if key not in row:
            keys = ", ".join(map(str, row)) or "nothing"
            raise UserError(f"{place} lacks {key} (it has {keys}): {FORM}", "invalid-text")
    texts = [row.get(key, "") for key in ("prompt", "chosen", "rejected")]
    for key, text in zip(("prompt", "chosen", "rejected"), texts, strict=True):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise UserError(f"{place}: {key} is not text ({kind}): {FORM}", "invalid-text")
    return texts


def _spans(place: str, row: dict[str, Any], side: str) -> Spans | None:
    """Return the spans of a response. Raise UserError."""
    given = row.get(f"{side}_spans")
    if given is None:
        return None
    try:
        spans = tuple((int(start), int(end)) for start, end in given)
    except (TypeError, ValueError):
        spans = ((-1, -1),)
    if "prompt" not in row or not all(0 <= a < b <= len(row[side]) for a, b in spans):
        raise UserError(
            f"{place}: {side}_spans={str(given)[:80]} are not spans of {side}: give [[first, last "
            '+ 1], …] in characters, and a "prompt"',
            "invalid-text",
        )
    return spans


def common_start(first: str, second: str) -> str:
    """Return what both texts begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    end = next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))
    return first[:end]


def has_spans(labels: Sequence[PersonLabel]) -> bool:
    """Return whether people were asked to mark what is wrong in any response."""
    return any(label[-2:] != (None, None) for label in labels)


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
    while order and left > 0:
        held.add(prompt := order.pop())
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
    """Return the digest of labels in their order; spans count where there are any."""
    values = [list(label) if has_spans([label]) else list(label[:-2]) for label in labels]
    return hashlib.sha256(json.dumps(values, ensure_ascii=True).encode()).hexdigest()[:16]


def with_labels(digest: str, run: Run) -> str:
    """Return the digest of a run's data, with that of the people's labels that it learns from."""
    path = run.preference.path
    if not (run.preference.enabled and path):
        return digest
    return combine_digests([digest, labels_digest(read_labels(Path(path)))])
