"""Define what a token is: bytes, characters, learned byte pairs, or an existing tokenizer.json."""

import errno
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bench.config.errors import UserError, nearest
from bench.config.schema import DataConfig
from bench.data.sources.base import encode_utf8
from bench.system.files import expand_user

Texts = Callable[[], Iterator[str]]  # the text that a vocabulary is made from, in pieces
Ids = Sequence[int] | np.ndarray
KINDS = ("bytes", "characters", "bpe")


class Vocabulary(ABC):
    """Text to ids and back. `size` counts what can be predicted; the id `size` is the mask."""

    size: int  # the separator included, and <unk> where there is one
    separator: int  # precedes each document; decodes to nothing
    slow: bool = False  # encoding is worth several processes
    text: bool = True  # tokens stand for text: prompts and bytes make sense
    lossy: bool = False  # held-out text had characters that this vocabulary cannot encode
    # (size,) bool: the token continues a word, where tokens are pieces of words
    continues_word: np.ndarray | None = None

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text, without a separator."""

    @abstractmethod
    def decode(self, ids: Ids) -> str:
        """Return the text of some ids; incomplete characters become U+FFFD."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return a JSON value from which `load_vocabulary` makes the same vocabulary."""

    def decode_bytes(self, ids: np.ndarray) -> bytes:
        """Return the text of some ids as UTF-8, without separators."""
        return self.decode(ids[ids != self.separator]).encode()

    def encode_batch(self, texts: list[bytes]) -> list[np.ndarray]:
        """Return the ids of several texts, each UTF-8."""
        return [self.encode(text.decode()) for text in texts]

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        """Count the characters of a text that its ids cannot give back."""
        return 0

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

    def decode(self, ids: Ids) -> str:
        return self.decode_bytes(np.asarray(ids, np.int64)).decode("utf-8", "replace")

    def decode_bytes(self, ids: np.ndarray) -> bytes:
        return ids[ids < 256].astype(np.uint8).tobytes()  # incomplete characters stay as they are

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

    def decode(self, ids: Ids) -> str:
        names = [*self.characters, "", "\ufffd"]
        return "".join(names[int(i)] for i in ids if i < self.size)

    def describe(self) -> dict[str, Any]:
        return {"kind": "characters", "characters": self.characters}

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        return int(np.count_nonzero(ids == self.unknown))


class SubwordVocabulary(Vocabulary):
    """A tokenizer of the `tokenizers` library; the separator is the id after its last."""

    slow = True

    def __init__(self, content: str, kind: str) -> None:
        from tokenizers import Tokenizer

        self.content, self.kind = content, kind
        self.tokenizer = Tokenizer.from_str(content)
        self.tokenizer.encode_special_tokens = True  # <|endoftext|> in a text is text
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        names = self.tokenizer.get_vocab(with_added_tokens=True)
        self.separator = max(names.values(), default=-1) + 1
        self.size = self.separator + 1
        self.continues_word = np.zeros(self.size, bool)
        marked = any(name.startswith("##") for name in names)  # WordPiece
        for name, i in names.items():
            self.continues_word[i] = name.startswith("##") if marked else is_continuation(name)

    def encode(self, text: str) -> np.ndarray:
        return np.asarray(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def encode_batch(self, texts: list[bytes]) -> list[np.ndarray]:
        strings = [text.decode() for text in texts]
        encoded = self.tokenizer.encode_batch_fast(strings, add_special_tokens=False)
        return [np.asarray(encoding.ids, np.int64) for encoding in encoded]

    def decode(self, ids: Ids) -> str:
        tokens = [int(i) for i in ids if i < self.separator]
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False))

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokenizer": self.content}

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        if self.kind == "bpe":
            return 0
        decoded = self.decode(ids)
        return 0 if decoded == text else max(1, abs(len(text) - len(decoded)))


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

    def describe(self) -> dict[str, Any]:
        return {"kind": "symbols", "count": self.separator}


def is_continuation(name: str) -> bool:
    """Tell whether a token of a byte-level tokenizer continues the word before it.

    It does where it begins with a letter, a digit or part of a character, not with a space. A word
    at the start of a line has no space either: masking words needs the token before as well.
    """
    from tokenizers.decoders import ByteLevel

    first = ByteLevel().decode([name])[:1]
    return first == "\ufffd" or first.isalnum()


def learn_bpe(texts: Texts, size: int) -> SubwordVocabulary:
    """Learn byte pairs from a text: at most `size` tokens, among them all 256 bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    return SubwordVocabulary(tokenizer.to_str(), "bpe")


def read_tokenizer(path: str) -> SubwordVocabulary:
    """Read an existing tokenizer.json; raise UserError where it is missing or damaged."""
    file = expand_user(path, "name an existing tokenizer.json in data.tokenizer")
    try:
        if file.exists() and not file.is_file():
            raise OSError(errno.EINVAL, "it is not a regular file")
        return SubwordVocabulary(file.read_text(encoding="utf-8"), "file")
    except OSError as error:
        reason, code = f"cannot be read ({error.strerror}): name an existing", "missing-file"
    except Exception as error:  # the library raises plain Exception for a damaged file
        reason = f"is not a tokenizer.json ({str(error)[:120]}): save another"
        code = "unreadable-file"
    raise UserError(f"data.tokenizer={path} {reason} tokenizer.json", code)


def is_tokenizer_path(value: str) -> bool:
    """Tell a path from the name of a kind; raise UserError for anything else."""
    if value in KINDS:
        return False
    if value.endswith(".json") or "/" in value or "\\" in value:
        return True
    raise UserError(
        f"data.tokenizer={value} is unknown (or name a tokenizer.json); {nearest(value, KINDS)}",
        "unknown-choice",
    )


def build_vocabulary(options: DataConfig, texts: Texts) -> Vocabulary:
    """Return the vocabulary of the kind that the configuration names, made from a text."""
    if options.tokenizer == "bytes":
        return ByteVocabulary()
    if options.tokenizer == "bpe":
        return learn_bpe(texts, options.vocabulary)
    characters: set[str] = set()
    for text in texts():
        characters.update(text)
    return CharacterVocabulary("".join(characters))


def load_vocabulary(description: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary that `describe` described."""
    match description["kind"]:
        case "bytes":
            return ByteVocabulary()
        case "characters":
            return CharacterVocabulary(description["characters"])
        case "symbols":
            return SymbolVocabulary(description["count"])
        case kind:
            return SubwordVocabulary(description["tokenizer"], kind)
