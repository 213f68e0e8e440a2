"""What is refused before any run starts: a form of decoding that cannot be had."""

from pathlib import Path

import pytest

from bench.config.errors import UserError
from bench.execution import preflight
from tests.performance.conftest import make_run


@pytest.mark.parametrize(
    ("backbone", "compiler", "reason"),
    [("Sum", "no-such-compiler", "no-such-compiler"), ("Branches", "", "cannot be exported")],
)
def test_a_compiled_step_that_cannot_be_had_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, compiler: str, reason: str
) -> None:
    monkeypatch.setenv("CXX", compiler)
    encoder, run = make_run("Encoder", "masked", decode="compiled"), make_run(backbone)
    encoder.data.cache = run.data.cache = str(tmp_path)
    preflight.check_decoding([run, encoder])
    run.decode = "compiled"
    with pytest.raises(UserError, match=f"arch={backbone.lower()}: .*{reason}") as raised:
        preflight.check_decoding([encoder, run])
    assert raised.value.code == "not-supported"
