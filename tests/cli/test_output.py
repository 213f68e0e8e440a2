"""A standard output that is closed, full or not UTF-8 is no error of a command."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PRINTING = """
import os, sys
from bench.cli.command import command
@command(stopped="")
def main(arguments):
    print(f"first {chr(0x2014)} line")
    print("word " * 40_000)
    return 3 if "exit" not in arguments else os._exit(0)
sys.exit(main())
"""
ASCII = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run_in_shell(redirected: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Return exit code, output and errors of a printing command in a shell's pipeline."""
    line = f'"$0" -c "$1" {" ".join(arguments)} {redirected}'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, sys.executable, PRINTING],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("redirected", [">&-", "| true", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_keeps_the_exit_code(redirected: str) -> None:
    code, _, errors = run_in_shell(redirected)
    assert (code, errors) == (3, "")


def test_a_full_output_is_said_once() -> None:
    code, _, errors = run_in_shell(">/dev/full")
    assert code == 3
    assert errors == "standard output cannot be written (No space left on device)\n"


def test_what_another_encoding_lacks_is_escaped() -> None:
    code, output, _ = run_in_shell("| head -n 1", **ASCII)
    assert (code, output) == (3, "first \\u2014 line\n")


def test_an_exit_by_an_architecture_is_said() -> None:
    code, _, errors = run_in_shell("", "exit")
    assert code == 1
    assert errors.endswith("[invalid-architecture]\n")
