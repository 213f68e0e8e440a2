"""Files are hashed again only where their state on the disk changed."""

import os
from pathlib import Path

import pytest

from bench.data import cache, file_hashes
from bench.data.file_hashes import hash_files


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that were read, in order."""
    names, hash_file = list[str](), cache.hash_file
    monkeypatch.setattr(cache, "hash_file", lambda path: names.append(path.name) or hash_file(path))
    monkeypatch.setattr(file_hashes, "SETTLED_NANOSECONDS", -1)
    return names


def write(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.txt" for number in range(count)]
    for path in paths:
        path.write_text(f"text {path.name}")
    return paths


def test_an_unchanged_file_is_read_once(tmp_path: Path, hashed: list[str]) -> None:
    paths = write(tmp_path, 3)
    first = hash_files(paths, str(tmp_path), "")
    assert first == [cache.hash_file(path) for path in paths]
    hashed.clear()
    assert hash_files(paths, str(tmp_path), "") == first
    assert not hashed


def test_a_file_with_its_old_size_and_time_is_read_again(tmp_path: Path, hashed: list[str]) -> None:
    paths = write(tmp_path, 3)
    first, state = hash_files(paths, str(tmp_path), ""), paths[1].stat()
    hashed.clear()
    paths[1].write_text("Text 1.txt")
    os.utime(paths[1], ns=(state.st_atime_ns, state.st_mtime_ns))
    second = hash_files(paths, str(tmp_path), "")
    assert hashed == ["1.txt"]
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]


def test_a_file_that_changed_just_now_is_not_trusted(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hashes, "SETTLED_NANOSECONDS", 3600 * 10**9)
    paths = write(tmp_path, 2)
    for _ in range(2):
        hash_files(paths, str(tmp_path), "")
    assert hashed == ["0.txt", "1.txt"] * 2


def test_a_damaged_index_is_written_again(
    tmp_path: Path, own_cache: Path, hashed: list[str]
) -> None:
    paths = write(tmp_path, 2)
    first = hash_files(paths, str(tmp_path), "")
    (index,) = own_cache.glob("file_hashes-*.json")
    content = index.read_bytes()
    index.write_bytes(content.replace(first[0].encode(), first[1].encode()))
    assert hash_files(paths, str(tmp_path), "") == first
    assert index.read_bytes() == content
