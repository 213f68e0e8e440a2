"""Files of people's labels: what is read, what they are worth, and what is refused."""

import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from bench.config.errors import UserError
from bench.tasks.preferences import label_facts, people


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(prompt: str, chosen: str, rejected: str, **more: object) -> dict:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def test_labels_of_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", row("p", "a", "b"), row("q", "x", "x"), row("q", "x", "y", tie=True),
        {"chosen": "Human: hi there", "rejected": "Human: hi thus"},
    )  # fmt: skip
    labels = people.read_labels(path)
    assert [label.tie for label in labels] == [False, True, True, False]
    assert labels[3][:3] == ("Human: hi ", "there", "thus")
    assert len(people.usable(labels)) == 2


@pytest.mark.parametrize(("content", "code"), [
    (None, "missing-file"), (b"", "invalid-text"), (b"\xff{}", "invalid-text"),
    (b'{"chosen": "a", "rejected": ', "invalid-text"), (b'{"prompt": "a", "chosen": "b"}', "invalid-text"),
    (b"[1]", "invalid-text"), (b'{"chosen": 1, "rejected": "b"}', "invalid-text"),
], ids=["missing", "empty", "not UTF-8", "not JSON", "lacks a field", "a list", "a number"])  # fmt: skip
def test_a_file_that_cannot_be_read(
    content: bytes | None,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    snapshot: SnapshotAssertion,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("x.jsonl").write_bytes(content)
    with pytest.raises(UserError) as error:
        people.read_labels(Path("x.jsonl"))
    assert error.value.code == code
    assert str(error.value) == snapshot


def test_all_labels_of_a_prompt_are_on_one_side() -> None:
    labels = [people.PersonLabel(f"p{number // 3}", "a", "b") for number in range(300)]
    trained, held = people.split_by_prompt(labels)
    assert len(held) == 30
    assert not {one.prompt for one in trained} & {one.prompt for one in held}
    again, _ = people.split_by_prompt(labels[::-1])
    assert sorted(again) == sorted(trained)


def test_what_labels_are_worth(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    rows = [row(f"p{n}", "longer", "short", annotator="a", chosen_first=True) for n in range(30)]
    rows += [
        row("p0", "short", "longer", annotator="b"),
        row("p1", "longer", "short", annotator="b"),
    ]
    facts = label_facts.describe_labels(people.read_labels(write(tmp_path / "a.jsonl", *rows)))
    assert (facts.labels, facts.annotators, facts.repeated, facts.conflicts) == (32, 2, 2, 1)
    assert (facts.agreement.hits, facts.agreement.total) == (1, 2)
    assert facts.longer.hits == 31
    assert label_facts.Share(8, 10).interval == pytest.approx(
        (0.4901625, 0.9433178), abs=1e-6
    )  # Wilson
    assert (
        "\n".join([*label_facts.fact_lines(facts), *label_facts.label_warnings(facts)]) == snapshot
    )
