"""Keep all documents of a source in one file on disk, so that a text may exceed memory."""

import codecs
import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.sources.base import TextChunk

READ_BYTES = 1 << 20
Span = tuple[int, int]  # begin and end in the store, bytes


@dataclass(frozen=True)
class Documents:
    """Where documents lie in the store, their digests and their parts; N documents."""

    spans: np.ndarray  # (N, 2) int64: begins and ends, bytes
    digests: np.ndarray  # (N,) S16: of the texts
    parts: np.ndarray  # (N,) int8: positions in `names`
    names: tuple[str, ...] = ("",)  # of the parts that the source came in

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def sizes(self) -> np.ndarray:
        """Return the size of each document, (N,) int64 bytes."""
        return np.asarray(self.spans[:, 1] - self.spans[:, 0])

    def take(self, positions: np.ndarray) -> "Documents":
        """Return the documents at some positions."""
        return Documents(
            self.spans[positions], self.digests[positions], self.parts[positions], self.names
        )

    def sort_by_digest(self) -> "Documents":
        """Return the documents in an order that depends on their texts alone."""
        return self.take(np.argsort(self.digests, kind="stable"))


def iterate_spans(spans: np.ndarray) -> Iterator[Span]:
    """Yield the rows of (N, 2); as a list they would take twenty times the array's memory."""
    for first in range(0, len(spans), 1 << 14):
        yield from map(tuple, spans[first : first + (1 << 14)].tolist())


def write_documents(path: Path, chunks: Iterable[TextChunk]) -> tuple[Documents, int]:
    """Write chunks to a file; return the documents, and the number of blank ones left out.

    A byte order mark at the start of a document is no text.
    """
    spans, parts, digests, names = array("q"), array("b"), bytearray(), dict[str, int]()
    begin, end, digest, blank, blanks = 0, 0, hashlib.blake2b(digest_size=16), True, 0
    with open(path, "wb") as file:
        for text, last, part in _without_marks(chunks):
            file.write(text)
            end += len(text)
            digest.update(text)
            blank = blank and not text.strip()
            if last and not blank:
                spans.extend((begin, end))
                digests += digest.digest()
                parts.append(names.setdefault(part, len(names)))
            if last:
                blanks += blank
                begin, digest, blank = end, hashlib.blake2b(digest_size=16), True
    return _from_buffers(spans, digests, parts, names), blanks


def _without_marks(chunks: Iterable[TextChunk]) -> Iterator[TextChunk]:
    """Yield the chunks, those that begin a document without a byte order mark."""
    begins = True
    for chunk in chunks:
        text = chunk.text.removeprefix(codecs.BOM_UTF8) if begins else chunk.text
        yield chunk._replace(text=text)
        begins = chunk.last or (begins and not chunk.text)


def _from_buffers(
    spans: "array[int]", digests: bytearray, parts: "array[int]", names: Iterable[str]
) -> Documents:
    digest_array = np.asarray(digests).view("S16")
    return Documents(
        np.asarray(spans).reshape(-1, 2), digest_array, np.asarray(parts), tuple(names)
    )


class DocumentStore:
    """The file that `write_documents` wrote, open for reading; a `with` closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115
        self.length = path.stat().st_size

    def __enter__(self) -> "DocumentStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read_bytes(self, begin: int, end: int) -> bytes:
        """Return the bytes between two offsets; unlike a mapped file they do not stay resident."""
        self.file.seek(begin)
        content = self.file.read(end - begin)
        while len(content) < end - begin:  # one system call returns 2 GB at most
            more = self.file.read(end - begin - len(content))
            if not more:
                raise OSError(f"{self.path} ends at byte {begin + len(content)}, not {end}")
            content += more
        return content

    def read(self, begin: int, end: int) -> str:
        """Return the text between two offsets, which are boundaries of characters."""
        return self.read_bytes(begin, end).decode()

    def cut(self, begin: int, end: int, least: int) -> Iterator[Span]:
        """Cut a span into pieces of `least` bytes to twice as many.

        Cut after a line where possible, else before a space, else between two characters.
        """
        buffer, start = b"", begin  # bytes that were read, and the offset of the first
        while end - begin >= 2 * least:
            low = begin + least
            if low + least > start + len(buffer):
                buffer, start = self.read_bytes(low, min(end, low + max(least, READ_BYTES))), low
            first, last = low - start, low - start + least
            line, space = buffer.find(b"\n", first, last - 1), buffer.find(b" ", first, last)
            position = line + 1 if line >= 0 else space if space >= 0 else first
            while buffer[position] & 0xC0 == 0x80:  # inside a character
                position += 1
            yield begin, start + position
            begin = start + position
        yield begin, end

    def _first_bytes(self, begin: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield offsets, and which of the bytes from there on begin a character, (n,) bool."""
        for low in range(begin, end, READ_BYTES):
            block = self.read_bytes(low, min(low + READ_BYTES, end))
            yield low, (np.frombuffer(block, np.uint8) & 0xC0) != 0x80

    def characters(self, begin: int, end: int) -> int:
        """Count the characters of a span."""
        return sum(int(np.count_nonzero(firsts)) for _, firsts in self._first_bytes(begin, end))

    def offset(self, begin: int, end: int, count: int) -> int:
        """Return the byte offset after the first `count` characters of a span."""
        for low, firsts in self._first_bytes(begin, end):
            characters = int(np.count_nonzero(firsts))
            if count < characters:
                return low + int(np.flatnonzero(firsts)[count])
            count -= characters
        return end
