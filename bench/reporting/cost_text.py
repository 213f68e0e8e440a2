"""The sentences about costs at the top of the page: speed, memory, and dominated rows."""

from collections.abc import Iterator, Mapping, Sequence

from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import format_bytes, format_fixed, format_number, join_words
from bench.analysis.headline import Fastest, dominated, fastest, smallest_memory
from bench.analysis.sessions import DECODE_RATE, TRAIN_RATE, MeasuredSession
from bench.reporting.sections.trust import no_claim_sentences

MAX_NAMED = 4  # rows are named in a sentence; the rest are counted
RATES = {TRAIN_RATE: "training", DECODE_RATE: "decoding"}


def name_some(names: Sequence[str]) -> str:
    """Return a list of names; of many the first, and how many more there are."""
    left = len(names) - MAX_NAMED
    return join_words([*names[:MAX_NAMED], *[f"{left:,} more"] * (left > 0)])


def dominated_sentences(part: Comparison, session: MeasuredSession) -> Iterator[str]:
    """Yield the rows that one and the same row beats in quality, training speed and memory."""
    for table, verdicts in zip(part.likelihoods, part.verdicts, strict=True):
        beaten = dominated(table, verdicts, session) if len(verdicts.pairs) else {}
        texts = [f"{name_some(names)} by {label}" for label, names in beaten.items()]
        if texts:
            costs = "bits per byte, training speed and peak memory alike"
            yield f"Dominated, worse in {costs}: {'; '.join(texts)}."


def cost_text(labels: Mapping[str, str], session: MeasuredSession) -> str:
    """Return the fastest and the smallest of one session; nothing where there is only one.

    `labels`: by subject.
    """
    if len(labels) < 2:
        return ""
    measured = {metric: fastest(session, labels, metric) for metric in RATES}
    measured = {metric: first for metric, first in measured.items() if first}
    sentences = [
        _fastest_text(first, RATES[metric])
        for metric, first in measured.items()
        if first and session.allows_claim(metric)
    ]
    sentences += no_claim_sentences(session, {metric: RATES[metric] for metric in measured})
    return " ".join([*sentences, *_memory_text(labels, session)])


def _fastest_text(first: Fastest, rate: str) -> str:
    ratio = first.ratio
    if first.ties or ratio is None:
        names = join_words([first.label, *first.ties])
        return f"Fastest in {rate} is not distinguishable here: {names}."
    span = f"{format_fixed(ratio.low)} to {format_fixed(ratio.high)}"
    times = f"{format_fixed(ratio.value, 2)} times the rate of the next"
    return f"Fastest in {rate}: {first.label}, {times}, {first.next_label} (95 % interval {span})."


def _memory_text(labels: Mapping[str, str], session: MeasuredSession) -> Iterator[str]:
    smallest = None if session.failed_checks else smallest_memory(session, labels)
    if smallest is None:
        return
    names, low, times = smallest
    more = f"; the largest needs {format_number(times, 2)} times as much"
    rest = more if times > 1 else ", all the same"
    yield f"Smallest peak memory in training: {join_words(names)}, {format_bytes(low)}{rest}."
