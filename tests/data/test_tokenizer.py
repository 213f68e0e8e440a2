"""Text to tokens and back."""

from pathlib import Path

import numpy as np
import pytest

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import prepare
from bench.data.tokenizer import (
    ByteVocabulary,
    CharacterVocabulary,
    SubwordVocabulary,
    Vocabulary,
    learn_bpe,
    load_vocabulary,
)

ODD = [
    "plain words",
    "  two  spaces \t tab\r\nline\n\n",
    "naïve café — “quotes” …",
    "日本語 العربية हिन्दी",
    "👩‍👩‍👧‍👦🏳️‍🌈 e\u0301 \u200b\ufeff",
    "\x00\x01\x7f",
    "<|endoftext|> [MASK] <unk> Ġ ▁ ##ing",
    "",
]


def learned() -> SubwordVocabulary:
    return learn_bpe(
        lambda: iter(["the word of the words and the wording of it, said again and again. " * 20]),
        300,
    )


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("make", [ByteVocabulary, learned], ids=["bytes", "bpe"])
def test_bytes_and_byte_pairs_encode_everything(make: type[Vocabulary], text: str) -> None:
    vocabulary = make()
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.count_lost(text, ids) == 0
    assert (ids < vocabulary.separator).all()
    assert vocabulary.separator < vocabulary.size
    assert vocabulary.decode([*ids, vocabulary.separator]) == text


def test_separator_and_mask_decode_to_nothing() -> None:
    for vocabulary in (ByteVocabulary(), learned(), CharacterVocabulary("abc")):
        assert vocabulary.decode(np.array([vocabulary.separator, vocabulary.size])) == ""


def test_a_vocabulary_is_the_same_after_it_was_described() -> None:
    for vocabulary in (ByteVocabulary(), learned(), CharacterVocabulary("hello")):
        again = load_vocabulary(vocabulary.describe())
        assert again.fingerprint() == vocabulary.fingerprint()
        assert (again.encode("hello") == vocabulary.encode("hello")).all()
        assert again.size == vocabulary.size


def test_learning_twice_gives_the_same_tokens() -> None:
    assert learned().fingerprint() == learned().fingerprint()


def test_tokens_that_continue_a_word_are_marked() -> None:
    vocabulary = learned()
    assert vocabulary.continues_word is not None
    assert len(vocabulary.continues_word) == vocabulary.size
    names = vocabulary.tokenizer.get_vocab()
    assert vocabulary.continues_word[names["d"]]
    assert vocabulary.continues_word[names["Ã"]]  # the first byte of é and its like
    for name in ("Ġthe", "Ġ", "Ċ", ",", "."):
        assert not vocabulary.continues_word[names[name]]
    assert not vocabulary.continues_word[vocabulary.separator]


def test_characters_come_from_the_training_part_and_others_are_marked(tmp_path: Path) -> None:
    train, held = "abcdefgh " * 100, "abc ß 日 🎉 "
    (tmp_path / "a.txt").write_text(train + held * 10, encoding="utf-8")
    corpus = prepare(DataConfig(path=str(tmp_path / "a.txt"), tokenizer="characters"), "mine")
    assert corpus.vocabulary.size == 9 + 2
    assert corpus.vocabulary.lossy
    assert corpus.facts["lossy"]
    assert corpus.facts["unseen_characters"] == {"train": 0, "validation": 30}
    assert "\ufffd" in corpus.vocabulary.decode(corpus.parts["validation"].tokens)


def test_characters_that_were_all_seen_are_not_lossy(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("zebra crossing\n" * 100)
    corpus = prepare(DataConfig(path=str(tmp_path / "a.txt"), tokenizer="characters"), "mine")
    assert not corpus.vocabulary.lossy
    assert corpus.vocabulary.decode(corpus.vocabulary.encode("zebra q")) == "zebra \ufffd"


def test_an_existing_tokenizer_is_used_unchanged(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(learned().content, encoding="utf-8")
    (tmp_path / "a.txt").write_text("the words of it\n" * 100)
    corpus = prepare(
        DataConfig(path=str(tmp_path / "a.txt"), tokenizer=str(tmp_path / "tokenizer.json")), "mine"
    )
    assert corpus.vocabulary.size == learned().size
    assert not corpus.vocabulary.lossy
    assert corpus.facts["bytes_per_token"]["train"] > 2


def test_an_existing_tokenizer_that_loses_text_is_marked(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"the": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "lossy.json"))
    (tmp_path / "a.txt").write_text("the words of it\n" * 100)
    assert prepare(
        DataConfig(path=str(tmp_path / "a.txt"), tokenizer=str(tmp_path / "lossy.json")), "mine"
    ).facts["lossy"]


@pytest.mark.parametrize(
    ("tokenizer", "code"),
    [
        ("byts", "unknown-choice"),
        ("nowhere.json", "missing-file"),
        ("broken.json", "unreadable-file"),
        ("empty.json", "unreadable-file"),
    ],
)
def test_a_bad_tokenizer_is_an_error(
    tokenizer: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("the words of it\n" * 100)
    (tmp_path / "broken.json").write_text('{"version": "1.0"}')
    (tmp_path / "empty.json").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=tokenizer) as error:
        prepare(DataConfig(path="a.txt", tokenizer=tokenizer), "mine")
    assert error.value.code == code
