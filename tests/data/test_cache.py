"""The cache: digests, damage, concurrency, errors."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import cache, prepare
from bench.data.sources.base import TextChunk
from bench.data.sources.files import FileSource
from tests.data.texts import words


def test_the_same_text_gives_the_same_digest_from_anywhere(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(words(500))
    (tmp_path / "c.txt").write_text(words(500, seed=1))
    first, same, other = (
        prepare(DataConfig(path=str(tmp_path / f"{name}.txt")), "mine") for name in "abc"
    )
    elsewhere = prepare(
        DataConfig(path=str(tmp_path / "a.txt"), cache=str(tmp_path / "elsewhere")), "mine"
    )
    assert first.digest == same.digest == elsewhere.digest != other.digest
    assert len(first.digest) == 16
    assert same.folder == first.folder != elsewhere.folder
    assert same.facts["path"].endswith("b.txt")


@pytest.mark.parametrize(
    "file", ["train.tokens", "validation.units.npy", "vocabulary.json", "manifest.json"]
)
@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
def test_a_damaged_cache_is_built_again(
    file: str, harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text(words(500))
    options = DataConfig(path=str(tmp_path / "a.txt"))
    digest = prepare(options, "mine").digest
    caplog.set_level("INFO", "bench")
    caplog.clear()  # another test may have set the level before
    path = prepare(options, "mine").folder / file
    assert not caplog.records
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-7] if harm == "cut" else b"#" + content[1:])
    corpus = prepare(options, "mine")
    assert corpus.digest == digest
    assert path.read_bytes() == content
    warned = any(record.levelname == "WARNING" for record in caplog.records)
    assert warned == (file != "manifest.json" or harm != "gone")


@pytest.mark.parametrize(
    ("key", "value"), [("digest", "0" * 16), ("facts", {"lossy": True}), ("parts", None)]
)
def test_a_manifest_that_was_edited_is_not_believed(
    key: str, value: object, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(words(500))
    options = DataConfig(path=str(tmp_path / "a.txt"))
    corpus = prepare(options, "mine")
    path = corpus.folder / "manifest.json"
    content = json.loads(path.read_text())
    edited = {name: value if name == key else old for name, old in content.items()}
    path.write_text(json.dumps({name: new for name, new in edited.items() if new is not None}))
    again = prepare(options, "mine")
    assert (again.digest, again.facts) == (corpus.digest, corpus.facts)
    assert json.loads(path.read_text()) == content


def test_a_file_that_is_saved_while_it_is_read_leaves_no_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(words(500))
    chunks = FileSource.chunks

    def save_first(source: FileSource) -> Iterator[TextChunk]:
        path.write_text(words(500, seed=1))
        return chunks(source)

    monkeypatch.setattr(FileSource, "chunks", save_first)
    with pytest.raises(UserError) as error:
        prepare(DataConfig(path=str(path)), "mine")
    monkeypatch.setattr(FileSource, "chunks", chunks)
    assert error.value.code == "busy"
    assert not [folder for folder in own_cache.iterdir() if folder.is_dir()]
    path.write_text(words(500))
    corpus = prepare(DataConfig(path=str(path)), "mine")
    assert corpus.vocabulary.decode(corpus.parts["train"].tokens) == words(500)[:2700]


def test_a_cache_is_found_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(*_: object) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    assert cache.cache_root("") == tmp_path / "cache"
    monkeypatch.delenv("BENCH_CACHE")
    with pytest.raises(UserError, match="BENCH_CACHE") as error:
        cache.cache_root("")
    assert error.value.code == "missing-file"


def test_a_cache_of_another_user_where_everyone_can_write_is_not_read(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text(words(500))
    options, umask = DataConfig(path=str(tmp_path / "a.txt")), os.umask(0)
    try:
        prepare(options, "mine")
    finally:
        os.umask(umask)
    written = [own_cache, *own_cache.iterdir()]
    assert not any(path.stat().st_mode & 0o002 for path in written if path.is_dir())
    own_cache.chmod(0o777)
    prepare(options, "mine")
    monkeypatch.setattr("os.geteuid", lambda: own_cache.stat().st_uid + 1)
    with pytest.raises(UserError, match="another user") as error:
        prepare(options, "mine")
    assert error.value.code == "not-writable"


def test_processes_at_once_share_one_cache(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(words(20_000))
    options = f"path={str(tmp_path / 'a.txt')!r}, tokenizer='bpe', vocabulary=400"
    code = "import logging, sys; logging.basicConfig(stream=sys.stdout, level='INFO')\n"
    code += "from bench.config.schema import DataConfig; from bench.data import prepare\n"
    code += f"print(prepare(DataConfig({options}), 'mine').digest)"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = [process.communicate(timeout=60)[0].splitlines() for process in running]
    assert len({lines[-1] for lines in printed}) == 1
    assert sorted(len(lines) for lines in printed) == [1, 1, 4]  # one of them built it


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(words(500))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"data\.cache=") as error:
        prepare(
            DataConfig(path=str(tmp_path / "a.txt"), cache=str(tmp_path / "file" / "deeper")),
            "mine",
        )
    assert error.value.code == "not-writable"


def test_an_error_leaves_nothing_behind(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "good"}\n{"text": 3}\n')
    with pytest.raises(UserError):
        prepare(DataConfig(path=str(tmp_path / "bad.jsonl")), "mine")
    assert not [path for path in own_cache.iterdir() if path.is_dir()]


def test_a_context_longer_than_the_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(words(100))
    corpus = prepare(DataConfig(path=str(tmp_path / "a.txt")), "mine")
    corpus.check(59)
    with pytest.raises(UserError, match=r"size\.context=61") as error:
        corpus.check(61)
    assert error.value.code == "too-little-text"


def test_importing_the_data_package_imports_no_slow_library() -> None:
    slow = {"torch", "datasets", "pandas"}
    code = f"import json, sys, bench.data; print(json.dumps(sorted({slow} & set(sys.modules))))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(printed) == []
