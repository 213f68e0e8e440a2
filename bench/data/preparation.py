"""Prepare a corpus: read, deduplicate, split and tokenize a text, or draw symbols."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.corpus import Corpus
from bench.data.corpus_files import (
    FORMAT,
    PartFacts,
    read_corpus,
    write_corpus_manifest,
    write_part,
)
from bench.data.document_store import Documents, DocumentStore, iterate_spans, write_documents
from bench.data.learning import learn_vocabulary
from bench.data.sources.base import Source, open_source
from bench.data.splits import SpansByPart, resolve_split, split_documents
from bench.data.synthetic.base import open_synthetic
from bench.data.synthetic_preparation import SYNTHETIC_FORMAT, draw_corpus
from bench.data.tokenization import BLOCK_BYTES
from bench.data.tokenizer import is_tokenizer_path, read_tokenizer
from bench.data.vocabulary import Vocabulary

logger = logging.getLogger(__name__)
MAX_LOST = 0.5  # of the characters of a held-out part


def prepare(options: DataConfig, name: str) -> Corpus:
    """Prepare the corpus that the configuration describes, or open what an earlier call left.

    `name` makes the cache folder readable. Raise UserError for a text, tokenizer, source or folder
    that cannot be used.
    """
    corpus = (_prepare_synthetic if options.source == "synthetic" else _prepare_text)(options, name)
    return corpus.for_search() if options.searching else corpus


def prepared_digest(options: DataConfig, name: str) -> str:
    """Return the digest of the data as they are now; empty where they cannot be prepared."""
    try:
        return prepare(options, name).digest
    except UserError:
        return ""


def _prepare_synthetic(options: DataConfig, name: str) -> Corpus:
    source = open_synthetic(options.synthetic)
    key = {"format": FORMAT, "synthetic": SYNTHETIC_FORMAT} | asdict(options.synthetic)
    folder = cache.cache_folder(options.cache, name, key)
    with cache.build_once(folder) as missing:
        if missing:
            logger.info("drawing %s: %s symbols", name, f"{options.synthetic.tokens:,}")
            draw_corpus(source, options.synthetic, folder)
    return replace(read_corpus(folder), synthetic=source)


class TextInput(NamedTuple):
    """What a corpus is made from, as it was when it was opened."""

    options: DataConfig
    source: Source
    fingerprint: Any  # of the source
    split: str
    tokenizer: Vocabulary | None  # of a tokenizer.json


def _prepare_text(options: DataConfig, name: str) -> Corpus:
    is_path = is_tokenizer_path(options.tokenizer)
    given = read_tokenizer(options.tokenizer) if is_path else None
    source = open_source(options)
    split = resolve_split(options, source.single)
    text = TextInput(options, source, source.fingerprint(), split, given)
    key = {
        "format": FORMAT,
        "source": [options.source, text.fingerprint],
        "split": split,
        "tokenizer": given.fingerprint() if given else options.tokenizer,
        "deduplicate": options.deduplicate if split != "given" else "",
        "block": BLOCK_BYTES,
        "vocabulary": options.vocabulary if options.tokenizer == "bpe" else 0,
    }
    folder = cache.cache_folder(options.cache, name, key)
    with cache.build_once(folder) as missing:
        if missing:
            logger.info("preparing %s: reading the text", name)
            _build_corpus(text, folder)
    corpus = read_corpus(folder)
    # the same text may have been read from another path
    corpus.facts.update(source.facts())
    return corpus


def _build_corpus(text: TextInput, folder: Path) -> None:
    """Fill the cache folder; the manifest is written last."""
    path, options = folder / "text.spool", text.options
    documents, facts = _read_documents(text, path)
    with DocumentStore(path) as store:
        spans, duplicates = split_documents(options, documents, store, text.split)
        del documents  # of millions of them, some hundred megabytes
        size = sum(int(np.diff(part).sum()) for part in spans.values())
        vocabulary, learned = text.tokenizer, dict[str, Any]()
        if vocabulary is None:
            vocabulary, learned = learn_vocabulary(options, store, spans["train"])
        logger.info("tokenizing %.2f MB into %s", size / 1e6, options.tokenizer)
        parts = {name: write_part(folder / name, store, spans[name], vocabulary) for name in spans}
        _check_losses(parts, spans, store, options.tokenizer)
    path.unlink()
    write_corpus_manifest(folder, vocabulary, parts, facts | duplicates | learned)


def _read_documents(text: TextInput, path: Path) -> tuple[Documents, dict[str, Any]]:
    """Write the documents of a source to a file; return where they are, and facts about them.

    Raise UserError where the source is not what it was when it was opened.
    """
    documents, blank = write_documents(path, text.source.chunks())
    if text.source.fingerprint() != text.fingerprint:
        origin = text.options.path or text.options.repository or text.options.source
        raise UserError(
            f"the text {origin} changed while it was read: give the command again once nothing "
            "writes to it",
            "busy",
        )
    if blank:
        logger.info("left out %s documents or rows without text", f"{blank:,}")
    facts = text.source.facts() | {"split": text.split, "tokenizer": text.options.tokenizer}
    return documents, facts | {"documents_found": len(documents), "documents_empty": blank}


def _check_losses(
    parts: dict[str, PartFacts], spans: SpansByPart, store: DocumentStore, tokenizer: str
) -> None:
    """Raise UserError where so much of held-out text is lost that a score would be of another."""
    for name, part in parts.items():
        counts = (store.characters(*span) for span in iterate_spans(spans[name]))
        characters = sum(counts) if part.unseen_characters else 0
        if part.unseen_characters > MAX_LOST * characters:
            raise UserError(
                f"data.tokenizer={tokenizer} loses {part.unseen_characters / characters:.0%} of "
                f"the characters of the {name} part: use one that knows this text, or "
                "data.tokenizer=bytes",
                "invalid-text",
            )
