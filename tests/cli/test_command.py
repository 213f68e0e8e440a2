"""What all commands share: exit codes, one line for a mistake, and no torch for --help."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.command import command
from bench.config.errors import UserError
from tests.conftest import ROOT

COMMANDS = "run tune measure evaluate generate report check new doctor".split()


def raise_it(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("it is wrong", "launcher"), 2, "error: it is wrong [launcher]"),
        (KeyboardInterrupt(), 130, "stopped: nothing is lost"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture
) -> None:
    main = command(stopped="nothing is lost")(lambda arguments: raise_it(error))
    assert main([]) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_sigterm_ends_a_command_once(capsys: pytest.CaptureFixture) -> None:
    def interrupted(arguments: list[str]) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert command(stopped="saved")(interrupted)([]) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == "stopped: saved\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_frame(name: str) -> None:
    assert hasattr(importlib.import_module(f"bench.{name}").main, "__wrapped__")


INTERRUPTED = """
import signal, sys
from importlib.abc import MetaPathFinder
class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from bench import generate
sys.exit(generate.main(["results/none"]))
"""


def test_ctrl_c_while_torch_is_imported_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("stopped: ")


HELP = """
import contextlib, importlib, io, sys
for name in sys.argv[1:]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        sys.argv[1:] = ["--help"]
        importlib.import_module(f"bench.{name}").main()
    assert f"bench.{name}" in out.getvalue(), name
    assert not {"torch", "datasets", "transformers"} & set(sys.modules), name
"""


def test_help_needs_no_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP, *COMMANDS],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
