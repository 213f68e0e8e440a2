"""Read people's labels from a JSON-lines file, and say what they are worth. Imports no torch.

A line is {"prompt": "…", "chosen": "…", "rejected": "…"}; `annotator` and `tie` may follow, and
other keys are ignored. Where the prompt is missing, it is what both responses begin with.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import binomtest

from bench.config.errors import UserError
from bench.config.schema import Run
from bench.data.cache import combine_digests
from bench.stats.intervals import CONFIDENCE

FORM = 'a line is {"prompt": "…", "chosen": "…", "rejected": "…"}'
FEW_LABELS = 200


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


class Share(NamedTuple):
    """A share of labels, with its 95 % Wilson interval."""

    hits: int
    total: int

    def __str__(self) -> str:
        if not self.total:
            return "no label"
        low, high = self.interval
        return f"{self.hits / self.total:.0%} of {self.total:,} ({low:.0%} to {high:.0%})"

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the Wilson interval."""
        test = binomtest(self.hits, self.total).proportion_ci(CONFIDENCE, method="wilson")
        return float(test.low), float(test.high)


class LabelFacts(NamedTuple):
    """What a file of labels is worth."""

    labels: int
    ties: int
    prompts: int
    annotators: int
    repeated: int  # pairs of texts that were labelled more than once
    conflicts: int  # of these, those with unlike labels
    agreement: Share  # of two annotators on the same pair of texts
    longer: Share  # the chosen one is longer, of those of unlike length
    first: Share  # the chosen one was shown first, where that was recorded


def describe_labels(labels: Sequence[PersonLabel]) -> LabelFacts:
    """Count ties, conflicts, agreement, and the bias of length and of position."""
    decided = usable(labels)
    repeated = _repeated(decided)
    unlike = [one for one in decided if len(one.chosen) != len(one.rejected)]
    shown = [label for label in decided if label.chosen_first is not None]
    return LabelFacts(
        labels=len(labels),
        ties=len(labels) - len(decided),
        prompts=len({label.prompt for label in labels}),
        annotators=len({label.annotator for label in labels}),
        repeated=len(repeated),
        conflicts=sum(len({one.chosen for one in answers}) > 1 for answers in repeated),
        agreement=_agreement(repeated),
        longer=Share(sum(len(one.chosen) > len(one.rejected) for one in unlike), len(unlike)),
        first=Share(sum(bool(label.chosen_first) for label in shown), len(shown)),
    )


def _repeated(labels: Sequence[PersonLabel]) -> list[list[PersonLabel]]:
    """Return the labels of every pair of texts that was labelled more than once."""
    groups = defaultdict[tuple[str, ...], list[PersonLabel]](list)
    for label in labels:
        groups[label.prompt, *sorted((label.chosen, label.rejected))].append(label)
    return [answers for answers in groups.values() if len(answers) > 1]


def _agreement(repeated: Sequence[Sequence[PersonLabel]]) -> Share:
    """Return how often two annotators chose alike."""
    pairs = [
        (one, other)
        for answers in repeated
        for one, other in combinations(answers, 2)
        if one.annotator != other.annotator
    ]
    return Share(sum(one.chosen == other.chosen for one, other in pairs), len(pairs))


def fact_lines(facts: LabelFacts) -> list[str]:
    """Return a line about each fact."""
    return [
        f"{facts.labels:,} labels of {facts.prompts:,} prompts by {facts.annotators:,} annotators, "
        f"{facts.ties:,} ties",
        f"{facts.repeated:,} pairs labelled more than once, {facts.conflicts:,} with unlike labels",
        f"two annotators agree: {facts.agreement}",
        f"the longer response is chosen: {facts.longer}",
        f"the first shown response is chosen: {facts.first}",
    ]


def label_warnings(facts: LabelFacts) -> list[str]:
    """Return what a user should know before training on the labels."""
    decided, lines = facts.labels - facts.ties, []
    if decided < FEW_LABELS:
        lines.append(f"{decided} labels are few: a reward model on fewer than {FEW_LABELS} is "
                     "likely to be at chance")  # fmt: skip
    if facts.conflicts:
        lines.append(f"{facts.conflicts} of {facts.repeated} repeated pairs have unlike labels")
    for share, bias, then in (
        (facts.longer, "longer", "compare with a reward that counts characters"),
        (facts.first, "first shown", "show pairs in random order"),
    ):
        if share.total and not share.interval[0] <= 0.5 <= share.interval[1]:
            lines.append(f"the {bias} response is chosen in {share}: {then}")
    return lines
