"""docs/first-steps.md: each command works as it is written, and prints what the page shows.

Blocks: `sh` is run; `text` is in what the block before it printed; `plaintext` is an example.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "first-steps.md"
NUMBER = re.compile(r"[\d,.]*\d")


def masked(text: str) -> set[str]:
    """Return the lines of a text without its numbers, which differ by machine, and its spaces."""
    return {" ".join(NUMBER.sub("#", line).split()) for line in text.splitlines()}


@pytest.mark.slow
def test_each_block_does_what_the_page_shows(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert {kind for kind, _ in blocks} == {"sh", "text", "plaintext"}
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": os.pathsep.join(folders)}
    printed, missing = "", list[str]()
    for kind, block in blocks:
        if kind != "sh":
            missing += masked(block) - masked(printed) if kind == "text" else ()
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", block], cwd=tmp_path, env=environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        printed = done.stdout
        assert done.returncode == 0, block + printed + done.stderr
    assert not missing
