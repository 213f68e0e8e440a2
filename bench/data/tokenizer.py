"""What a token is: bytes, characters, learned byte pairs, or an existing tokenizer.json."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.errors import UserError, nearest
from bench.config.schema import DataConfig
from bench.data.sources.base import encode_utf8

Texts = Callable[[], Iterator[str]]  # the text that a vocabulary is made from, in pieces
KINDS = ("bytes", "characters", "bpe")


class Vocabulary(ABC):
    """Text to ids and back. `size` counts what can be predicted; the harness adds one input-only id, the mask: `size`."""

    size: int  # the separator included, and <unk> where there is one
    separator: int  # stands before each document; decodes to nothing
    slow: bool = False  # encoding is worth several processes
    text: bool = True  # tokens stand for text: a prompt can be said, and bytes counted
    lossy: bool = False  # held-out text had characters that this vocabulary can not say
    continues_word: np.ndarray | None = (
        None  # bool (size,): the token goes on with a word, where tokens are pieces of words
    )

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Ids of a text, without a separator."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids; halves of characters become U+FFFD."""

    def raw(self, ids: np.ndarray) -> bytes:
        """The text of some ids as UTF-8, without separators."""
        return self.decode(ids[ids != self.separator]).encode()

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON-able; `load` makes the same vocabulary from it."""

    def encode_batch(self, texts: list[bytes]) -> list[np.ndarray]:
        """Ids of several texts, each a piece of UTF-8."""
        return [self.encode(text.decode()) for text in texts]

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        """Characters of the text that its ids can not give back."""
        return 0

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()


class ByteVocabulary(Vocabulary):
    """The 256 bytes and a separator. Says everything."""

    size, separator = 257, 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(encode_utf8(text), np.uint8).astype(np.int64)

    def encode_many(self, texts: list[bytes]) -> list[np.ndarray]:
        return [np.frombuffer(text, np.uint8) for text in texts]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        ids = np.asarray(ids, np.int64)
        return ids[ids < 256].astype(np.uint8).tobytes().decode("utf-8", "replace")

    def raw(self, ids: np.ndarray) -> bytes:
        return (
            ids[ids < 256].astype(np.uint8).tobytes()
        )  # half a character is as many bytes as it is

    def describe(self) -> dict[str, Any]:
        return {"kind": "bytes"}


class CharacterVocabulary(Vocabulary):
    """The characters of the training part in the order of their code points, a separator, and <unk> for all others."""

    def __init__(self, characters: str):
        self.characters = "".join(sorted(set(characters)))
        self.separator = len(self.characters)
        self.unknown = self.separator + 1
        self.size = self.separator + 2
        points = [ord(character) for character in self.characters]
        self.table = np.full(
            max(points, default=0) + 2, self.unknown, np.int64
        )  # the last place stands for all higher ones
        self.table[points] = np.arange(len(points))

    def encode(self, text: str) -> np.ndarray:
        points = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
        return self.table[np.minimum(points, len(self.table) - 1)]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        words = [*self.characters, "", "\ufffd"]
        return "".join(words[int(number)] for number in ids if number < self.size)

    def describe(self) -> dict[str, Any]:
        return {"kind": "characters", "characters": self.characters}

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        return int(np.count_nonzero(ids == self.unknown))


class SubwordVocabulary(Vocabulary):
    """A tokenizer of the `tokenizers` library, learned here or elsewhere; the separator is an id of ours behind its last."""

    slow = True

    def __init__(self, content: str, kind: str):
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
        marked = any(name.startswith("##") for name in names)
        for name, number in names.items():
            self.continues_word[number] = name.startswith("##") if marked else is_continuation(name)

    def encode(self, text: str) -> np.ndarray:
        return np.asarray(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def encode_many(self, texts: list[bytes]) -> list[np.ndarray]:
        encoded = self.tokenizer.encode_batch_fast(
            [text.decode() for text in texts], add_special_tokens=False
        )
        return [np.asarray(encoding.ids, np.int64) for encoding in encoded]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return str(
            self.tokenizer.decode(
                [int(number) for number in ids if number < self.separator],
                skip_special_tokens=False,
            )
        )

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokenizer": self.content}

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        if self.kind == "bpe":
            return 0
        back = self.decode(ids)
        return 0 if back == text else max(1, abs(len(text) - len(back)))


class SymbolVocabulary(Vocabulary):
    """The symbols of a synthetic source, which say nothing, and a separator."""

    text = False

    def __init__(self, count: int):
        self.separator, self.size = count, count + 1

    def encode(self, text: str) -> np.ndarray:
        raise UserError("the symbols of a synthetic source say no text: there is no prompt to give")

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return " ".join(
            str(number) for number in np.asarray(ids).tolist() if number < self.separator
        )

    def describe(self) -> dict[str, Any]:
        return {"kind": "symbols", "count": self.separator}


def byte_names() -> dict[str, int]:
    """The character that byte-level tokenizers write for each byte: itself where it prints, else one from U+0100 on."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


