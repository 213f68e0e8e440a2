"""All documents of a source in one file on disk: written once, then read in any order. So a text may be larger than memory."""

import hashlib
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
        self.file.close()
        self.path.unlink(missing_ok=True)

    def raw(self, begin: int, end: int) -> bytes:
        """The bytes between two offsets. A mapped file would count as resident memory, a read one does not."""
        self.file.seek(begin)
        return self.file.read(end - begin)

    def read(self, begin: int, end: int) -> str:
        """The text between two offsets, which have to be borders of characters."""
        return self.raw(begin, end).decode()

    def cut(self, begin: int, end: int, at_least: int) -> Iterator[tuple[int, int]]:
        """Cut a stretch into pieces of `at_least` to twice as many bytes: after a line, else before a space, else anywhere."""
        while end - begin >= 2 * at_least:
            low = begin + at_least
            ahead = self.raw(low, begin + 2 * at_least)
            line, space = ahead.find(b"\n", 0, -1), ahead.find(b" ")
            step = line + 1 if line >= 0 else space if space >= 0 else 0
            while ahead[step] & 0xC0 == 0x80:  # inside a character
                step += 1
            border = low + step
            yield begin, border
            begin = border
        yield begin, end

    def characters(self, begin: int, end: int) -> int:
        """How many characters a stretch holds."""
        return sum(self.leads(low, min(low + (1 << 24), end)) for low in range(begin, end, 1 << 24))

    def leads(self, begin: int, end: int) -> int:
        """First bytes of characters between two offsets."""
        stretch = np.frombuffer(self.raw(begin, end), np.uint8)
        return int(np.count_nonzero((stretch & 0xC0) != 0x80))

    def offset(self, begin: int, end: int, count: int) -> int:
        """The byte offset behind the first `count` characters of a stretch."""
        while begin < end:
            high = min(begin + (1 << 24), end)
            stretch = np.frombuffer(self.raw(begin, high), np.uint8)
            leads = np.flatnonzero((stretch & 0xC0) != 0x80)
            if count < len(leads):
                return begin + int(leads[count])
            count -= len(leads)
            begin = high
        return end
