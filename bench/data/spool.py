"""All documents of a source in one file on disk: written once, then read in any order. So a text may be larger than memory."""

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from bench.data.source import Piece


class Document(NamedTuple):
    """Where a document lies in the spool (bytes), the digest of its text, and the part it came in."""

    begin: int
    end: int
    digest: bytes
    part: str = ""

    @property
    def size(self) -> int:
        return self.end - self.begin


class Spool:
    """The documents of a source, empty ones left out and counted. Close it, or use it in a `with`."""

    def __init__(self, path: Path, pieces: Iterable[Piece]):
        self.documents: list[Document] = []
        self.blank = 0
        self.path = path
        with open(path, "wb") as file:
            self.fill(file, pieces)
        self.length = path.stat().st_size
        self.file = open(path, "rb")  # noqa: SIM115
        self.bytes = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ) if self.length else None

    def fill(self, file: BinaryIO, pieces: Iterable[Piece]) -> None:
        begin, digest, blank = 0, hashlib.blake2b(digest_size=16), True
        for piece in pieces:
            file.write(piece.text)
            digest.update(piece.text)
            blank = blank and not piece.text.strip()
            if piece.last:
                end = file.tell()
                if blank:
                    self.blank += 1
                else:
                    self.documents.append(Document(begin, end, digest.digest(), piece.part))
                begin, digest, blank = end, hashlib.blake2b(digest_size=16), True

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.bytes is not None:
            self.bytes.close()
        self.file.close()
        self.path.unlink(missing_ok=True)

    def read(self, begin: int, end: int) -> str:
        """The text between two offsets, which have to be borders of characters."""
        assert self.bytes is not None
        return self.bytes[begin:end].decode()

    def cut(self, begin: int, end: int, at_least: int) -> Iterator[tuple[int, int]]:
        """Cut a stretch into pieces of `at_least` to twice as many bytes: after a line, else before a space, else anywhere."""
        assert self.bytes is not None
        while end - begin >= 2 * at_least:
            low, high = begin + at_least, begin + 2 * at_least
            line, space = self.bytes.find(b"\n", low, high - 1), self.bytes.find(b" ", low, high)
            border = line + 1 if line >= 0 else space if space >= 0 else low
            while self.bytes[border] & 0xC0 == 0x80:  # inside a character
                border += 1
            yield begin, border
            begin = border
        yield begin, end

    def characters(self, begin: int, end: int) -> int:
        """How many characters a stretch holds."""
        return sum(self.leads(low, min(low + (1 << 24), end)) for low in range(begin, end, 1 << 24))

    def leads(self, begin: int, end: int) -> int:
        """First bytes of characters between two offsets."""
        assert self.bytes is not None
        stretch = np.frombuffer(self.bytes[begin:end], np.uint8)
        return int(np.count_nonzero((stretch & 0xC0) != 0x80))

    def offset(self, begin: int, end: int, count: int) -> int:
        """The byte offset behind the first `count` characters of a stretch."""
        assert self.bytes is not None
        while begin < end:
            high = min(begin + (1 << 24), end)
            stretch = np.frombuffer(self.bytes[begin:high], np.uint8)
            leads = np.flatnonzero((stretch & 0xC0) != 0x80)
            if count < len(leads):
                return begin + int(leads[count])
            count -= len(leads)
            begin = high
        return end
