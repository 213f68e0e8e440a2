"""Files and words that somebody else chose, given to the real command: a line each, at once. Slow.

The first value of an input is its verdict: the reason code, or `done` where it is as good as any.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.entry import COMMANDS
from tests.conftest import ROOT, assert_one_error, write_words
from tests.hostile import campaign, forked

pytestmark = pytest.mark.slow
Make = Callable[[Path], object]
BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


def content(value: bytes) -> Make:
    return lambda path: path.write_bytes(value)


def link_to(target: str) -> Make:
    return lambda path: path.symlink_to(target)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(path.parent)  # a path of a socket is short
        one.bind(path.name)


TEXTS: dict[str, tuple[str, str, Make]] = {  # verdict, name of the file, what it is
    "a pipe": ("missing-file", "x.txt", os.mkfifo),
    "a socket": ("missing-file", "x.txt", listening),
    "endless zeros": ("missing-file", "x.txt", link_to("/dev/zero")),
    "the memory of the process": ("too-little-text", "x.txt", link_to("/proc/self/mem")),
    "a link to itself": ("missing-file", "x.txt", link_to("x.txt")),
    "a broken link": ("missing-file", "x.txt", link_to("nowhere")),
    "a folder of itself": ("missing-file", "x", lambda path: (path.mkdir(), (path / "x").symlink_to(path))),
    "nothing": ("too-little-text", "x.txt", content(b"")),
    "blanks": ("too-little-text", "x.txt", content(b" \n" * 10_000)),
    "one letter": ("too-little-text", "x.txt", content(b"a")),
    "bytes that are no text": ("invalid-text", "x.txt", content(b"\xff\xfe\x80" * 9_000)),
    "zeros": ("invalid-text", "x.txt", content(b"\0" * 20_000)),
    "one line": ("done", "x.txt", content(b"x" * 20_000)),
    "line ends of all systems": ("done", "x.txt", content(b"a b\r\nc\r\x0b\x0c\x1c\xc2\x85d\n" * 2_000)),
    "directions and joiners": ("done", "x.txt", content("‮‍﻿🇩🇪é".encode() * 2_000)),
    "brackets without end": ("invalid-text", "x.jsonl", content(b"[" * 100_000)),
    "a table that is none": ("unreadable-file", "x.parquet", content(b"PAR1" * 1_000)),
    "an archive that is none": ("unreadable-file", "x.txt.gz", content(b"\x1f\x8b" * 1_000)),
    "a name of two lines": ("done", "x\nerror: forged.txt", lambda path: write_words(path, 4_000)),
    "a name that moves the cursor": ("done", "\x1b[2Jx.txt", lambda path: write_words(path, 4_000)),
    "a name of signs": ("done", "x' \"$(id)`,=;&.txt", lambda path: write_words(path, 4_000)),
    "a name that is no text": ("done", "x\udcff.txt", lambda path: write_words(path, 4_000)),
}  # fmt: skip

WORDS: dict[str, tuple[str, str]] = {  # verdict, an override
    "a path upwards": ("unknown-choice", "suite=../../../elsewhere"),
    "a folder of the system": ("no-space", "results=/proc"),
    "a device for results": ("not-writable", "results=/dev/null"),
    "an architecture by path": ("unknown-choice", "arch=../../etc/passwd"),
    "a class of the library": ("invalid-architecture", "arch._target_=os.system"),
    "a class that deletes": ("invalid-architecture", "arch._target_=shutil.rmtree"),
    "a module that is the command": ("invalid-architecture", "arch._target_=bench.run.main"),
    "a seed beyond integers": ("invalid-value", "seed=1000000000000000000000"),
    "a context beyond memory": ("invalid-value", "size.context=1000000000"),
    "a batch beyond memory": ("invalid-value", "train.batch=1000000000000"),
    "a size beyond memory": ("no-space", "size.parameters=1000000000000"),
    "steps beyond time": ("invalid-value", "train.steps=1000000000000000"),
    "no rate": ("invalid-value", "train.learning_rate=.nan"),
    "an interpolation of itself": ("invalid-config", "arch.layers=${arch.layers}"),
    "a variable of the environment": ("invalid-value", "arch.layers=${oc.env:HOME}"),
    "a tokenizer that is a device": ("missing-file", "data.tokenizer=/dev/zero.json"),
}

YAMLS: dict[str, tuple[str, str]] = {  # verdict, an architecture's YAML
    "a bomb of aliases": ("invalid-config", BOMB),
    "an alias of itself": ("invalid-config", "a: &a [*a]\n"),
    "brackets without end": ("invalid-config", "a: " + "[" * 100_000),
    "a tag that runs code": ("invalid-config", "a: !!python/object/apply:os.system ['false']\n"),
    "no mapping": ("invalid-config", "- 1\n"),
    "a key that is a list": ("invalid-config", "? [1, 2]\n: 3\n"),
}


def verdict(place: Path, *words: str) -> str:
    """Return `done`, or the reason code of the one line that a command ends with."""
    code = forked.run("run", [*words, "dry=true"], place)
    output = (place / "output.txt").read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in output, output
    assert "\x1b" not in output, output
    if code == 0:
        return "done"
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert (code, len(errors)) == (2, 1), output
    return re.findall(r"\[([\w-]+)\]$", errors[0])[0]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("limit", ["-v 300000", "-n 40"])
def test_a_shell_that_allows_too_little_is_a_line(name: str, limit: str) -> None:
    call = f"ulimit {limit} && {sys.executable} -m bench.{name} x"
    done = subprocess.run(
        ["bash", "-c", call], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "[process-limit]" in assert_one_error(done, 2)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forked.preload()
    for name, value in campaign.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    campaign.write_inputs(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_has_its_verdict(name: str, place: Path) -> None:
    expected, file, make = TEXTS[name]
    folder = place / "theirs"
    folder.mkdir()
    make(folder / file)
    path = str(folder / file).replace("\\", "\\\\").replace('"', '\\"')
    words = [one for one in campaign.RUN.split() if not one.startswith("data.path")]
    assert verdict(place, *words, f'data.path="{path}"') == expected


@pytest.mark.parametrize("name", WORDS)
def test_an_override_has_its_verdict(name: str, place: Path) -> None:
    expected, word = WORDS[name]
    assert verdict(place, *campaign.run_words(word)) == expected


@pytest.mark.parametrize("name", YAMLS)
def test_a_configuration_has_its_verdict(name: str, place: Path) -> None:
    expected, text = YAMLS[name]
    (place / "conf" / "arch").mkdir(parents=True)
    (place / "conf" / "arch" / "theirs.yaml").write_text(text)
    words = [one for one in campaign.run_words() if not one.startswith("arch=")]
    assert verdict(place, *words, "--config-dir", "conf", "arch=theirs") == expected
