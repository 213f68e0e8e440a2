"""Documents that say again what another said: exact copies, and near ones by the runs of words that they share."""

from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from bench.data.document_store import Documents, DocumentStore, iterate_spans

NGRAM_WORDS = 13  # words of a run that counts as copied
MAX_SHARED = 0.2  # of a document's runs that may have been seen before
MULTIPLIER = np.uint64(
    0x9E3779B97F4A7C15
)  # of the polynomial over the words of a run; odd, its bits well mixed
READ_BYTES = 1 << 20  # bytes of a document that are cut into words at once
HASHES_IN_MEMORY = 1 << 22  # hashes of runs that wait in memory before they go to the disk
SLICES = 64  # equal parts of the hashes' range, looked through one after the other


def drop_exact_duplicates(documents: Documents) -> Documents:
    """The first of each text."""
    order = np.argsort(documents.digests, kind="stable")
    ordered = documents.digests[order]
    again = order[1:][ordered[1:] == ordered[:-1]]
    return documents.take(np.delete(np.arange(len(documents)), again)) if len(again) else documents


def drop_near_duplicates(documents: Documents, spool: DocumentStore) -> Documents:
    """Longest first, leave out a document of which over 20 % of its 13-word runs were seen.

    Holds in memory the runs that several documents share, and those of the longest document.
    """
    if len(documents) < 2:
        return documents
    shared = shared_ngrams(documents, spool)
    seen = np.zeros(len(shared), bool)
    order = np.argsort(documents.digests, kind="stable")
    order = order[np.argsort(-documents.sizes[order], kind="stable")]
    kept = []
    for place, (begin, end) in zip(
        order.tolist(), iterate_spans(documents.spans[order]), strict=True
    ):
        mine = ngram_hashes(spool, begin, end)
        common = positions_of(mine, shared)
        if np.count_nonzero(seen[common]) <= MAX_SHARED * len(mine):
            seen[common] = True
            kept.append(place)
    return documents.take(np.sort(np.array(kept, np.int64)))


def positions_of(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Where the values that are known stand among the known ones, which rise."""
    places = np.searchsorted(known, values)
    inside = places < len(known)
    places, values = places[inside], values[inside]
    return places[known[places] == values]


def ngram_hashes(spool: DocumentStore, begin: int, end: int) -> np.ndarray:
    """(n,) uint64: a hash of each different run of words of a document, in rising order."""
    words = np.concatenate(list(word_hashes(spool, begin, end)))
    found = np.zeros(max(0, len(words) - NGRAM_WORDS + 1), np.uint64)
    for at in range(NGRAM_WORDS if len(found) else 0):
        found = found * MULTIPLIER + words[at : at + len(found)]
    return np.unique(found)


def word_hashes(spool: DocumentStore, begin: int, end: int) -> Iterator[np.ndarray]:
    """A hash of each word of a document, which is read in pieces; a word that a piece cuts in two is put together."""
    rest = ""
    for low, high in spool.cut(begin, end, READ_BYTES):
        text = rest + spool.read(low, high)
        words = text.split()
        rest = words.pop() if words and high < end and not text[-1].isspace() else ""
        yield np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)


def shared_ngrams(documents: Documents, spool: DocumentStore) -> np.ndarray:
    """(n,) uint64, rising: the runs that stand in more than one document. All runs together go to the disk, not to memory."""
    edges = np.arange(1, SLICES, dtype=np.uint64) * np.uint64(2**64 // SLICES)
    borders, found = [], []
    with TemporaryFile(dir=spool.path.parent) as file:
        for chunk in sorted_chunks(documents, spool):
            inner = np.searchsorted(chunk, edges)
            borders.append(file.tell() + 8 * np.concatenate([[0], inner, [len(chunk)]]))
            file.write(chunk.tobytes())
        for piece in range(SLICES):
            values = [
                read_hashes(file, int(border[piece]), int(border[piece + 1])) for border in borders
            ]
            ordered = np.sort(np.concatenate(values))
            found.append(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
    return np.concatenate(found)


def sorted_chunks(documents: Documents, spool: DocumentStore) -> Iterator[np.ndarray]:
    """The runs of all documents, some millions at a time in rising order; a run once for each document."""
    waiting: list[np.ndarray] = []
    count = 0
    for begin, end in iterate_spans(documents.spans):
        waiting.append(ngram_hashes(spool, begin, end))
        count += len(waiting[-1])
        if count >= HASHES_IN_MEMORY:
            yield np.sort(np.concatenate(waiting))
            waiting, count = [], 0
    if waiting:
        yield np.sort(np.concatenate(waiting))


def read_hashes(file: IO[bytes], begin: int, end: int) -> np.ndarray:
    """The hashes between two offsets of a file."""
    file.seek(begin)
    return np.frombuffer(file.read(end - begin), np.uint64)
