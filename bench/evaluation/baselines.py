"""Compute baselines without an architecture on the scored text, for the report.

uniform: equal probabilities · unigram: frequencies in the training part · n-gram: modified
Kneser–Ney of its best order, under the context that the protocol allows and without that limit ·
lzma: a compressor that is given the training text.
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
from bench.evaluation.read_text import TrainingText, whole_text
from bench.records.metrics import metric
from bench.records.schema import SCHEMA
from bench.records.store import read_json, write_json
from bench.records.validation import baselines_error
from bench.system.files import check_writable

MAX_ORDER = 24
PATIENCE = 2  # orders in a row without improvement end the search
MAX_TOKENS = 4_000_000  # counted of the training part, scored of held-out parts; more takes minutes
Progress = Callable[[str], None]


class Baseline(NamedTuple):
    """One baseline and its nats per token of the scored and of the validation part."""

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


def baselines_path(root: Path, digest: str, context: int, order_digest: str = "") -> Path:
    """Return the path of the baselines of a text under a context in a results folder.

    `order_digest`: of the blocks that they were counted on, where that is not all training text.
    """
    read = f"-{order_digest[:8]}" if order_digest else ""
    return root / "references" / f"{digest}-{context}{read}.json"


def ensure_baselines(
    root: Path, corpus: Corpus, context: int, progress: Progress, text: TrainingText | None = None
) -> None:
    """Write the baselines of a text, unless they exist.

    `text`: the training text that they are counted on, by default all of it.
    """
    text = text or whole_text(corpus)
    place = baselines_path(root, corpus.digest, context, text.order_digest)
    if not baselines_error(read_json(place)):
        return
    check_writable(place.parent)
    about = {
        "schema": SCHEMA,
        "data_digest": corpus.digest,
        "part": corpus.scored,
        "context": context,
        "order_digest": text.order_digest,
        "training_tokens": len(text.tokens),
    }
    held = sum(len(part.tokens) for part in _held_out_parts(corpus))
    if held > MAX_TOKENS:
        reason = f"the held-out parts have {held:,} tokens: baselines are computed up to "
        write_json(place, about | {"reason": f"{reason}{MAX_TOKENS:,}", "lines": []})
        return
    progress(f"baselines {text.note}".rstrip() + f": n-grams and a compressor on {held:,} tokens")
    write_json(place, about | {"reason": "", "lines": _baseline_entries(corpus, context, text)})


def _baseline_entries(corpus: Corpus, context: int, text: TrainingText) -> list[dict[str, Any]]:
    scored, offsets = corpus.parts[corpus.scored], _validation_offsets(corpus, context)
    lines = compute_baselines(corpus, context, text)
    made = [_baseline_entry(line, scored, corpus.vocabulary, offsets) for line in lines]
    return [*made, _compressor_entry(corpus, scored, text)]


def compute_baselines(
    corpus: Corpus, context: int, text: TrainingText | None = None
) -> Iterator[Baseline]:
    """Yield each baseline that gives every token a probability, counted on the training text."""
    size, held = corpus.vocabulary.size, held_out_tokens(corpus, context)
    text = text or whole_text(corpus)
    counted = _counted_note(text)
    train = text.last(MAX_TOKENS)
    yield _uniform(held, size)
    searches = {"windows": OrderSearch(held.limited), "unlimited": OrderSearch(held.unlimited)}
    orders = ngram.probabilities(train.tokens, held.ids, size, MAX_ORDER, preceding=train.preceding)
    for n, probability in enumerate(orders, 1):
        nats = -np.log(probability)
        if n == 1:
            note = f"frequencies in the training part{counted}"
            yield _baseline("unigram", "none", note, nats, held)
        for search in searches.values():
            search.add(n, nats, held.parts[0])
        if all(search.ended(n) for search in searches.values()):
            break
    yield from _best_orders(searches, held, context, counted)


def _uniform(held: HeldOutTokens, size: int) -> Baseline:
    nats = np.full(len(held.ids), math.log(size))
    return _baseline("uniform", "none", "equal probabilities", nats, held)


def _counted_note(text: TrainingText) -> str:
    """Return what n-grams are counted on, behind a comma; empty for the whole training part."""
    notes = [text.note] if text.note else []
    if len(text.tokens) > MAX_TOKENS:
        notes.append(f"counted in the last {MAX_TOKENS:,} of {len(text.tokens):,} training tokens")
    return "".join(f", {note}" for note in notes)


def _best_orders(
    searches: dict[str, "OrderSearch"], held: HeldOutTokens, context: int, counted: str
) -> Iterator[Baseline]:
    """Yield the n-gram of the best order of each search."""
    chosen = "" if len(held.parts) > 1 else ", the order chosen on the scored text itself"
    limits = {
        "windows": f"at most {context} tokens of context, as in the windows",
        "unlimited": "unlimited context",
    }
    for kind, search in searches.items():
        note = "modified Kneser–Ney, interpolated, of its best order, "
        note += f"{limits[kind]}{chosen}{counted}"
        name = f"{search.order}-gram" + (", unlimited" if kind == "unlimited" else "")
        yield _baseline(name, kind, note, search.best, held)


class OrderSearch:
    """Find the best order, and the nats of each token by it.

    They are of a lower order where fewer tokens are `visible`.
    """

    def __init__(self, visible: np.ndarray):
        self.visible, self.order, self.least = visible, 0, math.inf
        self.nats = self.best = np.full(len(visible), math.inf)

    def add(self, order: int, nats: Floats, chosen_on: slice) -> None:
        """Compare the next order with the best so far, on the tokens `chosen_on`."""
        self.nats = nats if order == 1 else np.where(self.visible >= order - 1, nats, self.nats)
        if (total := float(self.nats[chosen_on].sum())) < self.least:
            self.order, self.least, self.best = order, total, self.nats

    def ended(self, order: int) -> bool:
        return order - self.order >= PATIENCE


def _held_out_parts(corpus: Corpus) -> list[Part]:
    names = ["validation"] if corpus.scored == "validation" else ["validation", corpus.scored]
    return [corpus.parts[name] for name in names]


def held_out_tokens(corpus: Corpus, context: int) -> HeldOutTokens:
    """Return the held-out parts, and how many tokens precede each in its window and its part."""
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


def _validation_offsets(corpus: Corpus, context: int) -> np.ndarray:
    """Return the offsets of the tokens of the validation blocks that training scores."""
    part = corpus.parts["validation"]
    starts, length = spaced_blocks(part, context)
    return np.asarray((starts[:, None] + 1 + np.arange(length)).ravel())


def _baseline_entry(
    line: Baseline, scored: Part, vocabulary: Vocabulary, offsets: np.ndarray
) -> dict[str, Any]:
    documents, _, _ = nats_per_unit(scored, line.scored, vocabulary.separator)
    nats, tokens, size = (float(documents[name].sum()) for name in ("nats", "tokens", "bytes"))
    blocks = "on the fixed blocks of the validation part, separators included"
    metrics = [
        metric("bits_per_byte", nats / (size * math.log(2))),
        metric("nats_per_token", nats / tokens),
        metric("perplexity", math.exp(nats / tokens)),
        metric("validation_nats", float(line.validation[offsets].mean()), blocks),
    ]
    about = {"name": line.name, "context": line.context, "note": line.note}
    return about | {"metrics": [one.as_json() for one in metrics]}


def _compressor_entry(corpus: Corpus, scored: Part, text: TrainingText) -> dict[str, Any]:
    """Return what the scored text adds to the compressed training text."""
    train = corpus.vocabulary.decode_bytes(text.last(MAX_TOKENS).tokens)
    size = int(scored.sizes.sum())
    both = train + corpus.vocabulary.decode_bytes(np.asarray(scored.tokens[-MAX_TOKENS:]))
    bits = 8 * (compressed_size(both) - compressed_size(train)) / size
    note = "LZMA2 (xz) at its strongest: what the scored text adds to the compressed training text"
    note += f", unlimited context{_counted_note(text)}"
    note += ". All unseen characters are the same to it" if corpus.vocabulary.lossy else ""
    about = {"name": "lzma", "context": "unlimited", "note": note}
    return about | {"metrics": [metric("bits_per_byte", bits).as_json()]}


def compressed_size(content: bytes) -> int:
    """Return the bytes of a compressed text, without container, its dictionary as large as it."""
    room = max(4096, 2 ** math.ceil(math.log2(len(content) + 1)))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": room}]
    return len(lzma.compress(content, format=lzma.FORMAT_RAW, filters=filters))
