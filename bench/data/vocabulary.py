"""Define what a token is: its text, its bytes, and the ids of a text."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from bench.config.errors import UserError
from bench.data.sources.base import encode_utf8

Ids = Sequence[int] | np.ndarray
REPLACEMENT = "\ufffd"  # for what a vocabulary cannot encode


class Vocabulary(ABC):
    """Text to ids and back. `size` counts what can be predicted; the id `size` is the mask."""

    size: int  # the separator included, and <unk> where there is one
    separator: int  # precedes each document; decodes to nothing
    text: bool = True  # tokens stand for text: prompts and bytes make sense
    lossy: bool = False  # held-out text had characters that this vocabulary cannot encode
    # (size,) bool: the token continues a word, where tokens are pieces of words
    continues_word: np.ndarray | None = None

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text, without a separator."""

    @property
    @abstractmethod
    def token_bytes(self) -> list[bytes]:
        """Return the bytes of each id, which need not be whole characters; empty for no text."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return a JSON value from which `load_vocabulary` makes the same vocabulary."""

    @cached_property
    def token_sizes(self) -> np.ndarray:
        """Return the bytes of text that each id stands for, (size,) int64."""
        return np.fromiter(map(len, self.token_bytes), np.int64, self.size)

    def decode_bytes(self, ids: Ids) -> bytes:
        """Return the text of some ids as bytes, without separators and masks."""
        names, size = self.token_bytes, self.size
        return b"".join(names[i] for i in np.asarray(ids).tolist() if i < size)

    def decode(self, ids: Ids) -> str:
        """Return the text of some ids; incomplete characters become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def encode_batch(self, texts: list[bytes]) -> list[np.ndarray]:
        """Return the ids of several texts, each UTF-8."""
        return [self.encode(text.decode()) for text in texts]

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        """Count the characters of a text that its ids do not give back."""
        decoded = self.decode(ids)
        if decoded == text:
            return 0
        return max(1, (Counter(text) - Counter(decoded)).total())

    def fingerprint(self) -> str:
        """Return a SHA-256 of the description."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()


class ByteVocabulary(Vocabulary):
    """The 256 bytes and a separator; encodes everything."""

    size, separator = 257, 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(encode_utf8(text), np.uint8).astype(np.int64)

    def encode_batch(self, texts: list[bytes]) -> list[np.ndarray]:
        return [np.frombuffer(text, np.uint8) for text in texts]

    def decode_bytes(self, ids: Ids) -> bytes:
        array = np.asarray(ids, np.int64)
        return array[array < self.separator].astype(np.uint8).tobytes()

    @cached_property
    def token_bytes(self) -> list[bytes]:
        return [*(bytes([value]) for value in range(256)), b""]

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        return 0

    def describe(self) -> dict[str, Any]:
        return {"kind": "bytes"}


class CharacterVocabulary(Vocabulary):
    """The training part's characters in code-point order, a separator, and <unk> for all others."""

    def __init__(self, characters: str) -> None:
        self.characters = "".join(sorted(set(characters)))
        self.separator = len(self.characters)
        self.unknown = self.separator + 1
        self.size = self.separator + 2
        points = [ord(character) for character in self.characters]
        self.table = np.full(max(points, default=0) + 2, self.unknown)  # the last: all higher ones
        self.table[points] = np.arange(len(points))

    def encode(self, text: str) -> np.ndarray:
        points = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
        return self.table[np.minimum(points, len(self.table) - 1)]

    @cached_property
    def token_bytes(self) -> list[bytes]:
        return [name.encode() for name in (*self.characters, "", REPLACEMENT)]

    def describe(self) -> dict[str, Any]:
        return {"kind": "characters", "characters": self.characters}

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        return int(np.count_nonzero(ids == self.unknown))


class SymbolVocabulary(Vocabulary):
    """The symbols of a synthetic source, which are not text, and a separator."""

    text = False

    def __init__(self, count: int) -> None:
        self.separator, self.size = count, count + 1

    def encode(self, text: str) -> np.ndarray:
        raise UserError(
            "the symbols of a synthetic source are not text: there is no prompt to give"
        )

    def decode(self, ids: Ids) -> str:
        return " ".join(str(i) for i in np.asarray(ids).tolist() if i < self.separator)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        return [b""] * self.size

    def describe(self) -> dict[str, Any]:
        return {"kind": "symbols", "count": self.separator}
