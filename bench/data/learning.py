"""Make a vocabulary from the training part of a text."""

import logging
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.schema import DataConfig
from bench.data.document_store import DocumentStore, iterate_spans
from bench.data.subword import SubwordVocabulary, learn_bpe
from bench.data.tokenization import BATCH_BYTES, worker_pool
from bench.data.vocabulary import ByteVocabulary, CharacterVocabulary, Vocabulary

logger = logging.getLogger(__name__)
# Bytes of the training part that byte pairs are learned from, at most: more would hardly change
# them, and 64 MB of text with 0.8M different words took 1.1 GB of memory.
BPE_SAMPLE_BYTES = 32 << 20
# From here on byte pairs are learned in a process of its own, which Ctrl-C can end: the library
# does not look for signals, and a process takes about a second to start.
MIN_PROCESS_BYTES = 4 << 20


def learn_vocabulary(
    options: DataConfig, store: DocumentStore, spans: np.ndarray
) -> tuple[Vocabulary, dict[str, Any]]:
    """Return the vocabulary of a training part, and what it was learned from."""
    if options.tokenizer == "bytes":
        return ByteVocabulary(), {}
    if options.tokenizer == "characters":
        return _used_characters(store, spans), {}
    sample, total = sample_spans(store, spans, BPE_SAMPLE_BYTES), int(np.diff(spans).sum())
    size = int(np.diff(sample).sum())
    logger.info("learning byte pairs from %.2f of %.2f MB", size / 1e6, total / 1e6)
    facts: dict[str, Any] = {"vocabulary_learned_on": {"bytes": size, "of": total}}
    vocabulary = _learn_pairs(store, sample, options.vocabulary)
    learned = vocabulary.size - 1  # the separator is not learned
    if learned < options.vocabulary:
        logger.warning(
            f"data.vocabulary={options.vocabulary:,}: the training part has byte pairs for no "
            f"more than {learned:,} tokens"
        )
        facts["vocabulary_requested"] = options.vocabulary
    return vocabulary, facts


def _used_characters(store: DocumentStore, spans: np.ndarray) -> CharacterVocabulary:
    characters: set[str] = set()
    for text in iterate_texts(store, spans):
        characters.update(text)
    return CharacterVocabulary("".join(characters))


def _learn_pairs(store: DocumentStore, spans: np.ndarray, size: int) -> SubwordVocabulary:
    """Learn byte pairs from some spans of a text, here or in a process of its own."""
    if int(np.diff(spans).sum()) < MIN_PROCESS_BYTES:
        return learn_bpe(lambda: iterate_texts(store, spans), size)
    with worker_pool(1) as pool:
        return SubwordVocabulary(
            pool.submit(_learn_content, store.path, spans, size).result(), "bpe"
        )


def _learn_content(path: Path, spans: np.ndarray, size: int) -> str:
    """Learn byte pairs in a process of the pool; return their tokenizer.json."""
    with DocumentStore(path) as store:
        return learn_bpe(lambda: iterate_texts(store, spans), size).content


def iterate_texts(store: DocumentStore, spans: np.ndarray) -> Iterator[str]:
    """Yield the text of some spans, in pieces that fit in memory."""
    for begin, end in iterate_spans(spans):
        for low, high in store.cut(begin, end, BATCH_BYTES):
            yield store.read(low, high)


def sample_spans(store: DocumentStore, spans: np.ndarray, limit: int) -> np.ndarray:
    """Return (N, 2) pieces of a part, drawn with a fixed seed, of about `limit` bytes together."""
    share = limit / max(1, int(np.diff(spans).sum()))
    random, pieces = np.random.default_rng(0), array("q")
    for begin, end in iterate_spans(spans):
        for piece in store.cut(begin, end, BATCH_BYTES):
            if share >= 1 or random.random() < share:
                pieces.extend(piece)
    return np.frombuffer(pieces, np.int64).reshape(-1, 2)
