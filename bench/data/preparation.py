"""Prepare a corpus: read, deduplicate, split and tokenize a text, or draw symbols."""

import logging
from array import array
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.corpus import Corpus
from bench.data.corpus_files import FORMAT, read_corpus, write_corpus_manifest, write_part
from bench.data.document_store import DocumentStore, iterate_spans, write_documents
from bench.data.sources.base import Source, open_source
from bench.data.splits import resolve_split, split_documents
from bench.data.synthetic.base import open_synthetic
from bench.data.synthetic_preparation import SYNTHETIC_FORMAT, draw_corpus
from bench.data.tokenization import BATCH_BYTES, BLOCK_BYTES, open_encoder
from bench.data.tokenizer import Vocabulary, build_vocabulary, is_tokenizer_path, read_tokenizer

logger = logging.getLogger(__name__)
# Bytes of the training part that byte pairs are learned from, at most: more would hardly change
# them, and 64 MB of text with 0.8M different words took 1.1 GB of memory.
BPE_SAMPLE_BYTES = 32 << 20


def prepare(options: DataConfig, name: str) -> Corpus:
    """Prepare the corpus that the configuration describes, or open what an earlier call left.

    `name` makes the cache folder readable. Raise UserError for a text, tokenizer, source or folder
    that cannot be used.
    """
    corpus = (_prepare_synthetic if options.source == "synthetic" else _prepare_text)(options, name)
    return corpus.for_search() if options.searching else corpus


def _prepare_synthetic(options: DataConfig, name: str) -> Corpus:
    source = open_synthetic(options.synthetic)
    key = {"synthetic": SYNTHETIC_FORMAT} | asdict(options.synthetic)
    folder = cache.cache_folder(options.cache, name, key)
    with cache.build_once(folder) as missing:
        if missing:
            logger.info("drawing %s: %s symbols", name, f"{options.synthetic.tokens:,}")
            draw_corpus(source, options.synthetic, folder)
    return replace(read_corpus(folder), synthetic=source)


def _prepare_text(options: DataConfig, name: str) -> Corpus:
    kind: str = options.tokenizer
    if is_tokenizer_path(kind):
        kind = read_tokenizer(kind).fingerprint()
    source = open_source(options)
    split = resolve_split(options, source.single)
    key = {
        "format": FORMAT,
        "source": [options.source, source.fingerprint()],
        "split": split,
        "tokenizer": kind,
        "deduplicate": options.deduplicate if split != "given" else "",
        "block": BLOCK_BYTES,
        "vocabulary": options.vocabulary if options.tokenizer == "bpe" else 0,
    }
    folder = cache.cache_folder(options.cache, name, key)
    with cache.build_once(folder) as missing:
        if missing:
            logger.info("preparing %s: reading the text", name)
            build_corpus(options, source, split, folder)
    corpus = read_corpus(folder)
    corpus.facts.update(source.facts())  # the same text may have been read from another path
    return corpus


def build_corpus(options: DataConfig, source: Source, split: str, folder: Path) -> None:
    """Fill the cache folder; the manifest is written last."""
    path = folder / "text.spool"
    documents, blank = write_documents(path, source.chunks())
    facts: dict[str, Any] = source.facts() | {"split": split, "tokenizer": options.tokenizer}
    facts |= {"documents_found": len(documents), "documents_empty": blank}
    with DocumentStore(path) as store:
        spans, duplicates = split_documents(options, documents, store, split)
        del documents  # of millions of them, some hundred megabytes
        size = sum(int(np.diff(part).sum()) for part in spans.values())
        vocabulary, learned = learn_vocabulary(options, store, spans["train"])
        logger.info("tokenizing %.2f MB into %s", size / 1e6, options.tokenizer)
        with open_encoder(store, vocabulary, size) as encode:
            parts = {
                name: write_part(folder, name, store, spans[name], vocabulary, encode)
                for name in spans
            }
    path.unlink()
    write_corpus_manifest(folder, vocabulary, parts, facts | duplicates | learned)


def learn_vocabulary(
    options: DataConfig, store: DocumentStore, spans: np.ndarray
) -> tuple[Vocabulary, dict[str, Any]]:
    """Return the vocabulary of a training part, and what it was learned from."""
    learned = {}
    if options.tokenizer == "bpe":
        total, spans = int(np.diff(spans).sum()), sample_spans(store, spans, BPE_SAMPLE_BYTES)
        size = int(np.diff(spans).sum())
        learned = {"vocabulary_learned_on": {"bytes": size, "of": total}}
        logger.info("learning byte pairs from %.2f of %.2f MB", size / 1e6, total / 1e6)
    return build_vocabulary(options, lambda: iterate_texts(store, spans)), learned


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
