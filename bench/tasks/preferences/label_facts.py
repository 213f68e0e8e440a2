"""Say what people's labels are worth: ties, conflicts, agreement, biases. Imports no torch."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from scipy.stats import binomtest

from bench.stats.intervals import CONFIDENCE
from bench.tasks.preferences.people import PersonLabel, usable

FEW_LABELS = 200


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
