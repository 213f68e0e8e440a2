"""Turn examples into rows of tokens, the same for every architecture. Imports no torch."""

from dataclasses import dataclass

import numpy as np

from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.data import Vocabulary
from bench.tasks.finetuning.examples import PARTS, TaskExamples
from bench.tasks.finetuning.sources.base import Example, one_line

TOO_LONG_SHARE = 0.01  # of texts, above which task.cut has to say what is dropped
LOST_SHARE = 0.01  # of characters that a vocabulary may fail to encode
MIN_INPUT = 16  # tokens that an input must have room for
ANSWER_MARK = "\t"  # between input and answer; a text holds none of its own


@dataclass(frozen=True)
class EncodedPart:
    """The examples of one part: `rows` for the model, and what it is to answer."""

    examples: list[Example]
    rows: list[np.ndarray]  # input tokens: <separator> text <separator>, or <separator> text <tab>
    answers: list[np.ndarray]  # answer tokens and a separator; empty for a classification
    labels: np.ndarray  # (N,) int64; zeros for a generation
    sizes: np.ndarray  # (N,) int64: UTF-8 bytes of input and answer, which group batches
    cut: np.ndarray  # (N,) bool: the input was longer than the model can read

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> "EncodedPart":
        """Return the first examples; 0: all."""
        return self.take(np.arange(len(self))[: count or None])

    def take(self, chosen: np.ndarray) -> "EncodedPart":
        """Return the examples at some places."""
        return EncodedPart(
            [self.examples[place] for place in chosen],
            [self.rows[place] for place in chosen],
            [self.answers[place] for place in chosen] if self.answers else [],
            *(values[chosen] for values in (self.labels, self.sizes, self.cut)),
        )


def encode_examples(
    task: TaskExamples, options: TaskConfig, vocabulary: Vocabulary, context: int
) -> dict[str, EncodedPart]:
    """Return the parts as tokens. Raise UserError where an architecture could not read them."""
    if not vocabulary.text:
        raise UserError(
            "the symbols of a synthetic source are not text: fine-tune a run that was trained on "
            "text",
            "not-supported",
        )
    check_characters(task, vocabulary)
    limit = input_limit(options, vocabulary, context)
    parts = {}
    for part in PARTS:
        examples = task.training(options.examples) if part == "train" else task.parts[part]
        parts[part] = _encode_part(examples, task.labels, options, vocabulary, limit)
    check_lengths(limit, parts, options, context)
    return parts


def encode_inputs(
    texts: list[str], options: TaskConfig, vocabulary: Vocabulary, context: int
) -> EncodedPart:
    """Return texts without labels or answers as tokens; what is too long is cut."""
    examples = [Example(one_line(text), "") for text in texts]
    limit = input_limit(options, vocabulary, context)
    return _encode_part(examples, ("",), options, vocabulary, limit)


def input_limit(options: TaskConfig, vocabulary: Vocabulary, context: int) -> int:
    """Return how many tokens of text fit in a context. Raise UserError where few do."""
    room = options.room if options.kind == "generation" else 0
    tokens = context - room - 1 - len(_end_of_input(options, vocabulary))
    if tokens < MIN_INPUT:
        raise UserError(
            f"size.context={context} leaves {max(0, tokens)} tokens for an input beside "
            f"task.room={room}: give a smaller room, or pre-train with a longer context",
            "conflicting-values",
        )
    return tokens


def _end_of_input(options: TaskConfig, vocabulary: Vocabulary) -> np.ndarray:
    if options.kind == "generation":
        return vocabulary.encode(ANSWER_MARK)
    return np.array([vocabulary.separator])


def _encode_part(
    examples: list[Example],
    labels: tuple[str, ...],
    options: TaskConfig,
    vocabulary: Vocabulary,
    limit: int,
) -> EncodedPart:
    rows, cut = _encode_rows(examples, options, vocabulary, limit)
    if options.kind == "classification":
        targets = np.array([labels.index(example.target) for example in examples])
        return EncodedPart(examples, rows, [], targets, _sizes(examples), cut)
    answers = _encode_texts([example.target for example in examples], vocabulary)
    sizes = _sizes(examples) + [len(example.target.encode()) for example in examples]
    ended = [np.append(answer, vocabulary.separator) for answer in answers]
    return EncodedPart(examples, rows, ended, np.zeros_like(sizes), sizes, cut)


def _encode_rows(
    examples: list[Example], options: TaskConfig, vocabulary: Vocabulary, limit: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the input tokens of examples, and which of them were cut."""
    start, end = [vocabulary.separator], _end_of_input(options, vocabulary)
    kept = slice(-limit, None) if options.cut == "start" else slice(limit)
    texts = _encode_texts([example.text for example in examples], vocabulary)
    rows = [np.concatenate([start, text[kept], end]) for text in texts]
    return rows, np.array([len(text) > limit for text in texts])


def _sizes(examples: list[Example]) -> np.ndarray:
    return np.array([len(example.text.encode()) for example in examples])


def _encode_texts(texts: list[str], vocabulary: Vocabulary) -> list[np.ndarray]:
    encoded = vocabulary.encode_batch([text.encode() for text in texts])
    return [tokens.astype(np.int64) for tokens in encoded]


def check_lengths(
    limit: int, parts: dict[str, EncodedPart], options: TaskConfig, context: int
) -> None:
    """Raise UserError where inputs would be cut without the user's leave, or answers do not fit."""
    share = float(np.mean(np.concatenate([part.cut for part in parts.values()])))
    if options.cut == "refuse" and share > TOO_LONG_SHARE:
        raise UserError(
            f"{share:.0%} of the texts are longer than the {limit} tokens that "
            f"size.context={context} leaves: task.cut=end drops their ends, or pre-train with "
            f"size.context={2 * context}",
            "conflicting-values",
        )
    longest = max((len(answer) for part in parts.values() for answer in part.answers), default=0)
    if longest > options.room:
        raise UserError(
            f"the longest answer has {longest} tokens with its end, task.room is {options.room}: "
            f"give task.room={longest}, or shorten the answers",
            "conflicting-values",
        )


def check_characters(task: TaskExamples, vocabulary: Vocabulary) -> None:
    """Raise UserError where a vocabulary cannot encode the task's characters."""
    sample = [example for part in PARTS for example in task.parts[part][:1000]]
    text = "".join(f"{example.text}{ANSWER_MARK}{example.target}" for example in sample)
    lost = vocabulary.count_lost(text, vocabulary.encode(text))
    if lost > LOST_SHARE * len(text):
        raise UserError(
            f"the tokenizer of the pre-trained run cannot encode {lost / len(text):.0%} of the "
            "task's characters: pre-train with data.tokenizer=bytes or bpe",
            "invalid-text",
        )
