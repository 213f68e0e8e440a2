"""Compare lengths of context and protocols of a causal model on one sample of a part."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from bench.config.schema import EvaluateConfig
from bench.data import Part, Vocabulary
from bench.data.blocks import EVAL_BATCH
from bench.evaluation import sampling
from bench.evaluation.leak_check import PREFIX_ROUNDING_NATS
from bench.evaluation.protocols import (
    UNSUPPORTED_ERRORS,
    carried_state_nats,
    check_supported,
    error_text,
    stride_of,
    window_nats,
)
from bench.evaluation.sampling import Stretches
from bench.evaluation.scorer import Scorer
from bench.records.metrics import Metric, metric

MIN_CONTEXT = 32  # tokens: the shortest length tried, or a quarter of the model's context
EXTRAPOLATION = (2, 4)  # lengths tried beyond the context of training, as multiples of it
COUNTED_TOKENS = 1 << 22  # read at once
Scoring = Callable[[], np.ndarray]  # returns nats (S, length)


class ScoredSample(NamedTuple):
    """A model and the stretches of a part that every protocol scores."""

    scorer: Scorer
    stretches: Stretches

    def window_nats(self, context: int, stride: int) -> np.ndarray:
        """Return the nats of the stretches by windows of `context` tokens."""
        return window_nats(self.scorer, self.stretches, context, stride)

    def check_windows(self, context: int) -> None:
        """Raise LeakDetected where adjacent windows of `context` tokens depend on what follows."""
        begins = self.stretches.starts[:, None] + np.arange(0, self.stretches.length, context)
        block = sampling.token_windows(self.scorer.part, begins.ravel()[:EVAL_BATCH], context + 1)
        with self.scorer.check() as check:
            check.score(f"chunk({context})", block[:, :-1], self.scorer.scoring(block[:, 1:]))


def context_sweep(scorer: Scorer, options: EvaluateConfig) -> list[Metric]:
    """Return what other lengths of context and other protocols give, all on the same sample."""
    part, corpus, context = scorer.part, scorer.corpus, scorer.context
    stretches = sampling.sample_stretches(part, corpus.digest, context, options.stretches)
    sample = ScoredSample(scorer, stretches)
    tokens = sampling.token_windows(part, stretches.starts + 1, stretches.length)
    text = tokens != scorer.separator  # (S, length)
    where = f"sample: {len(stretches.starts)} stretches of {stretches.length:,} tokens"
    metrics, chunk = _context_metrics(sample, text, where)
    scale = text_tokens_per_byte(part, corpus.vocabulary) / math.log(2)
    for name, note, scoring in _protocols(sample, chunk, stride_of(options, context)):
        nats, reason = nats_or_reason(scoring)
        note = reason or f"{where}, {note}"
        metrics += protocol_metrics(name, nats, chunk, text, scale, note)
    return metrics


def context_lengths(context: int, most: int) -> list[int]:
    """Return the lengths of context to try: doublings up to the model's own, then beyond it.

    Each divides `most`.
    """
    inside = [context]
    while inside[-1] % 2 == 0 and inside[-1] // 2 >= min(MIN_CONTEXT, max(2, context // 4)):
        inside.append(inside[-1] // 2)
    tried = [*reversed(inside), *(times * context for times in EXTRAPOLATION)]
    return [length for length in tried if length <= most and most % length == 0]


def _context_metrics(
    sample: ScoredSample, text: np.ndarray, where: str
) -> tuple[list[Metric], np.ndarray]:
    """Return the loss by allowed context, and the nats (S, length) at the model's own."""
    metrics, by_length, own = [], dict[int, np.ndarray](), sample.scorer.context
    for length in context_lengths(own, sample.stretches.length):
        scoring = partial(sample.window_nats, length, length)
        nats, reason = nats_or_reason(scoring) if length > own else (scoring(), "")
        means = () if nats is None else (float(nats[text].mean()),)
        note = reason or f"{where}, chunk({length})"
        metrics.append(metric("context_nats", means, note, {"context": length}))
        by_length |= {} if nats is None else {length: nats}
    _check_prefixes(sample, by_length)
    return metrics, by_length.get(own, np.zeros(0))


