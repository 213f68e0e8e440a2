"""Code of an architecture ends neither its command nor passes for Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest

from bench.system.exits import ForcedExit, RaisedInterrupt, contain_plugin, refuse_exits


def test_an_exit_is_an_error_and_is_possible_again_afterwards() -> None:
    exit_now = os._exit
    with pytest.raises(ForcedExit) as error, contain_plugin():
        os._exit(0)
    assert error.value.code == 0
    assert os._exit is exit_now


def test_a_forked_child_still_exits() -> None:
    with refuse_exits():
        if not (child := os.fork()):
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_thread_that_never_ends_does_not_hold_a_process() -> None:
    code = "import threading\nfrom bench.system import exits\n"
    code += "threading.Thread(target=threading.Event().wait).start(); exits.end_process(3)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 3


def test_only_a_signal_is_ctrl_c() -> None:
    with pytest.raises(RaisedInterrupt), contain_plugin():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), contain_plugin():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
