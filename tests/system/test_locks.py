"""The folder of locks is the user's alone, and a lock says who holds it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.config.errors import UserError
from bench.system import locks


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's folder, in which that of the locks is made."""
    monkeypatch.setattr(locks, "_user_folder", lambda: tmp_path)
    return tmp_path


def test_the_folder_is_the_users_alone_whatever_the_umask(user: Path) -> None:
    before = os.umask(0)
    try:
        folder = locks.lock_folder()
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(mode=0o700) or path.chmod(0o777),
        lambda path: path.symlink_to("/tmp", target_is_directory=True),
        lambda path: os.mkfifo(path),
        lambda path: path.touch(),
    ],
    ids=["writable", "link", "pipe", "file"],
)
def test_what_somebody_else_may_have_made_is_refused(
    make: Callable[[Path], object], user: Path
) -> None:
    make(user / "locks")
    with pytest.raises(UserError) as error:
        locks.machine_lock("measure")
    assert error.value.code == "not-writable"


def test_a_lock_says_who_holds_it(user: Path) -> None:
    lock = locks.machine_lock("device-GPU-1/2")
    assert Path(lock.lock_file).parent == user / "locks"
    assert "process" in locks.describe_holder(lock)
    with lock:
        locks.write_holder(lock)
        assert f"process {os.getpid()} (" in locks.describe_holder(lock)
