"""Encode text a megabyte at a time, in several processes where that pays: the tokens are the same.

A batch holds spans of the document store; results come in the order of the batches.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.config.errors import UserError
from bench.data import tokenizer
from bench.data.document_store import DocumentStore, iterate_spans
from bench.data.vocabulary import Vocabulary
from bench.system import host, signals

BLOCK_BYTES = 4096  # of a unit of one long text
BATCH_BYTES = 1 << 20
MIN_POOL_BYTES = 16 << 20  # of text that are worth several processes: to start them takes a second
BATCHES_AHEAD = 2  # per process: waiting to be encoded, or to be written
# Set before a pool process starts: the pool is the parallelism, threads inside would be too many.
WORKER_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip


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


# Encodes batches; the flag says whether to count lost characters.
Encode = Callable[[Iterable[TextBatch], bool], Iterator[tuple[TextBatch, EncodedBatch]]]


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
    lost = 0
    if held_out:
        pairs = zip(texts, encoded, strict=True)
        lost = sum(vocabulary.count_lost(text.decode(), ids) for text, ids in pairs)
    counts = np.fromiter(map(len, encoded), np.int64, len(encoded))
    positions = (np.cumsum(counts) - counts)[batch.opens]  # of the separators
    ids = np.concatenate(encoded).astype(token_dtype(vocabulary))
    marks = (b"\0" if opens else b"" for opens in batch.opens.tolist())
    content = b"".join(part for pair in zip(marks, texts, strict=True) for part in pair)
    return EncodedBatch(np.insert(ids, positions, vocabulary.separator), counts, content, lost)


@contextmanager
def open_encoder(store: DocumentStore, vocabulary: Vocabulary, size: int) -> Iterator[Encode]:
    """Yield a function that encodes batches in order, in one process or one per core.

    A pool pays for a slow vocabulary and at least MIN_POOL_BYTES of text; `size` is in bytes.
    """
    processes = host.available_cores() if vocabulary.slow and size >= MIN_POOL_BYTES else 1
    if processes == 1:
        yield lambda batches, held_out: (
            (batch, encode_batch(store, vocabulary, batch, held_out)) for batch in batches
        )
        return
    with worker_pool(processes, str(store.path), vocabulary.describe()) as pool:
        yield lambda batches, held_out: encode_in_order(
            pool, batches, held_out, BATCHES_AHEAD * processes
        )


@contextmanager
def worker_pool(processes: int, *encoding: Any) -> Iterator[Any]:
    """Yield a pool of processes that end with the caller; raise UserError where one dies.

    `encoding`: the path of a store and the description of a vocabulary, for `encode_in_worker`.
    """
    from joblib.externals.loky import ProcessPoolExecutor, process_executor

    arguments, environment = (os.getpid(), *encoding), WORKER_ENVIRONMENT if encoding else {}
    pool = ProcessPoolExecutor(
        processes, initializer=_init_worker, initargs=arguments, env=environment
    )
    try:
        yield pool
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(kill_workers=True)
        if not isinstance(error, process_executor.BrokenProcessPool):
            raise
        raise UserError(
            f"a tokenizing process died ({type(error).__name__}), most often for lack of memory: "
            "free some",
            "worker-died",
        ) from None


def encode_in_order(
    pool: Any, batches: Iterable[TextBatch], held_out: bool, ahead: int
) -> Iterator[tuple[TextBatch, EncodedBatch]]:
    """Yield the batches in the order given; at most `ahead` of them wait in memory."""
    pending: deque[tuple[TextBatch, Any]] = deque()
    for batch in batches:
        pending.append((batch, pool.submit(encode_in_worker, batch, held_out)))
        if len(pending) > ahead:
            first, future = pending.popleft()
            yield first, future.result()
    for first, future in pending:
        yield first, future.result()


# --- inside a process of the pool -----------------------------------------------------------------

worker_state: list[tuple[DocumentStore, Vocabulary]] = []  # of this process: one pair


def _init_worker(parent: int, path: str = "", description: dict[str, Any] | None = None) -> None:
    """Open what every batch needs; leave Ctrl-C to the parent, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals.exit_with_parent(parent)
    if description is not None:
        worker_state[:] = [(DocumentStore(Path(path)), tokenizer.load_vocabulary(description))]


def encode_in_worker(batch: TextBatch, held_out: bool) -> EncodedBatch:
    """Encode a batch with what `_init_worker` opened."""
    return encode_batch(*worker_state[0], batch, held_out)
