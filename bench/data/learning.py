"""Make a vocabulary from the training part of a text."""

import logging
import os
import signal
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data.document_store import DocumentStore, iterate_spans
from bench.data.subword import SubwordVocabulary, learn_bpe
from bench.data.tokenization import BATCH_BYTES
from bench.data.vocabulary import ByteVocabulary, CharacterVocabulary, Vocabulary
from bench.system import signals

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
    learn = _learn_pairs if size < MIN_PROCESS_BYTES else _learn_in_process
    vocabulary = SubwordVocabulary(learn(store.path, sample, options.vocabulary), "bpe")
    learned = vocabulary.size - 1  # the separator is not learned
    if learned < options.vocabulary:
        logger.warning(
            f"data.vocabulary={options.vocabulary:,}: the training part has byte pairs for no "
            f"more than {learned:,} tokens"
        )
        facts["vocabulary_requested"] = options.vocabulary
    return vocabulary, facts


def _used_characters(store: DocumentStore, spans: np.ndarray) -> CharacterVocabulary:
    characters = set[str]()
    for text in iterate_texts(store, spans):
        characters.update(text)
    return CharacterVocabulary("".join(characters))


def _learn_pairs(path: Path, spans: np.ndarray, size: int) -> str:
    """Learn byte pairs from some spans of a text; return their tokenizer.json."""
    with DocumentStore(path) as store:
        return learn_bpe(lambda: iterate_texts(store, spans), size).content


def _learn_in_process(path: Path, spans: np.ndarray, size: int) -> str:
    """Do the same in a process that ends with this one; raise UserError where it dies."""
    from joblib.externals.loky import ProcessPoolExecutor, process_executor

    pool = ProcessPoolExecutor(1, initializer=_init_worker, initargs=(os.getpid(),))
    try:
        content: str = pool.submit(_learn_pairs, path, spans, size).result()
    except process_executor.BrokenProcessPool as error:
        raise UserError(
            f"a tokenizing process died ({type(error).__name__}), most often for lack of memory: "
            "free some",
            "worker-died",
        ) from None
    finally:
        pool.shutdown(kill_workers=True)
    return content


def _init_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals.exit_with_parent(parent)


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
