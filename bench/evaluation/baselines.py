"""Reference lines: what needs no architecture reaches on the same scored text. Written after training, read by the report.

uniform: every token alike · unigram: how often each is in the training part · n-gram: modified Kneser–Ney of its best order,
under the context that the protocol allows and without that limit · lzma: a compressor that was given the training text.
"""

import lzma
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.data import Corpus, Part, Vocabulary, nats_per_unit
from bench.data.blocks import spaced_blocks
from bench.evaluation import ngram
from bench.evaluation.ngram import Floats
from bench.records.metrics import Metric
from bench.records.schema import SCHEMA
from bench.records.store import write_json

MAX_ORDER = 24  # at most
PATIENCE = 2  # orders in a row that are no better end the search
MAX_TOKENS = 4_000_000  # tokens of the training part that are counted, and of held-out parts that are scored: more would take minutes
Progress = Callable[[str], None]


class Baseline(NamedTuple):
    """One reference: how it was made, and its nats of each token of the scored and of the validation part."""

    name: str
    context: str  # none | windows: as much as the protocol allows | unlimited
    note: str
    scored: Floats
    validation: Floats


class HeldOutTokens(NamedTuple):
    """The held-out parts of a text, one after the other."""

    ids: np.ndarray  # (N,)
    parts: tuple[slice, ...]  # the validation part, and the scored one where that is another
    limited: np.ndarray  # (N,): tokens that stand before each one in its window
    unlimited: np.ndarray  # (N,): in its part


def baselines_path(root: Path, digest: str, context: int) -> Path:
    """Where the reference lines of a text under a context lie in a results folder."""
    return root / "references" / f"{digest}-{context}.json"


def ensure_baselines(root: Path, corpus: Corpus, context: int, progress: Progress) -> None:
    """Write the reference lines of a text, unless they are there."""
    place = baselines_path(root, corpus.digest, context)
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    scored = corpus.parts[corpus.scored]
    about = {
        "schema": SCHEMA,
        "data_digest": corpus.digest,
        "part": corpus.scored,
        "context": context,
        "reason": "",
        "lines": [],
    }
    held = sum(len(part.tokens) for part in _held_out_parts(corpus))
    if held > MAX_TOKENS:
        write_json(
            place,
            about
            | {
                "reason": f"the held-out parts have {held:,} tokens: reference lines are drawn up to {MAX_TOKENS:,}"
            },
        )
        return
    progress(f"reference lines: n-grams and a compressor on {len(scored.tokens):,} tokens")
    look = _validation_offsets(corpus.parts["validation"], context)
    made = [
        _baseline_entry(line, scored, corpus.vocabulary, look)
        for line in compute_baselines(corpus, context)
    ]
    write_json(place, about | {"lines": [*made, _compressor_entry(corpus, scored)]})


def compute_baselines(corpus: Corpus, context: int) -> Iterator[Baseline]:
    """Every reference that gives each token a probability."""
    size, held = corpus.vocabulary.size, held_out_tokens(corpus, context)
    train = np.asarray(corpus.parts["train"].tokens)
    counted = (
        ""
        if len(train) <= MAX_TOKENS
        else f", counted in the last {MAX_TOKENS:,} of {len(train):,} training tokens"
    )
    yield _baseline(
        "uniform", "none", "every token alike", np.full(len(held.ids), math.log(size)), held
    )
    chosen = "" if len(held.parts) > 1 else ", the order chosen on the scored text itself"
    found = {"windows": OrderSearch(held.limited), "unlimited": OrderSearch(held.unlimited)}
    for n, probability in enumerate(
        ngram.probabilities(train[-MAX_TOKENS:], held.ids, size, MAX_ORDER), 1
    ):
        nats = -np.log(probability)
        if n == 1:
            yield _baseline(
                "unigram",
                "none",
                f"how often each token is in the training part{counted}",
                nats,
                held,
            )
        for search in found.values():
            search.look(n, nats, held.parts[0])
        if all(search.ended(n) for search in found.values()):
            break
    for kind, search in found.items():
        said = (
            f"at most {context} tokens of context, as the windows give"
            if kind == "windows"
            else "unlimited context"
        )
        note = f"modified Kneser–Ney, interpolated, of its best order, {said}{chosen}{counted}"
        name = f"{search.order}-gram" + (", unlimited" if kind == "unlimited" else "")
        yield _baseline(name, kind, note, search.best, held)


