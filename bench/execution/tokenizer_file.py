"""Write a vocabulary as a tokenizer of the Hugging Face ecosystem, with the same ids."""

import json
from pathlib import Path
from typing import Any

from bench.data import Vocabulary
from bench.records.store import write_text

SEPARATOR, UNKNOWN = "<|document|>", "<|unknown|>"


def write_tokenizer(vocabulary: Vocabulary, context: int, folder: Path) -> bool:
    """Write tokenizer.json and its configuration; return False for a vocabulary without text."""
    if not vocabulary.text:
        return False
    tokenizer = _tokenizer(vocabulary.describe(), vocabulary)
    tokenizer.add_special_tokens([SEPARATOR])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SEPARATOR,  # it precedes each document
        "eos_token": SEPARATOR,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=1))
    return True


def _tokenizer(description: dict[str, Any], vocabulary: Vocabulary) -> Any:
    """Return a tokenizer of the library in which the next id to be added is the separator."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    if "tokenizer" in description:
        return Tokenizer.from_str(description["tokenizer"])
    special = {SEPARATOR: vocabulary.separator}
    if description["kind"] == "characters":
        ids = {letter: number for number, letter in enumerate(description["characters"])}
        unknown = {UNKNOWN: vocabulary.separator + 1}
        model = models.BPE(vocab=ids | special | unknown, merges=[], unk_token=UNKNOWN)
        tokenizer = Tokenizer(model)
        tokenizer.decoder = decoders.Fuse()
        return tokenizer
    tokenizer = Tokenizer(models.BPE(vocab=_byte_names() | special, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _byte_names() -> dict[str, int]:
    """Return the printable character that stands for each byte in byte-level tokenizers (GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return names | {chr(256 + number): byte for number, byte in enumerate(others)}
