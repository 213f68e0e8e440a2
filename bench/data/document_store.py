"""All documents of a source in one file on disk: written once, then read in any order. So a text may be larger than memory."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bench.data.sources.base import TextChunk

READ_BYTES = 1 << 20  # bytes read at once
Span = tuple[int, int]  # begin and end in the spool, bytes


@dataclass(frozen=True)
class Documents:
    """Where documents lie in the spool, what they say and the part they came in: arrays, so that millions of them fit."""

    begins: np.ndarray  # (N,) int64: bytes
    ends: np.ndarray  # (N,) int64
    digests: np.ndarray  # (N,) S16: of the texts
    parts: np.ndarray  # (N,) int8: places in `names`
    names: tuple[str, ...] = ("",)  # of the parts that the source came in

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def sizes(self) -> np.ndarray:
        """(N,) int64: bytes."""
        return self.ends - self.begins

    @property
    def spans(self) -> np.ndarray:
        """(N, 2) int64: begins and ends."""
        return np.stack([self.begins, self.ends], axis=1)

    def take(self, chosen: np.ndarray) -> "Documents":
        """Some of the documents, by their places."""
        return Documents(
            self.begins[chosen],
            self.ends[chosen],
            self.digests[chosen],
            self.parts[chosen],
            self.names,
        )

    def by_digest(self) -> "Documents":
        """In the order of their texts' digests: one that neither files nor their names decide."""
        return self.take(np.argsort(self.digests, kind="stable"))


def iterate_spans(spans: np.ndarray) -> Iterator[Span]:
    """The rows of (N, 2), a few at a time as numbers of Python: all of them would take twenty times the room of the array."""
    for first in range(0, len(spans), 1 << 14):
        yield from map(tuple, spans[first : first + (1 << 14)].tolist())


def write_documents(path: Path, pieces: Iterable[TextChunk]) -> tuple[Documents, int]:
    """Write the pieces to a file. The documents, and how many were empty, which are left out."""
    with open(path, "wb") as file:
        return append_documents(file, pieces)


def append_documents(file: BinaryIO, pieces: Iterable[TextChunk]) -> tuple[Documents, int]:
    """As `fill`, into an open file."""
    begins, ends, parts, digests, names, blanks = (
        array("q"),
        array("q"),
        array("b"),
        bytearray(),
        dict[str, int](),
        0,
    )
    begin, end, digest, blank = 0, 0, hashlib.blake2b(digest_size=16), True
    for piece in pieces:
        file.write(piece.text)
        end += len(piece.text)
        digest.update(piece.text)
        blank = blank and not piece.text.strip()
        if piece.last:
            if blank:
                blanks += 1
            else:
                begins.append(begin)
                ends.append(end)
                digests += digest.digest()
                parts.append(names.setdefault(piece.part, len(names)))
            begin, digest, blank = end, hashlib.blake2b(digest_size=16), True
    said = np.asarray(digests).view("S16")
    return Documents(
        np.asarray(begins), np.asarray(ends), said, np.asarray(parts), tuple(names)
    ), blanks


class DocumentStore:
    """The file that `fill` wrote, open for reading; a `with` closes it."""

    def __init__(self, path: Path):
        self.path = path
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115
        self.length = path.stat().st_size

    def __enter__(self) -> "DocumentStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def raw(self, begin: int, end: int) -> bytes:
        """The bytes between two offsets. A mapped file would count as resident memory, a read one does not."""
        self.file.seek(begin)
        content = self.file.read(end - begin)
        while len(content) < end - begin:  # one call of the system gives 2 GB at most
            more = self.file.read(end - begin - len(content))
            if not more:
                raise OSError(f"{self.path} ends at byte {begin + len(content)}, not {end}")
            content += more
        return content

    def read(self, begin: int, end: int) -> str:
        """The text between two offsets, which have to be borders of characters."""
        return self.raw(begin, end).decode()

    def cut(self, begin: int, end: int, at_least: int) -> Iterator[Span]:
        """Cut a stretch into pieces of `at_least` to twice as many bytes: after a line, else before a space, else anywhere."""
        ahead, start = b"", begin  # bytes that were read, and the offset of the first
        while end - begin >= 2 * at_least:
            low = begin + at_least
            if low + at_least > start + len(ahead):
                ahead, start = self.raw(low, min(end, low + max(at_least, READ_BYTES))), low
            first, last = low - start, low - start + at_least
            line, space = ahead.find(b"\n", first, last - 1), ahead.find(b" ", first, last)
            place = line + 1 if line >= 0 else space if space >= 0 else first
            while ahead[place] & 0xC0 == 0x80:  # inside a character
                place += 1
            yield begin, start + place
            begin = start + place
        yield begin, end

    def characters(self, begin: int, end: int) -> int:
        """How many characters a stretch holds."""
        return sum(
            int(np.count_nonzero(self.leads(low, min(low + READ_BYTES, end))))
            for low in range(begin, end, READ_BYTES)
        )

    def leads(self, begin: int, end: int) -> np.ndarray:
        """(end - begin,) bool: the first bytes of characters between two offsets."""
        return (np.frombuffer(self.raw(begin, end), np.uint8) & 0xC0) != 0x80

    def offset(self, begin: int, end: int, count: int) -> int:
        """The byte offset behind the first `count` characters of a stretch."""
        for low in range(begin, end, READ_BYTES):
            leads = self.leads(low, min(low + READ_BYTES, end))
            here = int(np.count_nonzero(leads))
            if count < here:
                return low + int(np.flatnonzero(leads)[count])
            count -= here
        return end
