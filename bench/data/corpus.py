"""A text made ready: split, tokenized, and memory-mapped from a cache that checks itself."""

import hashlib
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import cache, document_store, tokenizer
from bench.data.document_store import DocumentStore, iterate_spans
from bench.data.sources.base import Source, open_source
from bench.data.splits import resolve_split, split_documents
from bench.data.tokenization import (
    BATCH_BYTES,
    BLOCK_BYTES,
    Encode,
    EncodedBatch,
    TextBatch,
    open_encoder,
    text_batches,
    token_dtype,
)

if TYPE_CHECKING:
    from bench.data.synthetic import SyntheticSource

FORMAT = 3  # raise it when the meaning of the files changes. 3: byte pairs of a large text are learned from a sample of it
# Bytes of the training part that byte pairs are learned from, at most: more would hardly change them, and 64 MB of text with
# 0.8M different words took 1.1 GB of memory.
BPE_SAMPLE_BYTES = 32 << 20
PROGRESS_SECONDS = 10.0  # between lines about a long text
Progress = Callable[[str], None]


def too_long_message(context: int, part: str, tokens: int) -> str:
    """The line about a context that a part does not fill."""
    return f"size.context={context} is longer than the {part} part ({tokens} tokens): give a longer text or a shorter context"


def silent(line: str) -> None:
    """Progress that nobody reads."""


@dataclass(frozen=True)
class Part:
    """One part of a corpus: separator, document, separator, document, … and the units that statistics count."""

    tokens: np.ndarray  # (N,) uint16 or uint32, memory-mapped
    starts: np.ndarray  # (U,) int64: token offset of each unit's first token
    sizes: np.ndarray  # (U,) int64: UTF-8 bytes of each unit's text; their sum is the part's
    counted: np.ndarray | None = (
        None  # (N,) bool, memory-mapped: the tokens that are asked for, where that is not all of them
    )


@dataclass(frozen=True)
class Corpus:
    """The parts of a text as tokens, and what the record keeps about them."""

    folder: Path
    digest: str  # 16 hexadecimal digits: of the tokens of all parts and the tokenizer
    vocabulary: tokenizer.Vocabulary
    parts: dict[str, Part]
    facts: dict[str, Any]
    law: "SyntheticSource | None" = (
        None  # that drew it, where it is no text: what is best possible is known then
    )

    @property
    def scored(self) -> str:
        """The part that is reported: the test part where there is one."""
        return "test" if "test" in self.parts else "validation"

    def searching(self) -> "Corpus":
        """What a search for a learning rate may see: no test part. Where there is none, the last tenth of the training part is
        scored, and not trained on: what the runs are scored on stays unseen."""
        if "test" in self.parts:
            return replace(
                self, parts={name: part for name, part in self.parts.items() if name != "test"}
            )
        begins, kept = split_part(self.parts["train"], 0.9)
        return replace(
            self,
            digest=cache.combine_digests([self.digest, "searching"]),
            parts={"train": begins, "validation": kept},
        )

    def check(self, context: int) -> None:
        """Raise UserError, before any work, where a part does not fill one window."""
        for name, part in self.parts.items():
            if len(part.tokens) <= context:
                raise UserError(too_long_message(context, name, len(part.tokens)))


def split_part(part: Part, share: float) -> tuple[Part, Part]:
    """A part in two, between units: the first with about `share` of the bytes. Raises UserError where it has but one unit."""
    behind = np.cumsum(part.sizes)
    unit = int(np.searchsorted(behind, share * behind[-1])) + 1  # units of the first
    unit = min(unit, len(part.starts) - 1)
    if unit < 1:
        raise UserError(
            "the training part is too short to hold its last tenth back for tune.trials: give a longer text"
        )
    at = int(part.starts[unit]) - 1  # the token before it is seen, and is no target
    counted = (None, None) if part.counted is None else (part.counted[: at + 1], part.counted[at:])
    first = Part(part.tokens[: at + 1], part.starts[:unit], part.sizes[:unit], counted[0])
    return first, Part(part.tokens[at:], part.starts[unit:] - at, part.sizes[unit:], counted[1])


