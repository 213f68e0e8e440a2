"""Tokens and batches: a pure function of the examples, the seed and the step."""

import numpy as np
import pytest

from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.data.tokenizer import ByteVocabulary, CharacterVocabulary, SymbolVocabulary, Vocabulary
from bench.tasks.finetuning.batches import GROUP_BATCHES, ExampleBatches
from bench.tasks.finetuning.encoding import EncodedPart, encode_examples
from bench.tasks.finetuning.examples import TaskExamples
from bench.tasks.finetuning.sources.base import Example
from bench.tasks.finetuning.sources.facts import Facts

CLASSIFICATION, GENERATION = TaskConfig("classification"), TaskConfig("generation", room=8)
LETTERS = "abcdefghijklmnopqrstuvwxyz\t "


def task(count: int = 100, length: int = 20, answer: str = "yes") -> TaskExamples:
    draw = np.random.default_rng(0)
    texts = ["".join(draw.choice([*LETTERS[:26]], draw.integers(1, length))) for _ in range(count)]
    examples = [
        Example(f"{text}{i % 7}x", answer if i % 2 else "no") for i, text in enumerate(texts)
    ]
    parts = {"train": examples, "validation": examples[:10], "test": examples[10:30]}
    return TaskExamples(parts, "digest", {}, Facts(TaskConfig(), ""), tuple(sorted({"no", answer})))


def train_part(options: TaskConfig, vocabulary: Vocabulary | None = None) -> EncodedPart:
    return encode_examples(task(), options, vocabulary or ByteVocabulary(), 64)["train"]


def test_rows_are_separator_text_separator_or_text_tab_answer() -> None:
    first = task().parts["train"][0]
    label = train_part(CLASSIFICATION)
    assert label.rows[0].tolist() == [256, *first.text.encode(), 256]
    assert label.labels[0] == 0
    answer = train_part(GENERATION)
    assert answer.rows[0].tolist() == [256, *first.text.encode(), 9]
    assert answer.answers[0].tolist() == [*b"no", 256]


def test_each_example_is_seen_once_per_epoch() -> None:
    batches = ExampleBatches(train_part(CLASSIFICATION), 10, seed=3)
    seen = np.concatenate([batches.indices(step) for step in range(GROUP_BATCHES)])
    counts = np.bincount(seen, minlength=100)
    assert counts.sum() == 160
    assert set(counts) == {1, 2}


def test_batches_need_no_state_and_depend_on_the_seed() -> None:
    part = train_part(CLASSIFICATION)
    forward, backward = ExampleBatches(part, 8, seed=0), ExampleBatches(part, 8, seed=0)
    steps = range(3 * GROUP_BATCHES)
    expected = [forward.indices(step) for step in steps]
    for step in reversed(steps):
        assert (backward.indices(step) == expected[step]).all()
    assert forward.digest(40) == backward.digest(40) != ExampleBatches(part, 8, 1).digest(40)


def test_every_tokenizer_gets_the_same_order() -> None:
    other = CharacterVocabulary(LETTERS + "0123456789")
    first, second = train_part(CLASSIFICATION), train_part(CLASSIFICATION, other)
    assert ExampleBatches(first, 8, 0).digest(50) == ExampleBatches(second, 8, 0).digest(50)


def test_batches_of_like_length_have_little_padding() -> None:
    part = train_part(CLASSIFICATION)
    batches = ExampleBatches(part, 8, seed=0)
    blocks = [batches.at(step) for step in range(GROUP_BATCHES)]
    padded = sum(block.tokens.size for block in blocks)
    tokens = sum(int(block.lengths.sum()) for block in blocks)
    assert batches.tokens_seen(GROUP_BATCHES) == tokens
    assert padded < 1.15 * tokens


@pytest.mark.parametrize(
    ("options", "made", "vocabulary", "code"),
    [
        (CLASSIFICATION, task(length=100), ByteVocabulary(), "conflicting-values"),
        (GENERATION, task(answer="a long answer"), ByteVocabulary(), "conflicting-values"),
        (TaskConfig("generation", room=60), task(), ByteVocabulary(), "conflicting-values"),
        (CLASSIFICATION, task(), CharacterVocabulary("abc"), "invalid-text"),
        (CLASSIFICATION, task(), SymbolVocabulary(8), "not-supported"),
    ],
    ids=["too long", "answer", "room", "characters", "symbols"],
)
def test_what_a_model_cannot_read_is_a_line(
    options: TaskConfig, made: TaskExamples, vocabulary: Vocabulary, code: str
) -> None:
    with pytest.raises(UserError) as raised:
        encode_examples(made, options, vocabulary, 64)
    assert raised.value.code == code


@pytest.mark.parametrize(("cut", "kept"), [("end", slice(62)), ("start", slice(-62, None))])
def test_a_long_text_keeps_one_end(cut: str, kept: slice) -> None:
    made = task(length=100)
    part = encode_examples(made, TaskConfig("classification", cut=cut), ByteVocabulary(), 64)
    index = max(range(100), key=lambda i: len(made.parts["train"][i].text))
    text = made.parts["train"][index].text.encode()
    assert part["train"].rows[index].tolist() == [256, *text[kept], 256]
    assert part["train"].cut[index]
