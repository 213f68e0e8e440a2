"""Define what a source of text offers: chunks of documents, and a fingerprint that names them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.config.schema import DataConfig
from bench.data.registry import Registered, member


class TextChunk(NamedTuple):
    """Some bytes of a document; the chunks of a document joined are UTF-8."""

    text: bytes
    last: bool = True  # the document ends here
    part: str = ""  # train, validation or test where the source comes split, else empty


class Source(Registered, ABC):
    """A source of text; `class MySource(Source, name="mine")` is `data.source=mine`.

    Making one checks what is cheap to check and raises UserError, as `chunks` does while reading.
    """

    single = False  # one long text, not many documents

    @abstractmethod
    def __init__(self, options: DataConfig) -> None: ...

    @abstractmethod
    def fingerprint(self) -> Any:
        """Return a JSON value that changes with the text, quickly and without a network."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what the record keeps about the origin of the text."""

    @abstractmethod
    def chunks(self) -> Iterator[TextChunk]:
        """Yield the documents, one after the other."""


def open_source(options: DataConfig) -> Source:
    """Return the source that `data.source` names."""
    source: Source = member(Source, __package__, "data.source", options.source)(options)
    return source


def encode_utf8(text: str) -> bytes:
    """Return the UTF-8 bytes of a string; half a surrogate pair (JSON allows it) becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
