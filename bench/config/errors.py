"""Report a mistake that the user can correct: one line and a reason code."""

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import ClassVar, NoReturn

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# reason code -> what it means; the command prints it behind the sentence, tests assert it
REASONS = {
    "unknown-key": "no configuration key has this name",
    "unknown-choice": "the name is not among the choices",
    "duplicate-name": "two files, packages or modules have the same name",
    "invalid-value": "a value has the wrong type or lies outside its range",
    "conflicting-values": "two values exclude each other",
    "invalid-command": "the command line cannot be parsed",
    "invalid-config": "a YAML file cannot be read or composed",
    "missing-file": "a file or folder does not exist",
    "unreadable-file": "a file cannot be read or is damaged",
    "not-writable": "a file or folder cannot be written",
    "no-space": "the disk has too little free space",
    "invalid-text": "the text cannot be decoded, split or tokenized",
    "too-little-text": "the text is too short for what is to be done with it",
    "missing-package": "an optional package is not installed",
    "no-network": "a hub cannot be reached",
    "unavailable-device": "the machine has no such device",
    "no-compiler": "compiling needs a compiler that is missing",
    "invalid-architecture": "an architecture cannot be imported or built, or breaks the contract",
    "no-learning-rate": "neither the command nor the architecture's YAML gives a learning rate",
    "no-width": "no width satisfies the budget",
    "no-records": "a results folder holds no records that can serve",
    "incomplete-search": "a learning-rate search has no result",
    "not-comparable": "two results folders have nothing that can be compared",
    "no-rate": "a budget in seconds needs a measured rate",
    "process-limit": "the shell allows a process too few files or too little memory",
    "launcher": "the Hydra launcher cannot run this command",
    "not-supported": "the combination is not supported",
    "busy": "another process holds what is needed",
    "changes-process": "an architecture changes functions or settings of the whole process",
    "leak": "a score depends on tokens that it must not depend on",
    "stale-weights": "a trained model computes something else than its saved weights",
    "worker-died": "a worker process ended before its work was done",
}


def one_line(message: str) -> str:
    """Return a message without control characters, which names and errors of others may hold."""
    return CONTROL.sub(" ", message)


class UserError(Exception):
    """A mistake that the user can correct.

    The message is one line: what is wrong, where, what to do. `code` is a key of `REASONS`.
    """

    def __init__(self, message: str, code: str = "invalid-value") -> None:
        super().__init__(one_line(message))
        self.code = code


class InvalidRun(Exception):
    """A run whose numbers cannot be trusted: it fails, and its record holds message and `code`."""

    code: ClassVar[str]  # a key of `REASONS`

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class Parser(argparse.ArgumentParser):
    """Parse arguments; raise UserError in place of argparse's several lines."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with argparse's message."""
        raise UserError(f"{message}: see {self.prog} --help", "invalid-command")


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the closest choices, or all of them."""
    names = sorted(set(choices))
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
