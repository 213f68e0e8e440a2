"""What is refused before any run starts: a form of decoding that cannot be had."""

from pathlib import Path

import pytest

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.execution import preflight
from tests.performance.conftest import make_run

FAKES = "tests.performance.fake_backbones"


@pytest.mark.parametrize(
    ("target", "compiler", "reason"),
    [
        (f"{FAKES}.Sum", "no-such-compiler", "no-such-compiler"),
        (f"{FAKES}.Branches", "", "cannot be exported"),
        pytest.param("architectures.s4d.S4D", "", "cannot be compiled", marks=pytest.mark.slow),
        pytest.param(
            "architectures.gla.GLA", "", "the compiled step differs", marks=pytest.mark.slow
        ),
    ],
)
def test_a_compiled_step_that_cannot_be_had_is_refused(
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    compiler: str,
    reason: str,
) -> None:
    monkeypatch.setenv("CXX", compiler)
    encoder, run = make_run("Encoder", "masked", decode="compiled"), make_run("other")
    run.arch["_target_"] = target
    for one in (encoder, run):
        one.data = DataConfig(path=str(text), cache=str(tmp_path))
    preflight.check_decoding([run, encoder])
    run.decode = "compiled"
    with pytest.raises(UserError, match=f"arch=other: .*{reason}") as raised:
        preflight.check_decoding([encoder, run])
    assert raised.value.code == "not-supported"
