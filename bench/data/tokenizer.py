"""Read the vocabulary that a tokenizer.json or a description holds."""

import errno
from typing import Any

from bench.config.errors import UserError, nearest
from bench.data.subword import SubwordVocabulary
from bench.data.vocabulary import (
    ByteVocabulary,
    CharacterVocabulary,
    SymbolVocabulary,
    Vocabulary,
)
from bench.system.files import expand_user

KINDS = ("bytes", "characters", "bpe")


def read_tokenizer(path: str) -> SubwordVocabulary:
    """Read an existing tokenizer.json; raise UserError where it is missing or damaged."""
    file = expand_user(path, "name an existing tokenizer.json in data.tokenizer")
    try:
        if file.exists() and not file.is_file():
            raise OSError(errno.EINVAL, "it is not a regular file")
        return SubwordVocabulary(file.read_text(encoding="utf-8"), "file")
    except OSError as error:
        reason, code = f"cannot be read ({error.strerror}): name an existing", "missing-file"
    except Exception as error:  # the library raises plain Exception for a damaged file
        reason = f"is not a tokenizer.json ({str(error)[:120]}): save another"
        code = "unreadable-file"
    raise UserError(f"data.tokenizer={path} {reason} tokenizer.json", code)


def is_tokenizer_path(value: str) -> bool:
    """Tell a path from the name of a kind; raise UserError for anything else."""
    if value in KINDS:
        return False
    if value.endswith(".json") or "/" in value or "\\" in value:
        return True
    raise UserError(
        f"data.tokenizer={value} is unknown (or name a tokenizer.json); {nearest(value, KINDS)}",
        "unknown-choice",
    )


def load_vocabulary(description: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary that `describe` described."""
    match description["kind"]:
        case "bytes":
            return ByteVocabulary()
        case "characters":
            return CharacterVocabulary(description["characters"])
        case "symbols":
            return SymbolVocabulary(description["count"])
        case kind:
            return SubwordVocabulary(description["tokenizer"], kind)
