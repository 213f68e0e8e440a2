"""What every source of text looks like to the stages behind it: pieces of documents, and a fingerprint that names them."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from bench.config.errors import UserError, nearest
from bench.config.schema import DataConfig


class TextChunk(NamedTuple):
    """Some bytes of a document: a text larger than memory comes in many. Put together they are UTF-8."""

    text: bytes
    last: bool = True  # the document ends here
    part: str = ""  # train, validation or test where the source comes split; else empty


class Source(Protocol):
    """Where text comes from. Making one checks what is cheap to check; `pieces` reads, and raises UserError for what it finds."""

    single: bool  # one long text, not many documents

    def fingerprint(self) -> Any:
        """A JSON-able value that changes when the text does. Must need neither a network nor much time."""

    def facts(self) -> dict[str, Any]:
        """What the record keeps about the origin of the text."""

    def pieces(self) -> Iterator[TextChunk]:
        """The documents, one after the other."""


def encode_utf8(text: str) -> bytes:
    """UTF-8 of a string that may hold half a surrogate pair (JSON can say so): such a half becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def open_source(options: DataConfig) -> Source:
    """The source that the configuration names. Raises UserError for an unknown one, or one that can not be there."""
    if options.source == "python_docs":
        from bench.data.sources.python_docs import PythonDocsSource

        return PythonDocsSource()
    if options.source == "text":
        from bench.data.corpus_files import FileSource

        return FileSource(options.path, options.column)
    if options.source == "hub":
        from bench.data.sources.hub import HubSource

        return HubSource(options)
    raise UserError(
        f"data.source={options.source} is not known; {nearest(options.source, ('python_docs', 'text', 'hub'))}"
    )
