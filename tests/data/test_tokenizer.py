"""Text to tokens and back."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import prepare
from bench.data.subword import SubwordVocabulary, cut_long_words, learn_bpe
from bench.data.tokenizer import load_vocabulary
from bench.data.vocabulary import ByteVocabulary, CharacterVocabulary, Vocabulary

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
    (tmp_path / "a.txt").write_text("the the the the words\n" * 100)
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
        ("~nobody-of-this-name/tokenizer.json", "missing-file"),
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


# --- tokenizers of others -------------------------------------------------------------------------

SAMPLE = "The words of the wording, said “again” and again.\nA café by 東京 — 👩‍👩‍👧!\n"


def trained(tokenizer: Tokenizer, trainer: trainers.Trainer) -> dict[str, Any]:
    tokenizer.train_from_iterator([SAMPLE * 5], trainer)
    return json.loads(tokenizer.to_str())


def byte_level(add_prefix_space: bool = False, **changes: Any) -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    return trained(tokenizer, trainer) | changes


def sentencepiece() -> dict[str, Any]:
    """Return byte pairs with marked spaces; characters outside the alphabet are single bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    names = ["<unk>", *(f"<0x{value:02X}>" for value in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=names, limit_alphabet=30, show_progress=False
    )
    return trained(tokenizer, trainer)


def metaspace() -> dict[str, Any]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, unk_token="<unk>", show_progress=False)
    return trained(tokenizer, trainer)


def word_piece() -> dict[str, Any]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    return trained(tokenizer, trainer)


def vocabulary_of(content: dict[str, Any]) -> SubwordVocabulary:
    return SubwordVocabulary(json.dumps(content), "file")


LOSSLESS = {
    "bytes": byte_level,
    "no decoder": lambda: byte_level(decoder=None),
    "prefix": lambda: byte_level(add_prefix_space=True),
    "sentencepiece": sentencepiece,
    "metaspace": metaspace,
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_bytes_of_tokens_are_those_of_the_text(name: str) -> None:
    vocabulary = vocabulary_of(LOSSLESS[name]())
    text = SAMPLE if name != "metaspace" else "The words of the wording, said “again” and again."
    ids = vocabulary.encode(text)
    added = b" " if name not in ("bytes", "no decoder") else b""
    assert vocabulary.decode_bytes(ids) == added + text.encode()
    assert b"".join(vocabulary.token_bytes[i] for i in ids) == added + text.encode()
    assert vocabulary.token_sizes[ids].sum() == len(added + text.encode())
    assert vocabulary.count_lost(text, ids) == 0


def test_a_sample_keeps_the_space_of_its_first_word() -> None:
    for make in (sentencepiece, metaspace, byte_level):
        vocabulary = vocabulary_of(make())
        ids = vocabulary.encode("said again")
        text = vocabulary.decode(ids)
        assert text.strip() == "said again"
        for place in range(len(ids)):
            assert vocabulary.decode(ids[:place]) + vocabulary.decode(ids[place:]) == text


def test_lost_characters_are_counted() -> None:
    vocabulary = vocabulary_of(word_piece())
    text = "The words, again\n"
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == " the words , again"
    assert vocabulary.count_lost(text, ids) == 2  # a capital letter and the end of the line
    greek = "αβγ δεζ"
    assert vocabulary.decode(vocabulary.encode(greek)) == "\ufffd" * 2
    assert vocabulary.count_lost(greek, vocabulary.encode(greek)) == len(greek)


def test_a_tokenizer_that_does_not_know_the_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(word_piece()))
    (tmp_path / "greek.txt").write_text("αβγ δεζ " * 500, encoding="utf-8")
    options = {"path": str(tmp_path / "greek.txt"), "tokenizer": str(tmp_path / "tokenizer.json")}
    with pytest.raises(UserError, match="100%") as error:
        prepare(DataConfig(**options), "mine")
    assert error.value.code == "invalid-text"
    (tmp_path / "greek.txt").write_text("the words of the wording said again " * 99 + "αβγ")
    assert prepare(DataConfig(**options), "mine").facts["unseen_characters"]["validation"] == 3


def test_dropout_of_a_tokenizer_is_off() -> None:
    content = byte_level()
    content["model"]["dropout"] = 0.5
    vocabulary = vocabulary_of(content)
    encodings = {tuple(vocabulary.encode(SAMPLE).tolist()) for _ in range(20)}
    assert len(encodings) == 1
    assert vocabulary.fingerprint() != vocabulary_of(byte_level()).fingerprint()


def test_texts_that_differ_in_half_a_character_have_their_bytes() -> None:
    vocabulary = learn_bpe(lambda: iter(["日本語 " * 50]), 256)
    ids = vocabulary.encode("日本")
    assert [len(vocabulary.decode_bytes([i])) for i in ids] == [1] * 6
    assert vocabulary.decode(ids[:4]) == "日\ufffd"


# --- learning -------------------------------------------------------------------------------------


def test_long_words_are_cut_and_others_are_not() -> None:
    text = f"a b {'x' * 2500} {'1' * 999} {'東' * 1001}\n{' ' * 3000}end"
    pieces = list(cut_long_words(iter([text, "short"])))
    assert "".join(pieces) == f"{text}short"
    assert [len(piece) for piece in pieces] == [1004, 1000, 2501, 1001, 1000, 1000, 4, 5]
    assert list(cut_long_words(iter([SAMPLE]))) == [SAMPLE]


def test_byte_pairs_of_one_long_word_take_time_in_proportion_to_it() -> None:
    def seconds(length: int) -> float:
        word, began = "".join(random.Random(0).choices("ACGT", k=length)), time.process_time()
        learn_bpe(lambda: iter([word]), 400)
        return time.process_time() - began

    seconds(1000)
    assert seconds(160_000) < 20 * seconds(20_000)  # 64 times as long with the square


def test_fewer_byte_pairs_than_asked_for_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("abab" * 200)
    options = DataConfig(path=str(tmp_path / "a.txt"), tokenizer="bpe", vocabulary=1000)
    corpus = prepare(options, "mine")
    assert corpus.facts["vocabulary_requested"] == 1000
    assert corpus.vocabulary.size < 300
    assert f"{corpus.vocabulary.size - 1:,} tokens" in caplog.text
    (tmp_path / "a.txt").write_text(SAMPLE * 20)
    enough = prepare(replace(options, vocabulary=300), "mine")
    assert "vocabulary_requested" not in enough.facts


CTRL_C = """
import os, random, signal, sys, threading
from pathlib import Path
import numpy as np
from bench.config.schema import DataConfig
from bench.data import document_store, learning
path = Path(sys.argv[1])
path.write_text("".join(random.Random(0).choices("ACGT ", k=6 << 20)))
threading.Timer(float(sys.argv[2]), os.kill, [os.getpid(), signal.SIGINT]).start()
with document_store.DocumentStore(path) as store:
    spans = np.array([[0, path.stat().st_size]])
    learning.learn_vocabulary(DataConfig(tokenizer="bpe", vocabulary=60_000), store, spans)
print("it ended before")
"""


@pytest.mark.slow
def test_ctrl_c_ends_learning(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C, str(tmp_path / "a.txt"), "6"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "KeyboardInterrupt" in done.stderr
    assert time.monotonic() - began < 25
