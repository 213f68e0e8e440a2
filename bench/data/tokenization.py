"""Encode text a megabyte at a time; a batch holds spans of the document store."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bench.data.document_store import DocumentStore, iterate_spans
from bench.data.vocabulary import Vocabulary

BLOCK_BYTES = 4096  # of a unit of one long text
BATCH_BYTES = 1 << 20


class TextBatch(NamedTuple):
    """Spans that are encoded at once; S spans."""

    spans: np.ndarray  # (S, 2) int64: begins and ends in the store, bytes
    opens: np.ndarray  # (S,) bool: a document begins here


class EncodedBatch(NamedTuple):
    """The tokens of a batch; N tokens."""

    tokens: np.ndarray  # (N,) uint16 or uint32: each document after its separator
    counts: np.ndarray  # (S,) int64: tokens of each span, separators excluded
    text_bytes: bytes  # the text itself, each document after a zero byte
    lost: int  # characters that the tokens cannot give back


def text_batches(store: DocumentStore, spans: np.ndarray, least: int) -> Iterator[TextBatch]:
    """Yield the spans of a part, cut from twice `least` bytes on, about a megabyte at a time."""
    cuts, opens, size = list[tuple[int, int]](), list[bool](), 0
    for begin, end in iterate_spans(spans):
        for low, high in store.cut(begin, end, least):
            cuts.append((low, high))
            opens.append(low == begin)
            size += high - low
            if size >= BATCH_BYTES:
                yield TextBatch(np.array(cuts), np.array(opens))
                cuts, opens, size = [], [], 0
    if cuts:
        yield TextBatch(np.array(cuts), np.array(opens))


def token_dtype(vocabulary: Vocabulary) -> np.dtype:
    """Return the smallest dtype that holds every token."""
    return np.dtype(np.uint16 if vocabulary.size < 1 << 16 else np.uint32)


def encode_batch(
    store: DocumentStore, vocabulary: Vocabulary, batch: TextBatch, held_out: bool
) -> EncodedBatch:
    """Read and encode a batch; count lost characters in held-out text."""
    texts = [store.read_bytes(begin, end) for begin, end in batch.spans.tolist()]
    encoded = vocabulary.encode_batch(texts)
    pairs = zip(texts, encoded, strict=True) if held_out else ()
    lost = sum(vocabulary.count_lost(text.decode(), ids) for text, ids in pairs)
    counts = np.fromiter(map(len, encoded), np.int64, len(encoded))
    positions = (np.cumsum(counts) - counts)[batch.opens]  # of the separators
    ids = np.concatenate(encoded).astype(token_dtype(vocabulary))
    opened = zip(batch.opens.tolist(), texts, strict=True)
    content = b"".join(b"\0" + text if opens else text for opens, text in opened)
    return EncodedBatch(np.insert(ids, positions, vocabulary.separator), counts, content, lost)
