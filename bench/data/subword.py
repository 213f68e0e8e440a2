"""Use tokenizers of the `tokenizers` library: learned byte pairs, or those of a tokenizer.json."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from bench.data.vocabulary import REPLACEMENT, Vocabulary

Texts = Callable[[], Iterator[str]]  # the text that a vocabulary is made from, in pieces
# Longer words are learned from in pieces: the library's time grows with the square of a word.
MAX_WORD = 1000  # characters
LONG_WORD = re.compile(  # the kinds of words of the library, but for rare classes of digits
    rf"[^\W\d_]{{{MAX_WORD},}}|\d{{{MAX_WORD},}}|\s{{{MAX_WORD},}}|(?:[^\w\s]|_){{{MAX_WORD},}}"
)
WORD_SPLITTERS = ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")  # they drop the spaces
BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")
META_SPACE = "▁"


class SubwordVocabulary(Vocabulary):
    """A tokenizer of the library; the separator is the id after its last."""

    def __init__(self, content: str, kind: str) -> None:
        # It encodes the texts of a batch in threads; unset, it would warn of later processes.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        from tokenizers import Tokenizer

        self.content, self.kind = content, kind
        self.tokenizer = Tokenizer.from_str(content)
        self.tokenizer.encode_special_tokens = True  # <|endoftext|> in a text is text
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        if getattr(self.tokenizer.model, "dropout", None):
            self.tokenizer.model.dropout = None  # a text has one encoding
        names = self.tokenizer.get_vocab(with_added_tokens=True)
        self.separator = max(names.values(), default=-1) + 1
        self.size = self.separator + 1
        self.continues_word = np.fromiter(map(begins_inside_word, self.token_bytes), bool)

    def encode(self, text: str) -> np.ndarray:
        return np.asarray(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def encode_batch(self, texts: list[bytes]) -> list[np.ndarray]:
        strings = [text.decode() for text in texts]
        encoded = self.tokenizer.encode_batch_fast(strings, add_special_tokens=False)
        return [np.asarray(encoding.ids, np.int64) for encoding in encoded]

    @cached_property
    def token_bytes(self) -> list[bytes]:
        names, table = TokenNames(json.loads(self.content)), [b""] * self.size
        for name, token in self.tokenizer.get_vocab(with_added_tokens=True).items():
            table[token] = names.decode(name)
        return table

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokenizer": self.content}

    def count_lost(self, text: str, ids: np.ndarray) -> int:
        """Count the characters that are lost; a space that the tokenizer adds at an end is none."""
        if self.kind == "bpe":
            return 0
        decoded = self.decode(ids)
        same = text in (decoded.removeprefix(" "), decoded.removesuffix(" "))
        return 0 if same else super().count_lost(text, ids)


class TokenNames:
    """Turn the names of a tokenizer's tokens into the bytes of text that they stand for.

    The library decodes whole sequences only: it replaces incomplete characters, drops the first
    space, and joins the names with spaces where a file has no decoder.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        model = content["model"]
        parts = [content.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")]
        steps = json.dumps(parts, ensure_ascii=False)
        self.added = {token["content"] for token in content.get("added_tokens") or ()}
        self.unknown = model.get("unk_token")
        if model.get("unk_id") is not None:
            self.unknown = model["vocab"][model["unk_id"]][0]
        self.bytes_by_character = byte_characters() if '"ByteLevel"' in steps else {}
        self.has_byte_tokens = bool(model.get("byte_fallback"))
        self.inner, self.final = (
            model.get(key) or "" for key in ("continuing_subword_prefix", "end_of_word_suffix")
        )
        self.marks_spaces = META_SPACE in steps
        self.drops_spaces = any(f'"{kind}"' in steps for kind in WORD_SPLITTERS)

    def decode(self, name: str) -> bytes:
        """Return the bytes of a token."""
        characters, byte = self.bytes_by_character, BYTE_TOKEN.fullmatch(name)
        if name == self.unknown:
            return REPLACEMENT.encode()
        if self.has_byte_tokens and byte:
            return bytes.fromhex(byte[1])
        if name in self.added:
            return name.encode()
        if characters and characters.keys() >= set(name):
            return bytes(map(characters.__getitem__, name))
        return self._spaced(name).encode()

    def _spaced(self, name: str) -> str:
        """Return the text of a token with the space that belongs to its word."""
        if self.marks_spaces:
            return name.replace(META_SPACE, " ")
        if self.final:
            return name.removesuffix(self.final) + " " * name.endswith(self.final)
        if self.inner and name.startswith(self.inner):
            return name.removeprefix(self.inner)
        return " " * self.drops_spaces + name


def byte_characters() -> dict[str, int]:
    """Return the byte that each character of a byte-level tokenizer's names stands for (GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [value for value in range(256) if value not in printable]
    characters = [*map(chr, printable), *(chr(256 + place) for place in range(len(others)))]
    return dict(zip(characters, [*printable, *others], strict=True))


def begins_inside_word(token: bytes) -> bool:
    """Tell whether a token continues the word before it.

    It does where it begins with a letter, a digit or part of a character, not with a space. A word
    at the start of a line has no space either: masking words needs the token before as well.
    """
    first = token.decode("utf-8", "replace")[:1]
    return first == REPLACEMENT or first.isalnum()


def learn_bpe(texts: Texts, size: int) -> SubwordVocabulary:
    """Learn byte pairs from a text: at most `size` tokens, among them all 256 bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(cut_long_words(texts()), trainer)
    return SubwordVocabulary(tokenizer.to_str(), "bpe")


def cut_long_words(texts: Iterable[str]) -> Iterator[str]:
    """Yield texts as they are, but for words over MAX_WORD characters, which are cut in pieces."""
    for text in texts:
        begin = 0
        for word in LONG_WORD.finditer(text):
            for cut in range(word.start() + MAX_WORD, word.end(), MAX_WORD):
                yield text[begin:cut]
                begin = cut
        yield text[begin:]
