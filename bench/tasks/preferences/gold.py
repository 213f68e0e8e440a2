"""Score responses by rewards that are known exactly: functions of the text alone.

Add one by a subclass of `Gold` with a name here, or outside by `preference.gold=my_module.MyGold`.
"""

import re
from abc import ABC, abstractmethod
from collections import Counter
from functools import cached_property
from typing import ClassVar

import numpy as np
from hydra.utils import get_class

from bench.config.errors import UserError, nearest
from bench.config.plugins import install_hint
from bench.data.registry import Registered

LEAST_COUNT = 5  # occurrences in the training part that make a run of letters a word
WORD = re.compile(rb"[A-Za-z\x80-\xff]+")  # bytes above 127: letters of other alphabets, in UTF-8


class Gold(Registered, ABC):
    """An exact reward. `room`: bytes that a response may fill, about; `text`: the training part."""

    unit: ClassVar[str] = "share of the room"

    def __init__(self, text: bytes, room: float) -> None:
        self.text, self.room = text, room

    @abstractmethod
    def score(self, response: bytes, ended: bool) -> float:
        """Return the reward of a response; `ended`: it stopped by itself before the room's end."""

    def words(self, response: bytes) -> int:
        """Count completed words, repeats too: what the naive bonus pays for."""
        return len(WORD.findall(response)) - bool(WORD.match(response[-1:]))


class Words(Gold, name="words"):
    """Share of the room covered by distinct words of the training part.

    Repeats and invented words earn nothing. A word that the end of the room cuts off counts where
    a word begins so: where the room ends is chance, and would drown the annotator's labels.
    """

    @cached_property
    def lexicon(self) -> set[bytes]:
        """Return the words that occur often enough."""
        counts = Counter(word.lower() for word in WORD.findall(self.text))
        return {word for word, count in counts.items() if count >= LEAST_COUNT}

    @cached_property
    def beginnings(self) -> set[bytes]:
        """Return what a word of the lexicon begins with, itself included."""
        return {word[:end] for word in self.lexicon for end in range(1, len(word) + 1)}

    def score(self, response: bytes, ended: bool) -> float:
        seen = set()
        for match in WORD.finditer(response):
            word = match[0].lower()
            cut_off = match.end() == len(response) and not ended
            if word in (self.beginnings if cut_off else self.lexicon):
                seen.add(word)
        return sum(map(len, seen)) / self.room

    def words(self, response: bytes) -> int:
        """Count completed words of the lexicon, repeats too."""
        runs = WORD.findall(response)
        completed = runs[:-1] if WORD.match(response[-1:]) else runs
        return sum(word.lower() in self.lexicon for word in completed)


class Prose(Gold, name="prose"):
    """Share of the room covered by small letters and by single spaces between letters.

    Local where `words` needs memory: each character earns on its own, or with the one before it.
    """

    def score(self, response: bytes, ended: bool) -> float:
        text = np.frombuffer(response, np.uint8)
        letters = ((text >= 97) & (text <= 122)) | (text >= 128)
        spaces = np.zeros(len(text), bool)
        spaces[1:] = (text[1:] == 32) & letters[:-1]
        return float((letters | spaces).sum()) / self.room


def gold_class(name: str) -> type[Gold]:
    """Return the gold reward of a name, or of a dotted class. Raise UserError."""
    key = f"preference.gold={name}"
    if name in Gold.members:
        return Gold.members[name]
    if "." not in name:
        raise UserError(f"{key} is not known; {nearest(name, Gold.members)}", "unknown-choice")
    try:
        kind = get_class(name)
    except Exception as error:  # whatever its module raises
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{key} cannot be imported: {reason}{install_hint(error)}") from None
    if not issubclass(kind, Gold):
        raise UserError(f"{key} is not a subclass of {Gold.__module__}.Gold: derive it from that")
    return kind