BYTE_NAMES = byte_names()


def is_continuation(name: str) -> bool:
    """Whether a token goes on with the word before it: it begins with a letter, a digit or part of a character, not with a space.

    A word at the start of a line has no space of its own: who masks words has to look whether the token before ends a line.
    """
    level = all(character in BYTE_NAMES for character in name)
    raw = bytes(BYTE_NAMES[character] for character in name) if level else name.encode()
    first = raw.decode("utf-8", "replace")[:1]
    return first == "\ufffd" or first.isalnum()


def learn_bpe(texts: Texts, size: int) -> SubwordVocabulary:
    """Byte pairs of a text: `size` tokens at most, the 256 bytes among them, so that every text can be said."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    return SubwordVocabulary(tokenizer.to_str(), "bpe")


def read_tokenizer(path: str) -> SubwordVocabulary:
    """An existing tokenizer.json. Raises UserError where it is missing or broken."""
    try:
        return SubwordVocabulary(Path(path).expanduser().read_text(encoding="utf-8"), "file")
    except OSError as error:
        raise UserError(
            f"data.tokenizer={path} can not be read ({error.strerror}): name an existing tokenizer.json"
        ) from None
    except Exception as error:  # the library raises plain Exception for a broken file
        raise UserError(
            f"data.tokenizer={path} is no tokenizer.json ({str(error)[:120]}): save it again with tokenizers"
        ) from None


def is_tokenizer_path(word: str) -> bool:
    """True for the path of a file, False for one of our words. Raises UserError for anything else."""
    if word in KINDS:
        return False
    if word.endswith(".json") or "/" in word or "\\" in word:
        return True
    raise UserError(
        f"data.tokenizer={word} is not known (or name a tokenizer.json); {nearest(word, KINDS)}"
    )


def build_vocabulary(options: DataConfig, texts: Texts) -> Vocabulary:
    """The vocabulary that the configuration names, made from the training part where it depends on one."""
    if is_tokenizer_path(options.tokenizer):
        return read_tokenizer(options.tokenizer)
    if options.tokenizer == "bytes":
        return ByteVocabulary()
    if options.tokenizer == "bpe":
        return learn_bpe(texts, options.vocabulary)
    seen: set[str] = set()
    for text in texts():
        seen.update(text)
    return CharacterVocabulary("".join(seen))


def load_vocabulary(description: dict[str, Any]) -> Vocabulary:
    """The vocabulary that `describe` described."""
    if description["kind"] == "bytes":
        return ByteVocabulary()
    if description["kind"] == "characters":
        return CharacterVocabulary(description["characters"])
    if description["kind"] == "symbols":
        return SymbolVocabulary(description["count"])
    return SubwordVocabulary(description["tokenizer"], description["kind"])