def prepare(options: DataConfig, name: str, progress: Progress = silent) -> Corpus:
    """Read, deduplicate, split and tokenize the text, or open what an earlier call left. `name` makes the folder readable.

    Raises UserError for a text, tokenizer or folder that can not be used.
    """
    if options.source == "synthetic":
        from bench.data.synthetic import corpus as preparing

        drawn = preparing.prepare(options, name, progress)
        return drawn.searching() if options.searching else drawn
    exists = tokenizer.is_tokenizer_path(options.tokenizer)
    chosen = (
        tokenizer.read_tokenizer(options.tokenizer).fingerprint() if exists else options.tokenizer
    )
    source = open_source(options)
    split = resolve_split(options, source.single)
    key = {
        "format": FORMAT,
        "source": [options.source, source.fingerprint()],
        "split": split,
        "tokenizer": chosen,
    }
    key |= {"deduplicate": options.deduplicate if split != "given" else "", "block": BLOCK_BYTES}
    key |= {"vocabulary": options.vocabulary if options.tokenizer == "bpe" else 0}
    folder = cache.cache_folder(options.cache, name, key)
    with cache.build_once(folder, progress) as missing:
        if missing:
            progress(f"preparing {name}: reading the text")
            build_corpus(options, source, folder, progress)
    corpus = read_corpus(folder)
    corpus.facts.update(source.facts())  # the same text may have been read from another place
    return corpus.searching() if options.searching else corpus


def build_corpus(options: DataConfig, source: Source, folder: Path, progress: Progress) -> None:
    """Fill the cache folder; the manifest comes last."""
    path = folder / "text.spool"
    documents, blank = document_store.write_documents(path, source.pieces())
    with DocumentStore(path) as text:
        spans, facts = split_documents(options, documents, blank, text, source.single)
        del documents  # of millions of them, some hundred megabytes
        size = sum(int(np.diff(part).sum()) for part in spans.values())
        vocabulary, learned = learn_vocabulary(options, text, spans["train"], progress)
        progress(f"tokenizing {size / 1e6:.2f} MB into {options.tokenizer}")
        with open_encoder(text, vocabulary, size) as encode:
            parts = {
                name: write_part(folder, name, text, spans[name], vocabulary, encode, progress)
                for name in spans
            }
    path.unlink()
    write_corpus_manifest(
        folder,
        vocabulary,
        parts,
        source.facts() | facts | learned | {"tokenizer": options.tokenizer},
    )


def learn_vocabulary(
    options: DataConfig, text: DocumentStore, spans: np.ndarray, progress: Progress
) -> tuple[tokenizer.Vocabulary, dict[str, Any]]:
    """The vocabulary of a training part, and what it was learned from."""
    if options.tokenizer != "bpe":
        return tokenizer.build_vocabulary(options, lambda: iterate_texts(text, spans)), {}
    chosen = sample_spans(text, spans, BPE_SAMPLE_BYTES)
    learned = {"bytes": int(np.diff(chosen).sum()), "of": int(np.diff(spans).sum())}
    progress(
        f"learning byte pairs from {learned['bytes'] / 1e6:.2f} of {learned['of'] / 1e6:.2f} MB"
    )
    return tokenizer.build_vocabulary(options, lambda: iterate_texts(text, chosen)), {
        "vocabulary_learned_on": learned
    }


def write_corpus_manifest(
    folder: Path,
    vocabulary: tokenizer.Vocabulary,
    parts: dict[str, dict[str, Any]],
    facts: dict[str, Any],
) -> None:
    """Write the vocabulary and the manifest of a folder whose parts are written."""
    facts["unseen_characters"] = {name: part["losses"] for name, part in parts.items()}
    vocabulary.lossy = any(facts["unseen_characters"].values())
    facts |= {"vocabulary": vocabulary.size, "lossy": vocabulary.lossy}
    facts["text_digest"] = cache.combine_digests(
        [f"{name} {part['text_sha256']}" for name, part in parts.items()]
    )
    for fact in ("documents", "bytes", "tokens", "units", "unit", "bytes_per_token"):
        facts[fact] = {name: part[fact] for name, part in parts.items()}
    cache.write_json(folder / "vocabulary.json", vocabulary.describe())
    digest = cache.combine_digests(
        [vocabulary.fingerprint(), *(f"{name} {part['sha256']}" for name, part in parts.items())]
    )
    known = {f"{name}.tokens": part["sha256"] for name, part in parts.items()}
    kinds = {name: {"dtype": part["dtype"]} for name, part in parts.items()}
    cache.write_manifest(
        folder, {"format": FORMAT, "digest": digest, "parts": kinds, "facts": facts}, known
    )


def iterate_texts(text: DocumentStore, spans: np.ndarray) -> Iterator[str]:
    """The text of some stretches, in pieces that fit in memory."""
    for begin, end in iterate_spans(spans):
        for low, high in text.cut(begin, end, BATCH_BYTES):
            yield text.read(low, high)