class OrderSearch:
    """The best order so far, and the nats of each token by it: of a lower order where fewer tokens are `visible`."""

    def __init__(self, visible: np.ndarray):
        self.visible, self.order, self.least = visible, 0, math.inf
        self.nats = self.best = np.full(len(visible), math.inf)

    def look(self, order: int, nats: Floats, chosen_on: slice) -> None:
        """Take up the next order; the best is chosen on the validation part."""
        self.nats = nats if order == 1 else np.where(self.visible >= order - 1, nats, self.nats)
        if (total := float(self.nats[chosen_on].sum())) < self.least:
            self.order, self.least, self.best = order, total, self.nats

    def ended(self, order: int) -> bool:
        return order - self.order >= PATIENCE


def _held_out_parts(corpus: Corpus) -> list[Part]:
    names = ["validation"] if corpus.scored == "validation" else ["validation", corpus.scored]
    return [corpus.parts[name] for name in names]


def held_out_tokens(corpus: Corpus, context: int) -> HeldOutTokens:
    """The held-out parts, and how much each token may see: in windows of `context` side by side, and in the whole of its part."""
    parts = _held_out_parts(corpus)
    ends = np.cumsum([0, *(len(part.tokens) for part in parts)])
    unlimited = np.concatenate([np.arange(len(part.tokens)) for part in parts])
    limited = np.where(unlimited > 0, (unlimited - 1) % context + 1, 0)
    slices = tuple(slice(int(a), int(b)) for a, b in pairwise(ends))
    return HeldOutTokens(
        np.concatenate([np.asarray(part.tokens) for part in parts]), slices, limited, unlimited
    )


def _baseline(name: str, context: str, note: str, nats: Floats, held: HeldOutTokens) -> Baseline:
    return Baseline(name, context, note, nats[held.parts[-1]], nats[held.parts[0]])


def _validation_offsets(part: Part, context: int) -> np.ndarray:
    """The offsets of the tokens that training looks at now and then."""
    starts, length = spaced_blocks(part, context)
    return np.asarray((starts[:, None] + 1 + np.arange(length)).ravel())


def _baseline_entry(
    line: Baseline, scored: Part, vocabulary: Vocabulary, look: np.ndarray
) -> dict[str, Any]:
    documents, _, _ = nats_per_unit(scored, line.scored, vocabulary.separator)
    nats, tokens, size = (float(documents[name].sum()) for name in ("nats", "tokens", "bytes"))
    seen = "on the fixed blocks of the validation part that training looks at, separators included"
    metrics = [
        Metric("bits_per_byte", "bits/byte", "lower", (nats / (size * math.log(2)),)),
        Metric("nats_per_token", "nats/token", "lower", (nats / tokens,)),
        Metric("perplexity", "per token", "lower", (math.exp(nats / tokens),)),
        Metric(
            "validation_nats", "nats/token", "lower", (float(line.validation[look].mean()),), seen
        ),
    ]
    about = {"name": line.name, "context": line.context, "note": line.note}
    return about | {"metrics": [metric.as_json() for metric in metrics]}


def _compressor_entry(corpus: Corpus, scored: Part) -> dict[str, Any]:
    """What the scored text adds to the compressed training text."""
    train = part_text(corpus.parts["train"], corpus.vocabulary)
    size = int(scored.sizes.sum())
    bits = (
        8
        * (compressed_size(train + part_text(scored, corpus.vocabulary)) - compressed_size(train))
        / size
    )
    note = "LZMA2 (xz) at its strongest: what the scored text adds to the compressed training text, unlimited context"
    note += (
        f", of which it has the last {MAX_TOKENS:,} tokens"
        if len(corpus.parts["train"].tokens) > MAX_TOKENS
        else ""
    )
    note += ". Unseen characters are one and the same to it" if corpus.vocabulary.lossy else ""
    about = {"name": "lzma", "context": "unlimited", "note": note}
    return about | {"metrics": [Metric("bits_per_byte", "bits/byte", "lower", (bits,)).as_json()]}


def part_text(part: Part, vocabulary: Vocabulary) -> bytes:
    """The text of the last tokens of a part, without separators."""
    return vocabulary.decode_bytes(np.asarray(part.tokens[-MAX_TOKENS:]))


def compressed_size(content: bytes) -> int:
    """Bytes of a text compressed without any container, with a dictionary that holds the whole."""
    room = max(4096, 2 ** math.ceil(math.log2(len(content) + 1)))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": room}]
    return len(lzma.compress(content, format=lzma.FORMAT_RAW, filters=filters))
