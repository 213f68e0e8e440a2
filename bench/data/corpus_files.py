"""Write and read the files of a corpus in its cache folder."""

import hashlib
import logging
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench.data import cache
from bench.data.corpus import Corpus, Part
from bench.data.document_store import DocumentStore
from bench.data.tokenization import (
    BATCH_BYTES,
    BLOCK_BYTES,
    EncodedBatch,
    TextBatch,
    encode_batch,
    text_batches,
    token_dtype,
)
from bench.data.tokenizer import load_vocabulary
from bench.data.vocabulary import Vocabulary

logger = logging.getLogger(__name__)
FORMAT = 4  # raise it when the meaning of the files changes
PROGRESS_SECONDS = 10.0
PART_FACTS = "documents bytes tokens units unit bytes_per_token unseen_characters".split()


@dataclass(frozen=True)
class PartFacts:
    """What the manifest and the record keep about one part."""

    dtype: str
    sha256: str  # of the tokens
    text_sha256: str
    documents: int
    bytes: int
    tokens: int
    units: int
    unit: str  # what a unit is
    unseen_characters: int = 0  # that the tokens cannot give back

    @property
    def bytes_per_token(self) -> float:
        """Return the mean over the tokens of text, separators excluded."""
        return self.bytes / max(1, self.tokens - self.documents)


class TokenWriter:
    """Appends the tokens of a part to a file, and notes its units."""

    def __init__(self, file: BinaryIO, in_blocks: bool) -> None:
        self.file, self.in_blocks = file, in_blocks
        self.logged = time.monotonic()
        self.count, self.lost = 0, 0  # tokens, and characters that they cannot give back
        self.starts, self.sizes = array("q"), array("q")
        self.text, self.tokens = hashlib.sha256(), hashlib.sha256()

    def append(self, batch: TextBatch, encoded: EncodedBatch) -> None:
        """Write a batch; a span that opens neither document nor block extends the last unit."""
        before = np.cumsum(encoded.counts) - encoded.counts  # tokens, separators excluded
        starts = self.count + before + np.cumsum(batch.opens)
        sizes = np.diff(batch.spans)[:, 0]
        units = np.flatnonzero(batch.opens | self.in_blocks)
        continued = int(sizes[: units[0] if len(units) else None].sum())
        if continued:
            self.sizes[-1] += continued
        if len(units):
            self.starts.frombytes(starts[units].tobytes())
            self.sizes.frombytes(np.add.reduceat(sizes, units).tobytes())
        self.count += len(encoded.tokens)
        self.lost += encoded.lost
        self.text.update(encoded.text_bytes)
        self.tokens.update(encoded.tokens.data)
        self.file.write(encoded.tokens.data)

    def log_progress(self, name: str, size: int) -> None:
        """Log, now and then, how much of `size` bytes of text was written."""
        if time.monotonic() - self.logged > PROGRESS_SECONDS:
            self.logged, done = time.monotonic(), sum(self.sizes)
            logger.info("tokenizing %s: %.0f of %.0f MB", name, done / 1e6, size / 1e6)


def write_part(
    path: Path, store: DocumentStore, spans: np.ndarray, vocabulary: Vocabulary
) -> PartFacts:
    """Encode the spans of a part into its files; one long text has units of BLOCK_BYTES.

    `path` is that of the files without suffix; its name is that of the part.
    """
    in_blocks, size = len(spans) == 1, int(np.diff(spans).sum())
    with open(path.with_suffix(".tokens"), "wb") as file:
        writer = TokenWriter(file, in_blocks)
        for batch in text_batches(store, spans, BLOCK_BYTES if in_blocks else BATCH_BYTES):
            writer.append(batch, encode_batch(store, vocabulary, batch, path.name != "train"))
            writer.log_progress(path.name, size)
        cache.fsync(file)
    write_units(path, writer.starts, writer.sizes)
    return PartFacts(
        dtype=token_dtype(vocabulary).name,
        sha256=writer.tokens.hexdigest(),
        text_sha256=writer.text.hexdigest(),
        documents=len(spans),
        bytes=size,
        tokens=writer.count,
        units=len(writer.starts),
        unit=f"blocks of {BLOCK_BYTES} bytes" if in_blocks else "documents",
        unseen_characters=writer.lost,
    )


def write_units(path: Path, starts: array, sizes: array) -> None:
    """Write (2, U) int64 as `np.save` does, which does not report why a write failed."""
    header = {"descr": "<i8", "fortran_order": False, "shape": (2, len(starts))}
    with open(path.with_suffix(".units.npy"), "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(starts.tobytes() + sizes.tobytes())
        cache.fsync(file)


def write_corpus_manifest(
    folder: Path, vocabulary: Vocabulary, parts: dict[str, PartFacts], facts: dict[str, Any]
) -> None:
    """Write the vocabulary and the manifest of a folder whose parts are written."""
    facts |= {fact: {name: getattr(parts[name], fact) for name in parts} for fact in PART_FACTS}
    texts = [f"{name} {parts[name].text_sha256}" for name in parts]
    facts |= {
        "lossy": any(facts["unseen_characters"].values()),
        "vocabulary": vocabulary.size,
        "text_digest": cache.combine_digests(texts),
    }
    cache.write_json(folder / "vocabulary.json", vocabulary.describe())
    tokens = [f"{name} {parts[name].sha256}" for name in parts]
    digest = cache.combine_digests([vocabulary.fingerprint(), *tokens])
    dtypes = {name: {"dtype": parts[name].dtype} for name in parts}
    hashes = {f"{name}.tokens": parts[name].sha256 for name in parts}
    content = {"format": FORMAT, "digest": digest, "parts": dtypes, "facts": facts}
    cache.write_manifest(folder, content, hashes)


def read_corpus(folder: Path) -> Corpus:
    """Open a finished cache folder."""
    manifest, parts = cache.read_manifest(folder), {}
    for name, part in manifest["parts"].items():
        starts, sizes = np.load(folder / f"{name}.units.npy")
        tokens = np.memmap(folder / f"{name}.tokens", dtype=part["dtype"], mode="r")
        path = folder / f"{name}.counted"
        mask = np.memmap(path, dtype=bool, mode="r") if path.exists() else None
        parts[name] = Part(tokens, starts, sizes, mask)
    vocabulary = load_vocabulary(cache.read_json(folder / "vocabulary.json"))
    vocabulary.lossy = manifest["facts"]["lossy"]
    return Corpus(folder, manifest["digest"], vocabulary, parts, manifest["facts"])
