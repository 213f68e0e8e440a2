"""Answers as sentences, which terminal, Markdown and page share."""

from collections.abc import Iterator, Sequence

from bench.analysis.answer import MEMORY, REASONS, Answer
from bench.analysis.badges import name_some
from bench.analysis.formatting import format_bytes, format_fixed, format_number, join_words

QUESTION_NAMES = {
    "training": "training",
    "decoding-1": "decoding",
    "decoding-32": "batched decoding",
}


def cost_sentences(answers: Sequence[Answer]) -> list[str]:
    """Return the answers about speed and memory of one session, and what is not claimed."""
    rates = [one for one in answers if one.question in QUESTION_NAMES]
    sentences = [_fastest(one) for one in rates if one.winners]
    sentences += list(_no_claims(rates))
    return sentences + [_smallest(one) for one in answers if one.question == MEMORY and one.winners]


def noise_text(answer: Answer) -> str:
    """Return the noise of the A/A pair as a figure: A/A ±3.6 %."""
    return f"A/A ±{100 * answer.noise_size:.1f} %" if answer.noise else ""


def _winners(answer: Answer) -> str:
    return name_some([winner.label for winner in answer.winners])


def _fastest(answer: Answer) -> str:
    title = f"Fastest {answer.title.removeprefix('Fastest ')}"
    noise = f" ({noise_text(answer)})"
    several = len(answer.winners) > 1
    opening = f"{title}{' is not distinguishable' if several else ''}: {_winners(answer)}"
    if answer.gap is None or answer.next is None:
        return f"{opening}{noise}."
    span = f"{format_fixed(answer.gap.low)} to {format_fixed(answer.gap.high)}"
    times = f"{format_fixed(answer.gap.value, 2)} times the rate of {answer.next.label}"
    named = f"; {answer.winners[0].label}" if several else ","
    return f"{opening}{named} {times} (95 % interval {span}; {noise_text(answer)})."


def _no_claims(rates: Sequence[Answer]) -> Iterator[str]:
    """Yield a sentence for each reason why rates are not compared."""
    questions: dict[str, list[str]] = {}
    for one in rates:
        if one.reason:
            questions.setdefault(one.reason, []).append(QUESTION_NAMES[one.question])
    for reason, names in questions.items():
        yield f"No speed claim about {join_words(names)}: {REASONS[reason]}."


def _smallest(answer: Answer) -> str:
    size = format_bytes(answer.winners[0].value)
    several = " is not distinguishable" if len(answer.winners) > 1 else ""
    opening = f"{answer.title}{several}: {_winners(answer)}, {size}"
    if answer.gap is None or answer.next is None:
        return f"{opening}."
    return f"{opening}; {answer.next.label} takes {format_number(answer.gap.value)} times as much."
