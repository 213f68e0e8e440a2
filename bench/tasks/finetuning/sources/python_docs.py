"""Make tasks from the documentation of the installed Python, in the parts of pre-training.

Examples of the test part come from documents that pre-training on `data=python_docs` never read.
"""

import itertools
import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.config.schema import DataConfig
from bench.config.task_schema import TaskConfig
from bench.data import prepare
from bench.tasks.finetuning.sources.base import Example, ExampleSource, one_line

SENTENCE_WORDS, SENTENCE_BYTES = (5, 18), 100
SENTENCE = re.compile(r"[A-Z][A-Za-z0-9 ,.;:'()\-]*[a-z)]\.")  # prose, from capital to full stop
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
LOWER_CASE = re.compile(r"[a-z]{2,}")
SUMMARY_BODY_BYTES, SUMMARY_BYTES = (20, 2000), (10, 80)


class DocsTask(ExampleSource):
    """A task that is made from the documents of `data=python_docs`, in their parts."""

    def __init__(self, options: TaskConfig, cache: str) -> None:
        docs = DataConfig("python_docs", split="documents", deduplicate="near", cache=cache)
        self.corpus = prepare(docs, "python_docs")

    def fingerprint(self) -> Any:
        return {"version": 1, "text": self.corpus.facts["text_digest"]}

    def documents(self) -> Iterator[tuple[str, str]]:
        """Yield each document with its part."""
        separator = self.corpus.vocabulary.separator
        for name, part in self.corpus.parts.items():
            tokens = np.asarray(part.tokens)
            for document in np.split(tokens, np.flatnonzero(tokens == separator)):
                yield name, self.corpus.vocabulary.decode(document)


class WordOrder(DocsTask, name="order"):
    """Tell a sentence from its copy in which two neighbouring words have changed places.

    Both versions are examples, so that which words a text has says nothing.
    """

    def examples(self) -> Iterator[tuple[str, Example]]:
        seen, documents = set[str](), list(self.documents())
        read = " ".join(" ".join(text.split()) for part, text in documents if part == "train")
        for part, document in documents:
            for sentence in prose_sentences(document):
                swapped = swap_words(sentence)
                unread = part == "train" or sentence not in read  # also within longer sentences
                if swapped and unread and sentence not in seen:
                    seen.add(sentence)
                    yield part, Example(sentence, "original", group=sentence)
                    yield part, Example(swapped, "swapped", group=sentence)


class WordOrderPairs(WordOrder, name="order_pairs"):
    """The sentences of `order`, each with its swapped version: minimal pairs."""

    def examples(self) -> Iterator[tuple[str, Example]]:
        versions = super().examples()
        for (part, original), (_, swapped) in zip(versions, versions, strict=True):
            yield part, Example(original.text, swapped.text)


class Summary(DocsTask, name="summary"):
    """Write the first line of a docstring (PEP 257) from the rest of it."""

    shortcut = "the first sentence"

    def examples(self) -> Iterator[tuple[str, Example]]:
        seen = set[str]()
        for part, document in self.documents():
            first, _, rest = document.partition("\n\n")
            body, summary = " ".join(rest.split()), one_line(first)
            fits = "\n" not in first and _within(summary, SUMMARY_BYTES)
            if fits and _within(body, SUMMARY_BODY_BYTES) and body not in seen:
                seen.add(body)
                yield part, Example(body, summary)

    @staticmethod
    def shortcut_answer(text: str) -> str:
        return SENTENCE_END.split(text)[0]


def _within(text: str, limits: tuple[int, int]) -> bool:
    return limits[0] <= len(text.encode()) <= limits[1]


def prose_sentences(document: str) -> Iterator[str]:
    """Yield the sentences of a document's paragraphs that are prose, not code."""
    for paragraph in re.split(r"\n\s*\n", document):
        if ">>>" in paragraph or "::" in paragraph:
            continue
        for sentence in SENTENCE_END.split(" ".join(paragraph.split())):
            words = len(sentence.split())
            fits = SENTENCE_WORDS[0] <= words <= SENTENCE_WORDS[1]
            if fits and len(sentence) <= SENTENCE_BYTES and SENTENCE.fullmatch(sentence):
                yield sentence


def swap_words(sentence: str) -> str:
    """Return a sentence with two neighbouring, different lower-case words in each other's place.

    Which two is drawn from the sentence itself; empty where there are none.
    """
    words = sentence.split()
    places = [
        place
        for place, (one, other) in enumerate(itertools.pairwise(words))
        if one != other and LOWER_CASE.fullmatch(one) and LOWER_CASE.fullmatch(other)
    ]
    if not places:
        return ""
    place = random.Random(sentence).choice(places)
    words[place : place + 2] = words[place + 1], words[place]
    return " ".join(words)
