"""Draw questions about who is where, from a seed: the last of several moves counts.

Task 1 of Weston et al. 2015, arXiv:1502.05698, in its own words.
"""

import random
from collections.abc import Iterator
from typing import Any

from bench.config.task_schema import TaskConfig
from bench.tasks.finetuning.sources.base import Example, ExampleSource

PEOPLE = "Mary John Sandra Daniel Julie Fred Bill Jeff".split()
PLACES = "garden kitchen office bedroom hallway bathroom cellar attic".split()
MOVES = "went to;moved to;walked to;travelled to".split(";")
FACTS = 3
SIZES = {"train": 4800, "validation": 600, "test": 600}


class Facts(ExampleSource, name="facts"):
    """Three facts and a question each, all different."""

    shortcut = "the place named last"

    def __init__(self, options: TaskConfig, cache: str) -> None:
        pass

    def fingerprint(self) -> Any:
        return {"version": 1}

    def examples(self) -> Iterator[tuple[str, Example]]:
        draw, drawn = random.Random(0), set[str]()
        for part, count in SIZES.items():
            for _ in range(count):
                example = _draw_example(draw)
                while example.text in drawn:
                    example = _draw_example(draw)
                drawn.add(example.text)
                yield part, example

    @staticmethod
    def shortcut_answer(text: str) -> str:
        return max(PLACES, key=text.rfind)


def _draw_example(draw: random.Random) -> Example:
    moves = [(draw.choice(PEOPLE), draw.choice(PLACES)) for _ in range(FACTS)]
    facts = [f"{person} {draw.choice(MOVES)} the {place}." for person, place in moves]
    person = draw.choice(sorted({person for person, _ in moves}))
    place = [place for mover, place in moves if mover == person][-1]
    return Example(f"{' '.join(facts)} Where is {person}?", place)
