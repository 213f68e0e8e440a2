"""A text made ready: split, tokenized, and memory-mapped from a cache that checks itself."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from bench.config import Data, Mistake
from bench.data import cache, tokenizer
from bench.data.source import Source, open_source
from bench.data.split import Span, divide, resolve
from bench.data.spool import Spool

FORMAT = 2  # raise it when the meaning of the files changes
BLOCK = 4096  # bytes of a unit of one long text
LARGE = 1 << 20  # bytes encoded at once
Progress = Callable[[str], None]


def too_long(context: int, part: str, tokens: int) -> str:
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


@dataclass(frozen=True)
class Corpus:
    """The parts of a text as tokens, and what the record keeps about them."""

    folder: Path
    digest: str  # 16 hexadecimal digits: of the tokens of all parts and the tokenizer
    vocabulary: tokenizer.Vocabulary
    parts: dict[str, Part]
    facts: dict[str, Any]

    @property
    def scored(self) -> str:
        """The part that is reported: the test part where there is one."""
        return "test" if "test" in self.parts else "validation"

    def check(self, context: int) -> None:
        """Raise Mistake, before any work, where a part does not fill one window."""
        for name, part in self.parts.items():
            if len(part.tokens) <= context:
                raise Mistake(too_long(context, name, len(part.tokens)))


def prepare(options: Data, name: str, progress: Progress = silent) -> Corpus:
    """Read, deduplicate, split and tokenize the text, or open what an earlier call left. `name` makes the folder readable.

    Raises Mistake for a text, tokenizer or folder that can not be used.
    """
    exists = tokenizer.check_tokenizer(options.tokenizer)
    chosen = tokenizer.read_tokenizer(options.tokenizer).fingerprint() if exists else options.tokenizer
    source = open_source(options)
    split = resolve(options, source.single)
    key = {"format": FORMAT, "source": [options.source, source.fingerprint()], "split": split, "tokenizer": chosen}
    key |= {"deduplicate": options.deduplicate if split != "given" else "", "block": BLOCK}
    key |= {"vocabulary": options.vocabulary if options.tokenizer == "bpe" else 0}
    folder = cache.place(options.cache, name, key)
    with cache.build_once(folder, progress) as missing:
        if missing:
            progress(f"preparing {name}: reading the text")
            build(options, source, folder, progress)
    corpus = read(folder)
    corpus.facts.update(source.facts())  # the same text may have been read from another place
    return corpus


def build(options: Data, source: Source, folder: Path, progress: Progress) -> None:
    """Fill the cache folder; the manifest comes last."""
    with Spool(folder / "text.spool", source.pieces()) as spool:
        spans, facts = divide(options, spool, source.single)
        progress(f"tokenizing {sum(e - b for part in spans.values() for b, e in part) / 1e6:.2f} MB into {options.tokenizer}")
        vocabulary = tokenizer.build_vocabulary(options, lambda: texts(spool, spans["train"]))
        parts = {name: write_part(folder, name, spool, spans[name], vocabulary) for name in spans}
    losses = {name: part.pop("losses") for name, part in parts.items()}
    vocabulary.lossy = any(losses.values())
    facts = source.facts() | facts | {"tokenizer": options.tokenizer, "vocabulary": vocabulary.size, "lossy": vocabulary.lossy}
    facts["unseen_characters"] = losses
    facts["text_digest"] = cache.combine([f"{name} {part['text_sha256']}" for name, part in parts.items()])
    for fact in ("documents", "bytes", "tokens", "units", "unit", "bytes_per_token"):
        facts[fact] = {name: part[fact] for name, part in parts.items()}
    cache.write_json(folder / "vocabulary.json", vocabulary.describe())
    digest = cache.combine([vocabulary.fingerprint(), *(f"{name} {part['sha256']}" for name, part in parts.items())])
    parts = {name: {"dtype": part["dtype"]} for name, part in parts.items()}
    cache.finish(folder, {"format": FORMAT, "digest": digest, "parts": parts, "facts": facts})


def texts(spool: Spool, spans: list[Span]) -> Iterator[str]:
    """The text of some stretches, in pieces that fit in memory."""
    for begin, end in spans:
        for low, high in spool.cut(begin, end, LARGE):
            yield spool.read(low, high)


class Stretch(NamedTuple):
    """A stretch that is encoded at once. `opens`: a document begins here; `unit`: a unit does."""

    begin: int
    end: int
    opens: bool
    unit: bool


def batches(spool: Spool, spans: list[Span], in_blocks: bool) -> Iterator[list[Stretch]]:
    """The stretches of a part, about a megabyte together, so that the tokenizer can work on many at once."""
    batch: list[Stretch] = []
    waiting = 0
    for begin, end in spans:
        for low, high in spool.cut(begin, end, BLOCK if in_blocks else LARGE):
            batch.append(Stretch(low, high, low == begin, low == begin or in_blocks))
            waiting += high - low
            if waiting >= LARGE:
                yield batch
                batch, waiting = [], 0
    if batch:
        yield batch


class Writer:
    """Appends the tokens of a part to its file, each document behind its separator, and notes its units."""

    def __init__(self, file: BinaryIO, vocabulary: tokenizer.Vocabulary):
        self.file, self.separator = file, vocabulary.separator
        self.dtype = np.dtype(np.uint16 if vocabulary.size < 1 << 16 else np.uint32)
        self.count = 0  # tokens so far
        self.starts: list[int] = []
        self.sizes: list[int] = []

    def append(self, batch: list[Stretch], encoded: list[np.ndarray]) -> None:
        pieces = []
        for stretch, ids in zip(batch, encoded, strict=True):
            if stretch.opens:
                pieces.append(np.array([self.separator]))
                self.count += 1
            if stretch.unit:
                self.starts.append(self.count)
                self.sizes.append(0)
            self.sizes[-1] += stretch.end - stretch.begin
            pieces.append(ids)
            self.count += len(ids)
        self.file.write(np.concatenate(pieces).astype(self.dtype).tobytes())


def write_part(folder: Path, name: str, spool: Spool, spans: list[Span], vocabulary: tokenizer.Vocabulary) -> dict[str, Any]:
    """Encode the stretches of a part one after the other into its files. One long text is counted in blocks."""
    in_blocks, losses, said = len(spans) == 1, 0, hashlib.sha256()
    with open(folder / f"{name}.tokens", "wb") as file:
        writer = Writer(file, vocabulary)
        for batch in batches(spool, spans, in_blocks):
            texts = [spool.read(stretch.begin, stretch.end) for stretch in batch]
            encoded = vocabulary.encode_many(texts)
            for stretch, text in zip(batch, texts, strict=True):
                said.update(b"\0" * stretch.opens + text.encode("utf-8", "surrogatepass"))
            if name != "train":
                losses += sum(vocabulary.losses(text, ids) for text, ids in zip(texts, encoded, strict=True))
            writer.append(batch, encoded)
    np.save(folder / f"{name}.units.npy", np.array([writer.starts, writer.sizes], np.int64))
    size = sum(writer.sizes)
    return {
        "dtype": writer.dtype.name,
        "sha256": cache.hash_file(folder / f"{name}.tokens"),
        "losses": losses,
        "text_sha256": said.hexdigest(),
        "documents": len(spans),
        "bytes": size,
        "tokens": writer.count,
        "units": len(writer.starts),
        "unit": f"blocks of {BLOCK} bytes" if in_blocks else "documents",
        "bytes_per_token": size / max(1, writer.count - len(spans)),
    }


def read(folder: Path) -> Corpus:
    """Open a finished cache folder."""
    manifest = cache.manifest(folder)
    parts = {}
    for name, part in manifest["parts"].items():
        starts, sizes = np.load(folder / f"{name}.units.npy")
        parts[name] = Part(np.memmap(folder / f"{name}.tokens", dtype=part["dtype"], mode="r"), starts, sizes)
    vocabulary = tokenizer.load(cache.read_json(folder / "vocabulary.json"))
    vocabulary.lossy = manifest["facts"]["lossy"]
    return Corpus(folder, manifest["digest"], vocabulary, parts, manifest["facts"])
