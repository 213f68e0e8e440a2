"""What is refused before any run starts: a form of decoding that cannot be had."""

from pathlib import Path

import pytest

from bench.cli import compose
from bench.config.errors import UserError
from bench.execution import preflight


@pytest.mark.parametrize(
    ("arch", "compiler", "reason"),
    [("gpt", "no-such-compiler", "no-such-compiler"), ("moe", "", "cannot be exported")],
)
def test_a_compiled_step_that_cannot_be_had_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str, compiler: str, reason: str
) -> None:
    monkeypatch.setenv("CXX", compiler)
    words = [f"arch={arch},bert", "size=tiny", f"data.cache={tmp_path}", "-m"]
    preflight.check_decoding(compose.compose_sweep(words).runs)
    with pytest.raises(UserError, match=f"arch={arch}: .*{reason}") as raised:
        preflight.check_decoding(compose.compose_sweep([*words, "decode=compiled"]).runs)
    assert raised.value.code == "not-supported"