def _check_prefixes(sample: ScoredSample, by_length: Mapping[int, np.ndarray]) -> None:
    """Check for leaks where windows differ from shorter ones with the same beginning.

    Nats are (S, length of a stretch). What follows a target is in the longer window alone, and its
    batch has other rows. An honest model differs by rounding, or where the length counts for it.
    """
    for (short, few), (long, more) in itertools.pairwise(by_length.items()):
        begin = more.reshape(len(more), -1, long)[:, :, :short]
        parts = few.reshape(len(few), -1, long // short, short)[:, :, 0]
        if np.abs(begin - parts).max() > PREFIX_ROUNDING_NATS:
            sample.check_windows(short)
            sample.check_windows(long)


def _protocols(
    sample: ScoredSample, chunk: np.ndarray, stride: int
) -> Iterator[tuple[str, str, Scoring]]:
    """Yield the name, the note and the scoring of each protocol."""
    (scorer, (starts, length, room)), context = sample, sample.scorer.context
    lead = int(min(room, starts.min()))
    yield "chunk", f"chunk({context})", lambda: chunk
    overlapping = partial(overlapping_window_nats, sample, stride)
    yield "stride", f"stride({context}, {stride})", overlapping

    def carried() -> np.ndarray:
        check_supported(scorer.model, "stateful", context)
        return carried_state_nats(scorer, starts - lead, length + lead)[:, lead:]

    note = f"the state carried through each, and through {lead:,} tokens before it"
    yield "stateful", note, carried


def overlapping_window_nats(sample: ScoredSample, stride: int) -> np.ndarray:
    """Return the nats of the stretches by overlapping windows.

    The last advance is shorter where `stride` does not divide a stretch.
    """
    stretches = sample.stretches
    covered = stretches.length // stride * stride
    first = sample._replace(stretches=stretches._replace(length=covered))
    nats = first.window_nats(sample.scorer.context, stride)
    if covered == stretches.length:
        return nats
    rest = Stretches(stretches.starts + covered, stretches.length - covered, stretches.lead)
    last = sample._replace(stretches=rest).window_nats(sample.scorer.context, rest.length)
    return np.concatenate([nats, last], axis=1)


def protocol_metrics(
    name: str, nats: np.ndarray | None, chunk: np.ndarray, text: np.ndarray, scale: float, note: str
) -> list[Metric]:
    """Return a protocol's bits per byte on the sample, and its gain over adjacent windows."""
    names = [f"{name}_bits_per_byte"]
    names += [] if name == "chunk" else [f"{name}_gain", f"{name}_gain_standard_error"]
    if nats is None:
        return [metric(names[0], note=note)]
    gains = scale * np.array(
        [(was - now)[real].mean() for was, now, real in zip(chunk, nats, text, strict=True)]
    )
    _, error = sampling.mean_and_standard_error(gains)
    values = [scale * float(nats[text].mean()), scale * float((chunk - nats)[text].mean()), error]
    pairs = zip(names, values, strict=False)
    return [metric(name, value, note) for name, value in pairs if math.isfinite(value)]


def nats_or_reason(scoring: Scoring) -> tuple[np.ndarray | None, str]:
    """Return the nats, or the reason why a model cannot be scored so."""
    try:
        nats = scoring()
    except UNSUPPORTED_ERRORS as reason:
        return None, error_text(reason)
    return (nats, "") if np.isfinite(nats).all() else (None, "its loss is not finite")


def text_tokens_per_byte(part: Part, vocabulary: Vocabulary) -> float:
    """Return the tokens of a part that are no separators, per byte of its text."""
    text = sum(
        int((np.asarray(part.tokens[first : first + COUNTED_TOKENS]) != vocabulary.separator).sum())
        for first in range(1, len(part.tokens), COUNTED_TOKENS)
    )
    return text / int(part.sizes.sum())