def sample_spans(text: DocumentStore, spans: np.ndarray, limit: int) -> np.ndarray:
    """(N, 2) the pieces of a part, or as many of them, by a lot that is always the same, as come to about `limit` bytes."""
    share = limit / max(1, int(np.diff(spans).sum()))
    random, chosen = np.random.default_rng(0), array("q")
    for begin, end in iterate_spans(spans):
        for piece in text.cut(begin, end, BATCH_BYTES):
            if share >= 1 or random.random() < share:
                chosen.extend(piece)
    return np.frombuffer(chosen, np.int64).reshape(-1, 2)


class TokenWriter:
    """Appends the tokens of a part to its file, and notes its units."""

    def __init__(self, file: BinaryIO, in_blocks: bool):
        self.file, self.in_blocks = file, in_blocks
        self.count = 0  # tokens so far
        self.starts, self.sizes = array("q"), array("q")
        self.text, self.tokens = hashlib.sha256(), hashlib.sha256()

    def append(self, batch: TextBatch, encoded: EncodedBatch) -> None:
        places = (
            self.count + np.cumsum(encoded.counts) - encoded.counts + np.cumsum(batch.opens)
        )  # of each stretch's first
        sizes = np.diff(batch.spans)[:, 0]
        units = np.flatnonzero(batch.opens | self.in_blocks)
        before = int(sizes[: units[0] if len(units) else None].sum())
        if before:  # a document that an earlier batch began
            self.sizes[-1] += before
        if len(units):
            self.starts.frombytes(places[units].tobytes())
            self.sizes.frombytes(np.add.reduceat(sizes, units).tobytes())
        self.count += len(encoded.tokens)
        self.text.update(encoded.text_bytes)
        self.tokens.update(encoded.tokens.data)
        self.file.write(encoded.tokens.data)


def write_part(
    folder: Path,
    name: str,
    text: DocumentStore,
    spans: np.ndarray,
    vocabulary: tokenizer.Vocabulary,
    encode: Encode,
    progress: Progress,
) -> dict[str, Any]:
    """Encode the stretches of a part one after the other into its files. One long text is counted in blocks."""
    in_blocks, losses, size, spoke = len(spans) == 1, 0, int(np.diff(spans).sum()), time.monotonic()
    with open(folder / f"{name}.tokens", "wb") as file:
        writer = TokenWriter(file, in_blocks)
        for batch, encoded in encode(
            text_batches(text, spans, BLOCK_BYTES if in_blocks else BATCH_BYTES), name != "train"
        ):
            writer.append(batch, encoded)
            losses += encoded.losses
            if time.monotonic() - spoke > PROGRESS_SECONDS:
                spoke = time.monotonic()
                progress(
                    f"tokenizing the {name} part: {sum(writer.sizes) / 1e6:.0f} of {size / 1e6:.0f} MB"
                )
        cache.fsync(file)
    write_units(folder / f"{name}.units.npy", writer)
    return {
        "dtype": token_dtype(vocabulary).name,
        "sha256": writer.tokens.hexdigest(),
        "losses": losses,
        "text_sha256": writer.text.hexdigest(),
        "documents": len(spans),
        "bytes": size,
        "tokens": writer.count,
        "units": len(writer.starts),
        "unit": f"blocks of {BLOCK_BYTES} bytes" if in_blocks else "documents",
        "bytes_per_token": size / max(1, writer.count - len(spans)),
    }


def write_units(path: Path, writer: TokenWriter) -> None:
    """(2, U) int64 as `np.save` writes it, which does not say why where a disk is full."""
    shape = {"descr": "<i8", "fortran_order": False, "shape": (2, len(writer.starts))}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, shape)
        file.write(writer.starts.tobytes())
        file.write(writer.sizes.tobytes())
        cache.fsync(file)


def read_corpus(folder: Path) -> Corpus:
    """Open a finished cache folder."""
    manifest = cache.read_manifest(folder)
    parts = {}
    for name, part in manifest["parts"].items():
        starts, sizes = np.load(folder / f"{name}.units.npy")
        tokens = np.memmap(folder / f"{name}.tokens", dtype=part["dtype"], mode="r")
        asked = folder / f"{name}.counted"
        parts[name] = Part(
            tokens,
            starts,
            sizes,
            np.memmap(asked, dtype=bool, mode="r") if asked.exists() else None,
        )
    vocabulary = tokenizer.load_vocabulary(cache.read_json(folder / "vocabulary.json"))
    vocabulary.lossy = manifest["facts"]["lossy"]
    return Corpus(folder, manifest["digest"], vocabulary, parts, manifest["facts"])
