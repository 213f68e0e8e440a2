"""Examples: what sources make, how they are split, and what is wrong with files."""

import ast
import gzip
import json
import logging
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.tasks.finetuning.examples import TaskExamples, prepare_examples
from bench.tasks.finetuning.sources.facts import PEOPLE, PLACES
from bench.tasks.finetuning.sources.files import read_rows
from bench.tasks.finetuning.sources.postfix import OPERATORS, postfix
from bench.tasks.finetuning.sources.python_docs import prose_sentences, swap_words


def prepared(source: str, kind: str = "classification", **options: object) -> TaskExamples:
    return prepare_examples(TaskConfig(kind=kind, source=source, **options), source)  # type: ignore[arg-type]


def write_reviews(path: Path, count: int = 200, **columns: str) -> Path:
    names = {"text": "text", "label": "label"} | columns
    rows = [
        {names["text"]: f"film {i} was {word}", names["label"]: word}
        for i in range(count // 2)
        for word in ("good", "bad")
    ]
    frame = pd.DataFrame(rows)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, sep="\t", index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case ".parquet":
            frame.to_parquet(path)
    return path


# --- embedded tasks -------------------------------------------------------------------------------


def test_a_swap_keeps_the_words_and_moves_two_neighbours() -> None:
    sentence = "The file is closed when the object is collected."
    swapped = swap_words(sentence)
    assert swapped != sentence
    assert Counter(swapped.split()) == Counter(sentence.split())
    assert sum(a != b for a, b in zip(swapped.split(), sentence.split(), strict=True)) == 2
    assert swapped == swap_words(sentence)
    assert swap_words("Return None.") == ""


def test_code_is_no_prose() -> None:
    text = "Return the value of a key.  It is never empty.\n\n>>> Return it now to the caller."
    assert list(prose_sentences(text)) == ["Return the value of a key."]


def test_a_bag_of_words_cannot_tell_an_order() -> None:
    task = prepared("order")
    for part in task.parts.values():
        bags = {True: Counter[tuple[str, ...]](), False: Counter[tuple[str, ...]]()}
        for example in part:
            bags[example.target == "original"][tuple(sorted(example.text.split()))] += 1
        assert bags[True] == bags[False]
    assert len(task.parts["test"]) > 1000


def test_the_parts_of_a_task_share_no_text() -> None:
    task = prepared("order")
    texts = [{example.text for example in part} for part in task.parts.values()]
    assert len(set.union(*texts)) == sum(map(len, texts))


def test_facts_are_answered_by_the_last_move_of_the_person() -> None:
    for example in prepared("facts", "generation").parts["test"]:
        *facts, question = example.text.rstrip("?").split(". ")
        person = question.split()[-1].rstrip("?")
        moves = [fact.split() for fact in facts if fact.split()[0] == person]
        assert person in PEOPLE
        assert moves[-1][-1].rstrip(".") == example.target
        assert example.target in PLACES


@pytest.mark.parametrize(
    ("infix", "expected"),
    [
        ("not isdir or self.file_size", "isdir not self .file_size or"),
        ("a - (b - c)", "a b c - -"),
        ("-a ** b", "a b ** neg"),
        ("x is not None and y", "x None is not y and"),
        ("f(x) + 1", ""),
    ],
)
def test_postfix(infix: str, expected: str) -> None:
    assert postfix(ast.parse(infix, mode="eval").body) == expected


def test_a_postfix_answer_evaluates_to_its_expression() -> None:
    symbols = {symbol: kind for kind, symbol in OPERATORS.items()}
    values = {"a": 7, "b": 2, "c": 3}
    for infix in ("a - b * c", "(a - b) * c", "a // b - c % b", "-a + b", "a << b | c"):
        stack: list[int] = []
        for word in postfix(ast.parse(infix, mode="eval").body).split():
            kind = symbols.get(word)
            if kind is None:
                stack.append(values[word])
            elif issubclass(kind, ast.unaryop):
                stack.append(-stack.pop())
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(eval(f"{left} {word} {right}"))
        assert stack == [eval(infix, dict(values))]


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_kind_of_file_gives_the_same_examples(suffix: str, tmp_path: Path) -> None:
    path = write_reviews(tmp_path / f"reviews{suffix}")
    task = prepared("files", path=str(path))
    assert task.labels == ("bad", "good")
    counts = {part: len(examples) for part, examples in task.parts.items()}
    assert sum(counts.values()) == 200
    assert 130 < counts["train"] < 185
    assert task.digest == prepared("files", path=str(write_reviews(tmp_path / "other.csv"))).digest


def test_subsets_are_nested_and_do_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "reviews.csv")
    task = prepared("files", path=str(path))
    lines = path.read_text().splitlines()
    (tmp_path / "reversed.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert prepared("files", path=str(tmp_path / "reversed.csv")).digest == task.digest
    assert task.training(20) == task.training(50)[:20] == task.training(0)[:20]
    with pytest.raises(UserError):
        task.training(10_000)


def test_a_text_of_the_test_file_is_not_trained_on(tmp_path: Path) -> None:
    write_reviews(tmp_path / "train.csv")
    write_reviews(tmp_path / "test.csv", 40)
    paths = {"path": str(tmp_path / "train.csv"), "test_path": str(tmp_path / "test.csv")}
    task = prepared("files", **paths)
    assert len(task.parts["test"]) == 40
    assert task.facts["left_out"]["train_in_test"] > 0
    assert not set(task.parts["train"]) & set(task.parts["test"])


def test_two_columns_are_one_input(tmp_path: Path) -> None:
    rows = [{"q": f"is {i} odd", "p": f"number {i}", "a": str(i % 2)} for i in range(120)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = prepared("files", path=str(path), text="q", pair="p", target="a")
    example = task.parts["train"][0]
    assert example.text.split("\t")[1].startswith("number ")


def change(path: Path, text: str, old: str = "") -> None:
    content = path.read_text()
    path.write_text(content.replace(old, text, 1) if old else content + text)


BAD_FILES = {
    "missing column": (lambda p: change(p, "stars", "label"), "invalid-text"),
    "empty label": (lambda p: change(p, "film x was good,\n"), "invalid-text"),
    "empty text": (lambda p: change(p, ",good\n"), "invalid-text"),
    "zero byte": (lambda p: p.write_bytes(p.read_bytes() + b"a\0b,good\n"), "invalid-text"),
    "one class": (lambda p: p.write_text(p.read_text().replace("bad", "good")), "invalid-text"),
    "fields": (lambda p: change(p, "a,b,c\n"), "invalid-text"),
    "quotes": (lambda p: change(p, 'a "b"",good\n"x'), "invalid-text"),
    "not UTF-8": (lambda p: p.write_bytes(p.read_bytes() + b"\xff,good\n"), "invalid-text"),
    "too few": (lambda p: write_reviews(p, 20), "too-little-text"),
    "labels that are texts": (
        lambda p: p.write_text("text,label\n" + "".join(f"a{i},b{i}\n" for i in range(200))),
        "invalid-text",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_a_line(name: str, tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "reviews.csv")
    damage, code = BAD_FILES[name]
    damage(path)
    with pytest.raises(UserError) as raised:
        prepared("files", path=str(path))
    assert raised.value.code == code
    assert "\n" not in str(raised.value)


def test_an_empty_answer_is_named_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"text": "a", "target": "b"}\n{"text": "c", "target": null}\n')
    with pytest.raises(UserError, match=r"line 2: target is empty") as raised:
        prepared("files", "generation", path=str(path), target="target")
    assert raised.value.code == "invalid-text"


def test_texts_with_several_labels_are_counted_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bench"), "propagate", True)
    path = write_reviews(tmp_path / "reviews.csv")
    change(path, "".join(f"film {i} was bad,good\n" for i in range(10)))
    task = prepared("files", path=str(path))
    assert sum(map(len, task.parts.values())) == 210
    assert "10 of 200 texts have several labels" in caplog.text


def test_a_label_that_training_lacks_is_a_line(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "reviews.csv")
    test = write_reviews(tmp_path / "test.csv", 40)
    change(test, "film q was so,mixed\n")
    with pytest.raises(UserError) as raised:
        prepared("files", path=str(path), test_path=str(test))
    assert "'mixed' 1 times" in str(raised.value)


def test_a_damaged_row_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n[1]\n')
    rows = read_rows(path)
    assert next(rows) == (f"{path} line 1", {"text": "a"})
    with pytest.raises(UserError) as raised:
        next(rows)
    assert "line 2" in str(raised.value)


def test_rows_are_read_as_texts_are(tmp_path: Path) -> None:
    """A line separator within a string is text, gzip is read, and deep JSON is a line."""
    row = {"text": "a\u2028b"}
    path = tmp_path / "rows.ndjson.gz"
    path.write_bytes(gzip.compress(json.dumps(row, ensure_ascii=False).encode()))
    assert [values for _, values in read_rows(path)] == [row]
    deep = tmp_path / "deep.jsonl"
    deep.write_text("[" * 100_000)
    with pytest.raises(UserError) as raised:
        next(read_rows(deep))
    assert raised.value.code == "invalid-text"


def test_a_path_that_is_missing_is_a_line(tmp_path: Path) -> None:
    for path in ("", str(tmp_path / "none.csv")):
        with pytest.raises(UserError) as raised:
            prepared("files", path=path)
        assert raised.value.code == "missing-file"
