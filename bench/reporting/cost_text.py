"""The sentences about costs at the top of the page: speed, memory, and dominated rows."""

from collections.abc import Iterator

from bench.analysis.badges import name_some
from bench.analysis.comparisons import Comparison
from bench.analysis.headline import dominated
from bench.analysis.sessions import MeasuredSession


def dominated_sentences(part: Comparison, session: MeasuredSession) -> Iterator[str]:
    """Yield the rows that one and the same row beats in quality, training speed and memory."""
    for table, verdicts in zip(part.likelihoods, part.verdicts, strict=True):
        beaten = dominated(table, verdicts, session) if len(verdicts.pairs) else {}
        texts = [f"{name_some(names)} by {label}" for label, names in beaten.items()]
        if texts:
            costs = "bits per byte, training speed and peak memory alike"
            yield f"Dominated, worse in {costs}: {'; '.join(texts)}."
