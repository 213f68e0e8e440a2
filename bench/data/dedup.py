"""Drop duplicate documents: exact ones, and near ones by the runs of words that they share."""

from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from bench.data.document_store import Documents, DocumentStore, iterate_spans

NGRAM_WORDS = 13
MAX_SHARED = 0.2  # of a document's n-grams that other documents may hold
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # of the polynomial hash of an n-gram; odd, well mixed
READ_BYTES = 1 << 20  # bytes of a document split into words at once
HASHES_IN_MEMORY = 1 << 22  # that wait before they go to the disk
SLICES = 64  # equal parts of the hash range, searched one after the other


def drop_exact_duplicates(documents: Documents) -> Documents:
    """Return the first document of each text."""
    firsts = np.unique(documents.digests, return_index=True)[1]
    return documents.take(np.sort(firsts))


def drop_near_duplicates(documents: Documents, store: DocumentStore) -> Documents:
    """Drop, longest first, documents of which over 20 % of its 13-word n-grams were seen before.

    Holds in memory the n-grams that several documents share, and those of the longest document.
    """
    if len(documents) < 2:
        return documents
    shared = shared_ngrams(documents, store)
    seen = np.zeros(len(shared), bool)
    order = np.lexsort((documents.digests, -documents.sizes))
    kept = []
    for position, span in zip(order.tolist(), iterate_spans(documents.spans[order]), strict=True):
        ngrams = ngram_hashes(store, *span)
        places = np.searchsorted(shared, ngrams).clip(max=max(0, len(shared) - 1))
        places = places[shared[places] == ngrams] if len(shared) else places[:0]
        if np.count_nonzero(seen[places]) <= MAX_SHARED * len(ngrams):
            seen[places] = True
            kept.append(position)
    return documents.take(np.sort(np.array(kept, np.int64)))


def ngram_hashes(store: DocumentStore, begin: int, end: int) -> np.ndarray:
    """Return a hash of each different n-gram of a document, (n,) uint64, rising."""
    words = np.concatenate(list(_word_hashes(store, begin, end)))
    hashes = np.zeros(max(0, len(words) - NGRAM_WORDS + 1), np.uint64)
    for first in range(NGRAM_WORDS if len(hashes) else 0):
        hashes = hashes * MULTIPLIER + words[first : first + len(hashes)]
    return np.unique(hashes)


def _word_hashes(store: DocumentStore, begin: int, end: int) -> Iterator[np.ndarray]:
    """Yield the hashes of a document's words, joining the words that two pieces share."""
    rest = ""
    for low, high in store.cut(begin, end, READ_BYTES):
        text = rest + store.read(low, high)
        words = text.split()
        rest = words.pop() if words and high < end and not text[-1].isspace() else ""
        yield np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)


def shared_ngrams(documents: Documents, store: DocumentStore) -> np.ndarray:
    """Return the n-grams that more than one document holds, (n,) uint64, rising.

    The n-grams of all documents go to the disk, sorted in chunks, not to memory.
    """
    edges = np.arange(1, SLICES, dtype=np.uint64) * np.uint64(2**64 // SLICES)
    borders, shared = [], []
    with TemporaryFile(dir=store.path.parent) as file:
        for chunk in _sorted_chunks(documents, store):
            inner = np.searchsorted(chunk, edges)
            borders.append(file.tell() + 8 * np.concatenate([[0], inner, [len(chunk)]]))
            file.write(chunk.tobytes())
        for piece in range(SLICES):
            values = [_read_hashes(file, *border[piece : piece + 2]) for border in borders]
            ordered = np.sort(np.concatenate(values))
            shared.append(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
    return np.concatenate(shared)


def _read_hashes(file: IO[bytes], begin: int, end: int) -> np.ndarray:
    file.seek(begin)
    return np.frombuffer(file.read(end - begin), np.uint64)


def _sorted_chunks(documents: Documents, store: DocumentStore) -> Iterator[np.ndarray]:
    """Yield the n-grams of all documents, some millions at a time, each chunk sorted."""
    pending, count = list[np.ndarray](), 0
    for span in iterate_spans(documents.spans):
        pending.append(ngram_hashes(store, *span))
        count += len(pending[-1])
        if count >= HASHES_IN_MEMORY:
            yield np.sort(np.concatenate(pending))
            pending, count = [], 0
    if pending:
        yield np.sort(np.concatenate(pending))
