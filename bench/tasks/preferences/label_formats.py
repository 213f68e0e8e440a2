"""Read rows of public sets of preferences as rows of labels. Imports no torch."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any


def as_rows(row: Any) -> list[Any]:
    """Return the labels in a row of a known set, or the row itself."""
    keys = set(row) if isinstance(row, dict) else set()
    for needed, convert in FORMATS:
        if needed <= keys:
            return list(convert(row))
    return [row]


def _llmbar(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the label of a pair of LLMBar (Zeng et al. 2024) and what is kept beside it."""
    first = str(row["label"]) == "1"
    outputs = row["output_1"], row["output_2"]
    chosen, rejected = outputs if first else outputs[::-1]
    yield {"prompt": row["input"], "chosen": chosen, "rejected": rejected, "chosen_first": first}


def _qa_feedback(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the six labels of a question of QA-feedback (Wu et al. 2023): 1 and 2 win, 0 is a tie.

    People marked errors in the first of the four answers alone.
    """
    errors = [[one["start"], one["end"]] for one in row["feedback"]["errors"]]
    answers = [(row[f"prediction {n}"], errors if n == 1 else None) for n in range(1, 5)]
    passages = ("\n".join(passage) for passage in row["passages"])
    prompt = "\n\n".join([*passages, row["question"], ""])
    for (first, second), label in zip(combinations(answers, 2), row["preference"], strict=False):
        chosen, rejected = (second, first) if label == 2 else (first, second)
        yield {
            "prompt": prompt, "chosen": chosen[0], "rejected": rejected[0], "tie": label == 0,
            "chosen_spans": chosen[1], "rejected_spans": rejected[1],
        }  # fmt: skip


FORMATS = (
    ({"input", "output_1", "output_2", "label"}, _llmbar),
    ({"question", "passages", "prediction 1", "preference", "feedback"}, _qa_feedback),
)
