"""Text to tokens, a megabyte at a time, in several processes where that pays: the same tokens whatever their number."""

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
from bench.system import host, signals

BLOCK_BYTES = 4096  # bytes of a unit of one long text
BATCH_BYTES = 1 << 20  # bytes encoded at once
MIN_POOL_BYTES = (
    16 << 20
)  # bytes of text that are worth several processes: to start them takes a second
BATCHES_AHEAD = 2  # batches that a process has before it, or done behind it, until they are written
# What a process of the pool must know before it starts: the pool is the parallelism, threads inside would be too many.
WORKER_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class TextBatch(NamedTuple):
    """Stretches of the spool that are encoded at once."""

    spans: np.ndarray  # (S, 2) int64: begins and ends, bytes
    opens: np.ndarray  # (S,) bool: a document begins here


class EncodedBatch(NamedTuple):
    """What became of a batch."""

    tokens: np.ndarray  # (N,) uint16 or uint32: each document behind its separator
    counts: np.ndarray  # (S,) int64: tokens of each stretch, separators not among them
    text_bytes: bytes  # the text itself, each document behind a zero byte
    losses: int  # characters that the tokens can not give back


Encode = Callable[
    [Iterable[TextBatch], bool], Iterator[tuple[TextBatch, EncodedBatch]]
]  # batches, and whether to count their losses


def text_batches(spool: DocumentStore, spans: np.ndarray, at_least: int) -> Iterator[TextBatch]:
    """The stretches of a part, cut where they have `at_least` bytes twice, about a megabyte together."""
    cuts: list[tuple[int, int]] = []
    opens: list[bool] = []
    waiting = 0
    for begin, end in iterate_spans(spans):
        for low, high in spool.cut(begin, end, at_least):
            cuts.append((low, high))
            opens.append(low == begin)
            waiting += high - low
            if waiting >= BATCH_BYTES:
                yield TextBatch(np.array(cuts), np.array(opens))
                cuts, opens, waiting = [], [], 0
    if cuts:
        yield TextBatch(np.array(cuts), np.array(opens))


def token_dtype(vocabulary: tokenizer.Vocabulary) -> np.dtype:
    """The smallest kind of number that holds every token."""
    return np.dtype(np.uint16 if vocabulary.size < 1 << 16 else np.uint32)


def encode_batch(
    spool: DocumentStore, vocabulary: tokenizer.Vocabulary, batch: TextBatch, held_out: bool
) -> EncodedBatch:
    """Read and encode a batch; losses are counted in held-out text."""
    texts = [spool.raw(begin, end) for begin, end in batch.spans.tolist()]
    encoded = vocabulary.encode_batch(texts)
    losses = (
        sum(
            vocabulary.count_lost(text.decode(), ids)
            for text, ids in zip(texts, encoded, strict=True)
        )
        if held_out
        else 0
    )
    counts = np.fromiter(map(len, encoded), np.int64, len(encoded))
    separators = (np.cumsum(counts) - counts)[batch.opens]
    tokens = np.insert(
        np.concatenate(encoded).astype(token_dtype(vocabulary)), separators, vocabulary.separator
    )
    said = b"".join(
        b"\0" + text if opens else text
        for text, opens in zip(texts, batch.opens.tolist(), strict=True)
    )
    return EncodedBatch(tokens, counts, said, losses)


@contextmanager
def open_encoder(
    spool: DocumentStore, vocabulary: tokenizer.Vocabulary, size: int
) -> Iterator[Encode]:
    """What encodes batches in their order: this process, or for `size` bytes of text that take long one on each core."""
    processes = host.available_cores() if vocabulary.slow and size >= MIN_POOL_BYTES else 1
    if processes == 1:
        yield lambda asked, held_out: (
            (batch, encode_batch(spool, vocabulary, batch, held_out)) for batch in asked
        )
        return
    from joblib.externals.loky import ProcessPoolExecutor, process_executor

    start = (os.getpid(), str(spool.path), vocabulary.describe())
    try:
        with ProcessPoolExecutor(
            processes, initializer=init_worker, initargs=start, env=WORKER_ENVIRONMENT
        ) as pool:
            yield lambda asked, held_out: encode_in_order(
                pool, asked, held_out, BATCHES_AHEAD * processes
            )
    except process_executor.BrokenProcessPool as error:
        name = type(error).__name__
        raise UserError(
            f"a process that tokenized died ({name}), most often for want of memory: free some"
        ) from None


def encode_in_order(
    pool: Any, asked: Iterable[TextBatch], held_out: bool, ahead: int
) -> Iterator[tuple[TextBatch, EncodedBatch]]:
    """The batches as they were asked for, however they were finished; no more than `ahead` of them wait in memory."""
    waiting: deque[tuple[TextBatch, Any]] = deque()
    for batch in asked:
        waiting.append((batch, pool.submit(encode_in_worker, batch, held_out)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


# --- inside a process of the pool -------------------------------------------------------------------------------------

worker_state: list[tuple[DocumentStore, tokenizer.Vocabulary]] = []  # of this process: one pair


def init_worker(asker: int, path: str, description: dict[str, Any]) -> None:
    """Open what every batch needs. Ctrl-C is for the process that asked; when that one is gone, this one goes too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals.exit_with_parent(asker)
    worker_state[:] = [(DocumentStore(Path(path)), tokenizer.load_vocabulary(description))]


def encode_in_worker(batch: TextBatch, held_out: bool) -> EncodedBatch:
    return encode_batch(*worker_state[0], batch, held_out)
